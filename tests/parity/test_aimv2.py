"""AIMv2's image encoder against transformers."""

import pytest

from mlx_vedec.encoders.aimv2 import Aimv2VisionConfig
from mlx_vedec.errors import ConfigError, ImageError
from tests.parity.encoder_checks import (
    TROCR,
    check_defaults,
    check_dropout,
    check_halves,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair, close, image, pair, torch

PLAIN = ("Aimv2Vision", {})
NATIVE = ("Aimv2Vision", {"is_native": True, "use_head": False, "qkv_bias": True})
ODD = (
    "Aimv2Vision",
    {
        "hidden_size": 30,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "intermediate_size": 28,
        "hidden_act": "gelu",
        "rms_norm_eps": 1e-2,
        "num_channels": 1,
        "image_size": 18,
        "patch_size": 8,
        "mlp_bias": True,
    },
)


@pytest.mark.parametrize("row", [PLAIN, NATIVE, ODD])
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, PLAIN)


def test_native_images_of_any_size(tmp_path):
    check_sizes(tmp_path, NATIVE, [(0, 0), (3, 2), (8, -4), (-12, -12)])


def test_learned_positions_are_resized_when_asked(tmp_path):
    """transformers 5.24 fails for another size; its table is resized by torch here."""
    theirs, ours = pair(tmp_path, PLAIN)
    x, y = image(theirs, extra=(8, 4))
    with pytest.raises(ImageError, match="interpolate_pos_encoding=True"):
        ours.encode(y)
    table = theirs.encoder.embeddings.position_embedding
    resized = torch.nn.functional.interpolate(
        table.weight.reshape(1, 4, 4, -1).permute(0, 3, 1, 2), size=(6, 5), mode="bicubic"
    )
    table.weight = torch.nn.Parameter(resized.flatten(2).transpose(1, 2)[0])
    theirs.encoder.embeddings.position_ids = torch.arange(30)[None]
    with torch.no_grad():
        expected = theirs.encoder(x).last_hidden_state
    close(ours.encode(y, interpolate_pos_encoding=True), expected)


@pytest.mark.parametrize("row", [PLAIN, NATIVE, ODD])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_every_name_is_used():
    check_rows([PLAIN])


@pytest.mark.parametrize("row", [PLAIN, NATIVE])
def test_half_types_stay(tmp_path, row):
    check_halves(tmp_path, row)


def test_new_weights(tmp_path):
    check_new_weights(tmp_path, ("Aimv2Vision", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("Aimv2Vision")


def test_training():
    check_dropout(PLAIN, "attention_dropout")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"patch_size": 300}, "does not fit"),
        ({"hidden_act": 3}, "hidden_act is 3"),
        ({"hidden_size": 30, "num_attention_heads": 5, "is_native": True}, "multiple of 4, as is_"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Aimv2VisionConfig(**changes).check()
