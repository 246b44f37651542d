"""Pixio against transformers."""

import pytest

from mlx_vedec.encoders.pixio import PixioConfig
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
    built,
    check_defaults,
    check_drop_path,
    check_dropout,
    check_halves,
    check_names,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair

PLAIN = ("Pixio", {})
ODD = (
    "Pixio",
    {
        "hidden_size": 30,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "mlp_ratio": 2,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
        "image_size": 18,
        "patch_size": 8,
        "qkv_bias": False,
        "n_cls_tokens": 1,
    },
)


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, PLAIN)


def test_images_of_any_size(tmp_path):
    check_sizes(tmp_path, PLAIN, [(0, 0), (3, 2), (8, -4), (12, 12)])


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_names_in_memory_are_read(tmp_path):
    check_names(tmp_path, PLAIN, lambda model: model.state_dict())


def test_every_name_is_used():
    check_rows([PLAIN])


def test_half_types_stay(tmp_path):
    check_halves(tmp_path, PLAIN)


def test_new_weights(tmp_path):
    check_new_weights(tmp_path, ("Pixio", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("Pixio")
    assert built(PLAIN)[1].prefix_tokens == 8


def test_training():
    check_dropout(PLAIN, "hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    check_drop_path(PLAIN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 7}, "multiple of num_attention_heads"),
        ({"patch_size": 300}, "does not fit"),
        ({"n_cls_tokens": 0}, "n_cls_tokens is 0; expected 1 to"),
        ({"mlp_ratio": 10**9}, "expected at most 2147483647 / 1280"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0; expected 1 to"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PixioConfig(**changes).check()
