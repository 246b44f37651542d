"""Hiera against transformers."""

import mlx.core as mx
import pytest

from mlx_vedec.encoders.hiera import HieraModel
from mlx_vedec.encoders.hiera_config import HieraConfig
from mlx_vedec.errors import ConfigError, ImageError
from tests.parity.encoder_checks import (
    TROCR,
    built,
    check_defaults,
    check_dropout,
    check_halves,
    check_new_weights,
    check_rows,
    check_saved,
    check_sizes,
    check_traces,
)
from tests.parity.reference import HIERA, check_pair, image, pair

PLAIN = ("Hiera", {})
ODD = (  # with a stage that does not pool, so features that are not in rows, and units later on
    "Hiera",
    {
        "depths": [1, 2, 1],
        "embed_dim": 15,
        "num_heads": [3, 5, 1],
        "embed_dim_multiplier": 3,
        "mlp_ratio": 1.5,
        "num_query_pool": 1,
        "masked_unit_size": [8, 4],
        "masked_unit_attention": [False, True, True],
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
        "patch_size": [4, 2],
        "patch_stride": [4, 2],
        "patch_padding": [0, 0],
        "image_size": [32, 16],
    },
)
WIDE = ("Hiera", {"query_stride": [2, 1], "masked_unit_size": [4, 2], "embed_dim_multiplier": 2.0})


@pytest.mark.parametrize("row", [PLAIN, ODD, WIDE])
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, row, TROCR)


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_hidden_states_and_attentions(tmp_path, row):
    check_traces(tmp_path, row)


def test_interpolated_positions(tmp_path):
    check_sizes(tmp_path, PLAIN, [(0, 0), (8, 16), (-8, 8)], interpolate_pos_encoding=True)


def test_other_sizes_have_to_be_asked_for_and_be_whole_units(tmp_path):
    theirs, ours = pair(tmp_path, PLAIN)
    with pytest.raises(ImageError, match="interpolate_pos_encoding=True"):
        ours.encode(image(theirs, extra=(8, 0))[1])
    with pytest.raises(ImageError, match="image is 16×20 but its sides .* multiples of .8, 8."):
        ours.encode(image(theirs, extra=(0, 4))[1], interpolate_pos_encoding=True)


@pytest.mark.parametrize("row", [PLAIN, ODD])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, row)


def test_every_name_is_used():
    check_rows([PLAIN])


def test_half_types_stay(tmp_path):
    check_halves(tmp_path, PLAIN)


def test_new_weights(tmp_path):
    changes = {"embed_dim": 48, "initializer_range": 0.03, "layer_norm_init": 0.7}
    check_new_weights(tmp_path, ("Hiera", changes))
    check_defaults("Hiera")


def test_training():
    """Stochastic depth rises from zero at the first layer to the last."""
    check_dropout(PLAIN, "drop_path_rate")
    theirs, ours = built(("Hiera", {"drop_path_rate": 0.4}))
    rates = [layer.drop_path.rate for stage in ours.stages for layer in stage.layers]
    expected = [
        getattr(layer.drop_path, "drop_prob", 0.0)
        for stage in theirs.encoder.stages
        for layer in stage.layers
    ]
    assert rates == pytest.approx(expected) and rates[-1] == 0.4


def test_places_are_known_where_all_stages_pool():
    ours = HieraModel(HieraConfig.from_dict(HIERA))
    grid = ours.grid(16, 24)
    assert (grid.prefix, grid.rows, grid.columns, grid.cell) == (0, 2, 3, (8, 8))
    unpooled = HieraModel(HieraConfig.from_dict({**HIERA, "num_query_pool": 1}))
    with pytest.raises(ConfigError, match="num_query_pool 1 and 3 stages .* expected 2"):
        unpooled.grid(16, 16)
    assert unpooled(mx.zeros((1, 16, 16, 3))).last_hidden_state.shape == (1, 16, 48)
    assert (ours.count(16, 24), unpooled.count(16, 16)) == (6, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1, 1)}, "one value for each of the 2 stages"),
        ({"depths": (2, 0, 16, 3)}, "expected layers in each stage"),
        ({"num_heads": (1, 2, 5, 8)}, "expected a divisor of 384, the width of stage 2"),
        ({"num_query_pool": 4}, "num_query_pool is 4; expected fewer than the 4 stages"),
        ({"embed_dim_multiplier": 1}, "a width, another of each stage that pools"),
        ({"embed_dim_multiplier": -2.0}, "embed_dim_multiplier is -2.0; expected one that makes"),
        ({"mlp_ratio": 0.001}, "mlp_ratio is 0.001; expected 1 / 96 or more"),
        ({"mlp_ratio": 1e9}, "no more than 2147483647 / 96"),
        ({"masked_unit_size": (8, 4)}, "masked_unit_size is .8, 4.; expected multiples of query"),
        ({"patch_padding": (0, 0)}, "patch_size less twice the padding"),
        ({"image_size": (224, 208)}, "expected multiples of .32, 32."),
        ({"image_size": (224, 0)}, "image_size is .224, 0.; expected a positive number"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        HieraConfig(**changes).check()
