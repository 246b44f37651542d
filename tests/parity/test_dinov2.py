"""DINOv2, with and without registers, against transformers."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.encoders.dinov2 import Dinov2Config, Dinov2WithRegistersConfig
from mlx_vedec.encoders.patches import RESAMPLES, resize_positions
from mlx_vedec.errors import ConfigError, ImageError
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

PLAIN = ("Dinov2", {})
REGISTERS = ("Dinov2WithRegisters", {"patch_size": 4})
GATED = ("Dinov2WithRegisters", {"use_swiglu_ffn": True, "num_register_tokens": 2})
ROWS = {
    "dinov2": PLAIN,
    "swiglu": ("Dinov2", {"use_swiglu_ffn": True, "mlp_ratio": 3, "qkv_bias": False}),
    "odd": (
        "Dinov2",
        {
            "hidden_size": 30,
            "num_attention_heads": 5,
            "num_hidden_layers": 1,
            "mlp_ratio": 2,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
            "num_channels": 1,
            "image_size": 18,
            "use_mask_token": False,
        },
    ),
    "patch-oblong": ("Dinov2", {"image_size": [16, 8], "patch_size": [4, 2]}),
    "same-width": ("Dinov2", {"hidden_size": 32, "num_attention_heads": 1}),
    "registers": REGISTERS,
    "registers-swiglu": GATED,
    "registers-none": ("Dinov2WithRegisters", {"num_register_tokens": 0, "hidden_act": "silu"}),
}
SIZES = [(0, 0), (3, 2), (8, -4), (-7, 16), (-12, -12)]


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("row", [PLAIN, GATED])
def test_hidden_states_and_attentions(tmp_path, row):
    check_traces(tmp_path, row)


@pytest.mark.parametrize("row", [PLAIN, REGISTERS])
@pytest.mark.parametrize("scale", [1, 3])
def test_any_size_without_asking(tmp_path, row, scale):
    check_sizes(tmp_path, row, SIZES, scale)
    check_sizes(tmp_path, row, [(5, 9)], scale, interpolate_pos_encoding=True)


@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 7), (16, 16)])
@pytest.mark.parametrize("new", [(4, 4), (8, 6), (2, 3), (1, 1), (5, 11), (37, 3)])
def test_resized_tables_are_torchs(resample, grid, new):
    table = np.random.default_rng(0).normal(size=(1, grid[0] * grid[1], 5)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(table).reshape(1, *grid, 5).permute(0, 3, 1, 2),
        size=new,
        mode=resample.split()[0],
        align_corners=False,
        antialias="antialiased" in resample,
    )
    resized = resize_positions(mx.array(table), grid, new, resample=resample)
    close(resized.reshape(1, *new, 5).transpose(0, 3, 1, 2), expected, 1e-5)


@pytest.mark.parametrize(("stem", "antialias"), [("Dinov2", False), ("Dinov2WithRegisters", True)])
@pytest.mark.parametrize("extra", [(0, 0), (4, 12)])
def test_positions_that_are_not_square(tmp_path, stem, antialias, extra):
    """transformers 5.23 takes every grid of positions for a square one and fails, or resizes a
    wrong one where their number is a square. Ours starts from the configured grid, 2 by 3."""
    theirs, ours = pair(tmp_path, (stem, {"image_size": [8, 12], "patch_size": 4}))
    x, y = image(theirs, extra=extra)

    def positions(_, height, width):
        table = theirs.encoder.embeddings.position_embeddings
        patches = torch.nn.functional.interpolate(
            table[:, 1:].reshape(1, 2, 3, -1).permute(0, 3, 1, 2),
            size=(height // 4, width // 4),
            mode="bicubic",
            antialias=antialias,
        )
        return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

    theirs.encoder.embeddings.interpolate_pos_encoding = positions
    with torch.no_grad():
        close(ours.encode(y), theirs.encoder(x).last_hidden_state)


@pytest.mark.parametrize("row", ["dinov2", "swiglu", "odd", "registers-swiglu", "registers-none"])
def test_saved_folder_opens_in_transformers(tmp_path, row):
    check_saved(tmp_path, ROWS[row])


def test_names_in_memory_are_read(tmp_path):
    check_names(tmp_path, REGISTERS, lambda model: model.state_dict())


def test_every_name_is_used():
    check_rows([GATED, REGISTERS])


@pytest.mark.parametrize("row", [PLAIN, GATED])
def test_half_types_stay(tmp_path, row):
    check_halves(tmp_path, row)


@pytest.mark.parametrize("stem", ["Dinov2", "Dinov2WithRegisters"])
def test_new_weights_and_defaults(tmp_path, stem):
    changes = {"hidden_size": 96, "layerscale_value": 0.5, "initializer_range": 0.03}
    check_new_weights(tmp_path, (stem, {**changes, "use_swiglu_ffn": stem == "Dinov2"}))
    check_defaults(stem)


def test_training():
    check_dropout(PLAIN, "hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    check_drop_path(GATED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0; expected"),
        ({"patch_size": 300}, "does not fit"),
        ({"drop_path_rate": 1.0}, "drop_path_rate"),
        ({"num_register_tokens": -1}, "expected 0 or more"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Dinov2WithRegistersConfig(**changes).check()


def test_pixels_that_are_not_channels_last_are_refused(tmp_path):
    _, ours = pair(tmp_path, PLAIN)
    with pytest.raises(ImageError, match="channels come last"):
        ours.encode(mx.zeros((1, 3, 16, 16)))


def test_mlp_width_of_the_giant_model():
    """`facebook/dinov2-giant`: 4096 wide, stored as 8192 rows."""
    assert Dinov2Config(hidden_size=1536, use_swiglu_ffn=True).mlp_dims == 4096
