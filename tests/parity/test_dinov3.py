"""DINOv3's ViT against transformers."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.encoders.dinov3 import DINOv3ViTConfig, DINOv3ViTModel
from mlx_vedec.errors import ConfigError
from tests.parity.encoder_checks import (
    TROCR,
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
from tests.parity.reference import check_pair, close, image, pair, torch

PLAIN = ("DINOv3ViT", {})
GATED = (
    "DINOv3ViT",
    {"use_gated_mlp": True, "hidden_act": "silu", "num_register_tokens": 3, "key_bias": True},
)
BIASES = ("query_bias", "value_bias", "proj_bias", "mlp_bias")
ROWS = {
    "dinov3": PLAIN,
    "gated": GATED,
    "no-bias": ("DINOv3ViT", dict.fromkeys(BIASES, False)),
    "no-bias-gated": ("DINOv3ViT", {**GATED[1], "mlp_bias": False, "query_bias": False}),
    "odd": (
        "DINOv3ViT",
        {
            "hidden_size": 60,
            "num_attention_heads": 5,
            "num_hidden_layers": 1,
            "intermediate_size": 28,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
            "rope_theta": 20.0,
            "num_channels": 1,
            "image_size": [18, 24],
            "patch_size": [4, 6],
            "num_register_tokens": 1,
        },
    ),
    "same-width": ("DINOv3ViT", {"hidden_size": 32, "num_attention_heads": 1}),
}


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("row", [PLAIN, GATED])
def test_hidden_states_and_attentions(tmp_path, row):
    check_traces(tmp_path, row)


def test_any_size_without_asking(tmp_path):
    sizes = [(0, 0), (3, 2), (8, -4), (-7, 16), (-12, -12), (24, 40)]
    check_sizes(tmp_path, GATED, sizes)
    check_sizes(tmp_path, GATED, [(5, 9)], interpolate_pos_encoding=True)


@pytest.mark.parametrize("row", ["dinov3", "gated", "no-bias-gated", "odd"])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, ROWS[row])


def test_names_in_memory_are_read(tmp_path):
    check_names(tmp_path, GATED, lambda model: model.state_dict())


def test_every_name_is_used():
    check_rows([GATED])


@pytest.mark.parametrize("row", [PLAIN, GATED])
def test_half_types_stay(tmp_path, row):
    check_halves(tmp_path, row)


def test_new_weights_and_defaults(tmp_path):
    changes = {"hidden_size": 96, "layerscale_value": 0.5, "initializer_range": 0.03}
    check_new_weights(tmp_path, ("DINOv3ViT", {**GATED[1], **changes, "num_register_tokens": 9}))
    check_defaults("DINOv3ViT")


def test_training():
    still = {"pos_embed_rescale": None}
    row = ("DINOv3ViT", {**GATED[1], **still})
    check_dropout(row, "attention_dropout", "drop_path_rate")
    check_drop_path(row)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    "moves",
    [
        {"pos_embed_shift": 0.3},
        {"pos_embed_jitter": 1.5},
        {"pos_embed_rescale": 3.0},
        {"pos_embed_shift": 0.2, "pos_embed_jitter": 1.2, "pos_embed_rescale": 1.4},
        {},
    ],
)
def test_positions_moved_in_training(tmp_path, monkeypatch, moves, largest):
    """Where both draw the largest numbers, or the smallest, their features are the same."""
    theirs, ours = pair(tmp_path, ("DINOv3ViT", {"pos_embed_rescale": None, **moves}))
    x, y = image(theirs)
    still = np.array(ours.encode(y))
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda tensor, low, high: tensor.fill_(high if largest else low)
    )
    monkeypatch.setattr(
        mx.random, "uniform", lambda low, high, shape: mx.full(shape, high if largest else low)
    )
    ours.train()
    theirs.train()
    with torch.no_grad():
        close(ours.encode(y), theirs.encoder(x).last_hidden_state)
    assert np.allclose(still, np.array(ours.encode(y)), atol=1e-4) == (not moves)


def factors(**moves) -> np.ndarray:
    """Random factors (200, 2) by which coordinates are stretched down and across."""
    mx.random.seed(0)
    still = {"pos_embed_rescale": None, **moves}
    positions = DINOv3ViTModel(DINOv3ViTConfig(**still, num_hidden_layers=1)).positions
    corners = mx.array([[-1.0, -1.0], [1.0, 1.0]])
    moved = np.array([positions._moved(corners) for _ in range(200)])
    return (moved[:, 1] - moved[:, 0]) / 2


def test_random_moves_are_within_their_bounds():
    """Jitter draws a factor for each axis, rescaling one for both, shift none."""
    jitter = factors(pos_embed_shift=0.5, pos_embed_jitter=2.0)
    rescale = factors(pos_embed_rescale=2.0)
    for drawn in (jitter, rescale):
        assert 0.5 <= drawn.min() < 0.55 and 1.8 < drawn.max() <= 2
        assert abs((drawn < 1).mean() - 0.5) < 0.15  # as many below 1 as above
    assert abs(np.corrcoef(jitter.T)[0, 1]) < 0.3
    assert (rescale[:, 0] == rescale[:, 1]).all()
    np.testing.assert_allclose(factors(pos_embed_shift=0.5), 1, atol=1e-6)


def test_null_switches_rescaling_off(tmp_path):
    config = DINOv3ViTConfig.from_dict({"pos_embed_rescale": None, "num_register_tokens": 4})
    assert config.pos_embed_rescale is None
    assert DINOv3ViTConfig.from_dict(config.to_dict()).pos_embed_rescale is None
    assert DINOv3ViTConfig.from_dict({}).pos_embed_rescale == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"hidden_size": 36}, "multiple of 4 for each of 6 heads"),
        ({"patch_size": 300}, "does not fit"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"num_register_tokens": -1}, "expected 0 or more"),
        ({"pos_embed_shift": -0.1}, "expected 0 or more"),
        ({"pos_embed_jitter": 0.5}, "expected 1 or more"),
        ({"pos_embed_rescale": 0.5}, "expected 1 or more"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DINOv3ViTConfig(**changes).check()
