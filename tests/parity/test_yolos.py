"""YOLOS against transformers."""

import pytest

from mlx_vedec.encoders.yolos import YolosConfig
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
    built,
    check_defaults,
    check_dropout,
    check_halves,
    check_names,
    check_new_weights,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair

PLAIN = ("Yolos", {})
ODD = (
    "Yolos",
    {
        "hidden_size": 30,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "intermediate_size": 28,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
        "image_size": [24, 8],
        "patch_size": 8,
        "qkv_bias": False,
        "num_detection_tokens": 1,
    },
)
ONCE = ("Yolos", {"use_mid_position_embeddings": False, "num_detection_tokens": 7})
ROWS = [PLAIN, ODD, ONCE]


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, PLAIN)


@pytest.mark.parametrize("row", [PLAIN, ONCE])
def test_images_of_any_size(tmp_path, row):
    check_sizes(tmp_path, row, [(0, 0), (3, 2), (8, -4), (12, 12)])


@pytest.mark.parametrize("row", ROWS)
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_names_in_memory_are_read(tmp_path):
    check_names(tmp_path, PLAIN, lambda model: model.state_dict())


def test_half_types_stay(tmp_path):
    check_halves(tmp_path, PLAIN)


def test_new_weights(tmp_path):
    check_new_weights(tmp_path, ("Yolos", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("Yolos")
    assert YolosConfig(image_size=32).to_dict()["image_size"] == (32, 32)


def test_training():
    check_dropout(PLAIN, "hidden_dropout_prob", "attention_probs_dropout_prob")


def test_detections_come_after_the_patches():
    grid = built(ONCE)[1].grid(16, 24)
    assert (grid.prefix, grid.rows, grid.columns, grid.suffix) == (1, 4, 6, 7)
    assert grid.features == 1 + 24 + 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"patch_size": 600}, "does not fit"),
        ({"num_detection_tokens": 0}, "num_detection_tokens is 0; expected 1 to"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        YolosConfig(**changes).check()
