"""ViT-MSN, a twin of ViT, against transformers."""

import pytest

from mlx_vedec.encoders.vit import ViTMSNConfig
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
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

MSN = ("ViTMSN", {})
ODD = {
    "hidden_size": 30,
    "num_attention_heads": 5,
    "num_hidden_layers": 1,
    "intermediate_size": 28,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-3,
    "num_channels": 1,
    "image_size": [8, 24],
    "patch_size": [4, 3],
    "qkv_bias": False,
}
ROWS = {
    "msn": MSN,
    "odd": ("ViTMSN", ODD),
    "same-width": ("ViTMSN", {"hidden_size": 32, "num_attention_heads": 1}),
}


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, MSN)


def test_interpolated_positions(tmp_path):
    sizes = [(0, 0), (3, 2), (8, -4), (-7, 16), (-12, -12)]
    check_sizes(tmp_path, MSN, sizes, interpolate_pos_encoding=True)


@pytest.mark.parametrize("row", ["msn", "odd"])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, ROWS[row])


def test_names_in_memory_are_read(tmp_path):
    check_names(tmp_path, MSN, lambda model: model.state_dict())


def test_half_types_stay(tmp_path):
    check_halves(tmp_path, MSN)


def test_new_weights_and_defaults(tmp_path):
    """Class token and positions start at zero, unlike ViT's."""
    check_new_weights(tmp_path, ("ViTMSN", {"hidden_size": 96, "initializer_range": 0.03}))
    check_defaults("ViTMSN")


def test_training():
    check_dropout(MSN, "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("changes", [{"num_attention_heads": 5}, {"patch_size": 300}])
def test_bad_configs_are_refused(changes):
    with pytest.raises(ConfigError, match="expected|does not fit"):
        ViTMSNConfig(**changes).check()
