"""InternVL's image encoder against transformers."""

import pytest

from mlx_vedec.encoders.internvl import InternVLVisionConfig
from mlx_vedec.errors import ConfigError
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
from tests.parity.reference import check_pair

PLAIN = ("InternVLVision", {})
NORMED = (
    "InternVLVision",
    {
        "use_qk_norm": True,
        "norm_type": "rms_norm",
        "attention_bias": True,
        "use_mean_pooling": False,
        "use_mask_token": True,
        "layer_norm_eps": 1e-2,
    },
)
ODD = (
    "InternVLVision",
    {
        "hidden_size": 30,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "intermediate_size": 28,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
        "image_size": [8, 24],
        "patch_size": [4, 3],
        "use_absolute_position_embeddings": False,
        "layer_scale_init_value": 0.5,
    },
)
ROWS = [PLAIN, NORMED, ODD]


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, NORMED)


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_images_of_any_size(tmp_path, row):
    check_sizes(tmp_path, row, [(0, 0), (3, 2), (8, -4), (12, 12)])


@pytest.mark.parametrize("row", ROWS)
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_every_name_is_used():
    check_rows([PLAIN, NORMED])


@pytest.mark.parametrize("row", [PLAIN, NORMED])
def test_half_types_stay(tmp_path, row):
    check_halves(tmp_path, row)


def test_new_weights(tmp_path):
    check_new_weights(tmp_path, ("InternVLVision", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("InternVLVision")


def test_training():
    check_dropout(PLAIN, "hidden_dropout_prob", "attention_dropout", "projection_dropout")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"patch_size": (500, 4)}, "does not fit"),
        ({"norm_type": "batch_norm"}, "expected one of layer_norm, rms_norm"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        InternVLVisionConfig(**changes).check()
