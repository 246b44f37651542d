"""What is asked alike of BigBird, RemBERT, RoCBERT and RoFormer; their files test the rest."""

import pytest

from tests.parity import decoder_checks as checks

STEMS = ("BigBird", "RemBert", "RoCBert", "RoFormer")
UNTIED = {"tie_word_embeddings": False}
each_family = pytest.mark.parametrize("stem", STEMS)


@each_family
@pytest.mark.parametrize("check", ["traces", "prompts", "masks", "cache", "halves"])
def test_as_every_decoder(tmp_path, stem, check):
    getattr(checks, f"check_{check}")(tmp_path, (stem, {}))


@each_family
@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, stem, tied):
    checks.check_saved(tmp_path, (stem, {"tie_word_embeddings": tied}))


@each_family
def test_new_weights_are_spread_as_theirs(tmp_path, stem):
    changes = {"initializer_range": 0.1, "pad_token_id": 4, **UNTIED}
    checks.check_new_weights(tmp_path, (stem, changes))


@each_family
def test_dropouts_defaults_and_names(stem):
    checks.check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")
    checks.check_defaults(stem)
    checks.check_rows([(stem, {}), (stem, UNTIED)])
