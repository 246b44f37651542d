"""X-MOD behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.decoders.xmod import XmodConfig, XmodForCausalLM
from mlx_vedec.errors import ConfigError
from tests.parity import decoder_checks as checks
from tests.parity.reference import BERT, check_pair, close, image, pair, torch, transformers as hf

PLAIN = ("Xmod", {})
CROSS = {"hidden_size": 24, "cross_attention_hidden_size": "encoder"}
SIZES = {
    "vocab_size": 29,
    "hidden_size": 33,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 22,
    "adapter_reduction_factor": 5,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-2,
    "type_vocab_size": 1,
}
CHANGES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "sizes": SIZES,
    "cross-width": CROSS,
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
    "norm-first": {"pre_norm": True},
    "own-norm": {"adapter_layer_norm": True},
    "no-norm": {"adapter_reuse_layer_norm": False},
    "norm-inside": {"ln_before_adapter": False},
    "own-norm-inside-first": {
        "pre_norm": True,
        "adapter_layer_norm": True,
        "ln_before_adapter": False,
    },
    "another-language": {"default_language": "sw_KE"},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("Xmod", CHANGES[changes]))


def test_traces_prompts_masks_and_cache(tmp_path):
    checks.check_traces(tmp_path / "traces", ("Xmod", {"pre_norm": True}))
    checks.check_prompts(tmp_path / "prompts", PLAIN)
    checks.check_masks(tmp_path / "masks", PLAIN)
    checks.check_cache(tmp_path / "cache", PLAIN)


@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, tied):
    """With the adapters of all languages."""
    checks.check_saved(tmp_path, ("Xmod", {"tie_word_embeddings": tied}))


def test_halves(tmp_path):
    checks.check_halves(tmp_path, PLAIN)


def test_new_weights_are_spread_as_theirs(tmp_path):
    changes = {"initializer_range": 0.1, "tie_word_embeddings": False, "pad_token_id": 4}
    checks.check_new_weights(tmp_path, ("Xmod", changes))


def test_dropouts():
    checks.check_dropout(PLAIN, "hidden_dropout_prob", "attention_probs_dropout_prob")


def test_defaults():
    checks.check_defaults("Xmod")


def test_every_row_is_used():
    normed = {"adapter_layer_norm": True, "pre_norm": True}
    checks.check_rows([("Xmod", normed), ("Xmod", {"tie_word_embeddings": False})])


def test_one_language_need_not_be_named(tmp_path):
    """Here; transformers 5.24 asks for `default_language` even then."""
    _, ours = checks.built(("Xmod", {"languages": ["de_DE"], "default_language": None}))
    assert ours.renames.on_disk("layers.0.adapter.fc1.weight").split(".")[-3] == "de_DE"


def test_languages_that_are_not_written_are_kept_unread(tmp_path):
    """Their adapters are no parameters; whoever writes another language loads the folder so."""
    theirs, ours = pair(tmp_path, checks.VIT, PLAIN)
    own = ours.decoder.layers[0].adapter.fc1.weight
    names = {name.split(".")[-3] for name in ours._carried if "adapter_modules" in name}
    assert names == {"en_XX", "sw_KE"}
    theirs.decoder.set_default_language("sw_KE")
    ours.config.decoder.default_language = "sw_KE"
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path, config=ours.config)
    assert not mx.array_equal(own, again.decoder.layers[0].adapter.fc1.weight)
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS))
    close(again(y, decoder_input_ids=mx.array(checks.IDS)).logits, expected.logits)


def test_a_pretrained_folder(tmp_path):
    """A masked language model's, whose config names no language."""
    config = hf.XmodConfig(**BERT, languages=["en_XX", "de_DE"], is_decoder=True)
    theirs = hf.XmodForMaskedLM(config).eval()
    theirs.save_pretrained(tmp_path)
    theirs.set_default_language("de_DE")
    own = XmodConfig.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="language is None; expected one of languages, en_XX, de"):
        XmodForCausalLM.from_pretrained(tmp_path)
    own.default_language = "de_DE"
    ours = XmodForCausalLM.from_pretrained(tmp_path, config=own)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(torch.from_numpy(checks.IDS)).logits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"default_language": "fr_XX"}, "default_language is 'fr_XX'; expected one of .*, en_XX$"),
        ({"adapter_reduction_factor": 40}, "factor is 40; expected 1 to hidden_size, 32"),
        ({"languages": "en_XX"}, "languages is 'en_XX'; expected tuple"),
        (
            {"languages": [str(n) for n in range(20)], "default_language": "x"},
            "7 and 12 more",
        ),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        XmodConfig.from_dict({**BERT, **values})
