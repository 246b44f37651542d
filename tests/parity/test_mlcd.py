"""MLCD's image encoder against transformers."""

import mlx.core as mx
import pytest

from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.mlcd import MLCDVisionConfig
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
    check_defaults,
    check_dropout,
    check_halves,
    check_names,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import check_pair, transformers
from tests.parity.test_clip import old_names

PLAIN = ("MLCDVision", {})
ODD = (
    "MLCDVision",
    {
        "hidden_size": 40,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 28,
        "num_key_value_groups": 1,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
        "image_size": 18,
        "patch_size": 8,
        "rope_parameters": {"rope_type": "axial", "rope_theta": 50.0},
    },
)


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


def test_hidden_states_and_attentions(tmp_path):
    check_traces(tmp_path, PLAIN)


def test_images_of_any_size(tmp_path):
    check_sizes(tmp_path, PLAIN, [(0, 0), (3, 2), (8, -4), (-12, -12)])


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_old_names_are_read(tmp_path):
    """All but those that are only carried, which transformers 5.24 does not know by old names."""

    def read(model) -> dict:
        carried = {name: x for name, x in model.state_dict().items() if "post_layernorm" in name}
        return {n: x for n, x in old_names(model).items() if "post_layernorm" not in n} | carried

    check_names(tmp_path, PLAIN, read)


def test_every_name_is_used():
    check_rows([PLAIN])


def test_half_types_stay(tmp_path):
    check_halves(tmp_path, PLAIN)


def test_new_weights(tmp_path):
    changes = {"hidden_size": 96, "initializer_range": 0.03, "initializer_factor": 2.0}
    check_new_weights(tmp_path, ("MLCDVision", changes))
    check_defaults("MLCDVision")


def test_training():
    check_dropout(PLAIN, "attention_dropout")


def test_the_old_model_type_is_read():
    """`mlcd`, as in the first checkpoints; transformers too writes `mlcd_vision_model` then."""
    config = ENCODERS["mlcd"].config_class.from_dict({"model_type": "mlcd", "hidden_size": 64})
    assert type(config) is MLCDVisionConfig
    assert config.to_dict()["model_type"] == "mlcd_vision_model"
    assert config.rope_theta == MLCDVisionConfig(rope_parameters={}).rope_theta == 10000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"hidden_size": 36, "num_attention_heads": 6}, "multiple of 4 for each of 6 heads"),
        ({"patch_size": 400}, "does not fit"),
        ({"num_key_value_groups": 2}, "num_key_value_groups is 2; expected 1"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'axial'"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta above 0"),
        ({"rope_parameters": {"rope_theta": "10"}}, "rope_theta above 0"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        MLCDVisionConfig(**changes).check()


def test_a_theta_alone_is_read():
    theirs = transformers.MLCDVisionConfig(rope_theta=50.0).rope_parameters
    assert MLCDVisionConfig.from_dict({"rope_theta": 50.0}).rope_parameters == theirs
    assert (
        MLCDVisionConfig.from_dict({"rope_theta": 5.0, "rope_parameters": theirs}).rope_theta == 50
    )


def test_positions_are_no_parameters():
    encoder = ENCODERS["mlcd"](MLCDVisionConfig(num_hidden_layers=1, hidden_size=64))
    assert "position_embeddings" not in encoder and encoder.prefix_tokens == 1
    assert encoder(mx.zeros((1, 28, 42, 3))).last_hidden_state.shape == (1, 7, 64)
