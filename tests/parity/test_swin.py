"""Swin, Donut-Swin and Swin V2 with TrOCR's decoder against transformers."""

import copy

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.weights import load, parameters
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.swin import DonutSwinConfig, SwinConfig
from mlx_vedec.encoders.swinv2 import Swinv2Config
from mlx_vedec.encoders.windows import Cut, attend_in_windows
from mlx_vedec.errors import ConfigError, ImageError
from mlx_vedec.layers.attention import Attention
from tests.parity.encoder_checks import (
    TROCR,
    built,
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
from tests.parity.reference import check_pair, close, image, pair, reference, torch

STEMS = ("Swin", "DonutSwin", "Swinv2")
OBLONG = {"image_size": [21, 36], "patch_size": [2, 3], "num_channels": 1, "window_size": 2}
CHANGES = {
    "default": {},
    "bare": {"qkv_bias": False, "hidden_act": "relu", "mlp_ratio": 1.6, "layer_norm_eps": 1e-2},
    "oblong": OBLONG,  # maps of 11×12, 6×6 and 3×3: padded to windows, patches and pairs
    "padded": {"image_size": 27, "window_size": 4, "depths": [2, 2], "num_heads": [2, 3]},
    "one-stage": {"embed_dim": 10, "depths": [3], "num_heads": [5], "hidden_act": "gelu_new"},
}
ROWS = {f"{stem}-{name}": (stem, CHANGES[name]) for stem in STEMS for name in CHANGES} | {
    "Swin-absolute": ("Swin", {"use_absolute_embeddings": True}),
    "Swinv2-pretrained": ("Swinv2", {"pretrained_window_sizes": [5, 0, 2]}),
    "Swinv2-wide": ("Swinv2", {"window_size": 16}),
    "Swinv2-tall": ("Swinv2", {"image_size": [24, 10], "window_size": 6}),
}
EXTRAS = [(0, 0), (13, 26), (4, 0), (1, 3)]  # beyond 24×24 pixels


@pytest.mark.parametrize("row", ROWS)
def test_logits_loss_and_tokens(tmp_path, row):
    check_pair(tmp_path, ROWS[row], TROCR)


@pytest.mark.parametrize("row", ["Swin-default", "DonutSwin-padded", "Swinv2-oblong"])
def test_hidden_states_and_attentions(tmp_path, row):
    """One hidden state more than stages; attentions of the last layer of each, by windows."""
    check_traces(tmp_path, ROWS[row])


@pytest.mark.parametrize("stem", STEMS)
def test_images_of_other_sizes(tmp_path, stem):
    """Among them a small image last: transformers' Swin would stay changed by it (reference §1)."""
    check_sizes(tmp_path, (stem, {"depths": [2, 2], "num_heads": [1, 2]}), [*EXTRAS, (-14, -12)])


@pytest.mark.parametrize("stem", STEMS)
def test_saved_folder_opens_in_transformers(tmp_path, stem):
    check_saved(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_names_in_memory(tmp_path, stem):
    """Those of transformers 5 for Swin; buffers of older versions and unread tensors besides."""

    def rename(theirs):
        block = "encoder.encoder.layers.0.blocks.1.attention"
        extra = {
            "Swin": (
                "self.relative_position_index",
                "relative_position_bias.relative_position_index",
            ),
            "DonutSwin": (),
            "Swinv2": ("self.relative_position_index", "self.relative_coords_table"),
        }
        more = [f"{block}.{name}" for name in extra[stem]] + ["encoder.embeddings.mask_token"]
        more += ["encoder.layernorm.weight"] if stem == "DonutSwin" else []
        return theirs.state_dict() | {name: torch.zeros(1) for name in more}

    check_names(tmp_path, (stem, {}), rename)


def test_every_row_of_the_tables_is_used():
    absolute = {"use_absolute_embeddings": True}
    for stem in STEMS:
        check_rows([(stem, absolute)])


@pytest.mark.parametrize("stem", STEMS)
def test_halves(tmp_path, stem):
    check_halves(tmp_path, (stem, {"image_size": 26, "use_absolute_embeddings": stem == "Swin"}))


@pytest.mark.parametrize("stem", STEMS)
def test_new_weights_are_spread_as_theirs(tmp_path, stem):
    absolute = {"use_absolute_embeddings": stem == "Swin", "initializer_range": 0.05}
    check_new_weights(tmp_path, (stem, absolute))


def test_defaults():
    for stem in STEMS:
        check_defaults(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_dropout_is_of_training_alone(stem):
    check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "rate", ["drop_path_rate", "attention_probs_dropout_prob", "hidden_dropout_prob"]
)
def test_what_training_leaves_out(tmp_path, stem, rate):
    """A rate of nearly one leaves nothing to chance, and shows which branches it falls on.

    Stochastic depth rises from zero at the first of the two layers; Swin's MLP has none.
    """
    changes = {"depths": [2], "num_heads": [2], "drop_path_rate": 0.0, rate: 0.999999}
    theirs, ours = pair(tmp_path, (stem, changes))
    torch.manual_seed(0)
    mx.random.seed(0)
    x, y = image(theirs)
    still = theirs.encoder.eval()(x).last_hidden_state
    expected = theirs.encoder.train()(x).last_hidden_state
    assert (still - expected).abs().max() > 0.1
    close(ours.encoder.train()(y)[0], expected)


@pytest.mark.parametrize("stem", STEMS)
def test_drop_path_rises_from_layer_to_layer(stem):
    row = (stem, {"drop_path_rate": 0.4})
    theirs, ours = built(row)
    rates = [
        getattr(block.drop_path, "drop_prob", 0.0)
        for stage in theirs.encoder.layers
        for block in stage.blocks
    ]
    mine = [layer.drop_path.rate for stage in ours.stages for layer in stage.layers]
    np.testing.assert_allclose(mine, rates, atol=1e-7)


@pytest.mark.parametrize("stem", STEMS)
def test_gradients(tmp_path, stem):
    """Of every parameter, through padding, shifts and masks, as torch's."""
    theirs, ours = pair(tmp_path, (stem, CHANGES["padded"]))
    x, y = image(theirs)
    weights = np.random.default_rng(5).normal(size=(2, 49, 24)).astype(np.float32)
    (theirs.encoder(x).last_hidden_state * torch.from_numpy(weights)).sum().backward()
    for parameter in theirs.encoder.parameters():
        parameter.data = parameter.grad
    theirs.encoder.save_pretrained(tmp_path)
    stored = mx.load(str(tmp_path / "model.safetensors"))
    expected = copy.deepcopy(ours.encoder)
    load(expected, stored, expected.renames, "gradients")

    def loss(encoder):
        return (encoder(y)[0] * mx.array(weights)).sum()

    found = dict(tree_flatten(nn.value_and_grad(ours.encoder, loss)(ours.encoder)[1]))
    assert found.keys() == parameters(expected).keys()
    for name, gradient in parameters(expected).items():
        close(found[name], torch.from_numpy(np.array(gradient)), 1e-3)


@pytest.mark.parametrize("stem", ["Swin", "DonutSwin"])
def test_a_window_larger_than_the_map(tmp_path, stem):
    """transformers raises: its bias keeps the config's window. One of the map's size is the middle
    of a larger table, so its model of window 3 is the reference for ours of window 5."""
    changes = {"image_size": [6, 8], "depths": [2], "num_heads": [2], "window_size": 3}
    theirs, _ = pair(tmp_path / "small", (stem, changes))
    _, ours = pair(tmp_path / "large", (stem, {**changes, "window_size": 5}))
    tensors = mx.load(str(tmp_path / "small" / "model.safetensors"))
    for name in [name for name in tensors if name.endswith("bias_table")]:
        table = mx.random.normal((9, 9, 2))
        table[2:7, 2:7] = tensors[name].reshape(5, 5, 2)
        tensors[name] = table.reshape(81, 2)
    load(ours, tensors, ours.renames, "small")
    x, y = image(theirs)
    close(ours.encode(y), theirs.encoder(x).last_hidden_state)


@pytest.mark.parametrize("stem", STEMS)
def test_a_small_image_changes_no_later_call(tmp_path, stem):
    """transformers keeps the smaller window, so each of its calls gets a new model."""
    theirs, ours = pair(tmp_path, (stem, {"depths": [2, 2], "num_heads": [1, 2]}))
    for extra in ((-14, -12), (0, 0), (-18, -18), (26, 0)):
        x, y = image(theirs, extra=extra)
        if min(extra) > -18:  # a map of 3 places, which is 2 in the next stage, is too small there
            close(ours.encode(y), copy.deepcopy(theirs).encoder(x).last_hidden_state)
        assert bool(mx.isfinite(ours.encode(y)).all())


@pytest.mark.parametrize("stem", ["DonutSwin", "Swinv2"])
def test_absolute_positions(tmp_path, stem):
    """transformers makes one row too many and always fails; its model gets a table that fits."""
    row = (stem, {"use_absolute_embeddings": True})
    theirs = reference(row, TROCR)
    table = torch.randn(1, 144, 12)
    theirs.encoder.embeddings.position_embeddings = torch.nn.Parameter(table)
    theirs.save_pretrained(tmp_path)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    x, y = image(theirs)
    close(ours.encode(y), theirs.encoder(x).last_hidden_state)


def test_absolute_positions_of_other_images(tmp_path):
    """Square and in whole patches as transformers; else, where it fails, as torch resizes."""
    row = ("Swin", {"use_absolute_embeddings": True})
    check_sizes(tmp_path, row, [(0, 0)], scale=2, interpolate_pos_encoding=True)
    theirs, ours = pair(tmp_path, row)
    x, y = image(theirs, extra=(13, 26))
    with pytest.raises(ImageError, match="37×50 but this encoder was built for 24×24"):
        ours.encode(y)
    table = theirs.encoder.embeddings.position_embeddings
    grid = table.reshape(1, 12, 12, 12).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(19, 25), mode="bicubic")
    theirs.encoder.embeddings.position_embeddings.data = grid.flatten(2).transpose(1, 2)
    close(ours.encode(y, interpolate_pos_encoding=True), theirs.encoder(x).last_hidden_state)


def test_the_factor_of_a_cosine_has_a_limit(tmp_path):
    """Of 100, at which a mask of -100 would let places through that transformers' -200 does not."""
    theirs = reference(("Swinv2", {}), TROCR)
    for name, parameter in theirs.encoder.named_parameters():
        if "logit_scale" in name:
            parameter.data = torch.linspace(3, 7, len(parameter))[:, None, None]
    theirs.save_pretrained(tmp_path)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    x, y = image(theirs)
    close(ours.encode(y), theirs.encoder(x).last_hidden_state)


@pytest.mark.parametrize("rows,columns", [(7, 5), (6, 9), (7, 3), (2, 4)])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_windows_are_a_mask_on_the_whole_map(rows, columns, shift):
    """Attention of the padded map over itself, but within windows and away from the far edge."""
    mx.random.seed(0)
    attn = Attention(6, 2)
    x, bias = mx.random.normal((2, rows, columns, 6)), mx.random.normal((2, 9, 9))
    keep = []
    out = attend_in_windows(attn, x, bias, Cut(3, shift), keep)
    high, wide = -(-rows // 3) * 3, -(-columns // 3) * 3
    down, across = np.divmod(np.arange(high * wide), wide)
    rolled = (down - shift) % high, (across - shift) % wide
    window = rolled[0] // 3 * wide + rolled[1] // 3
    edge = (rolled[0] >= high - shift) * 2 + (rolled[1] >= wide - shift)
    inside = rolled[0] % 3 * 3 + rolled[1] % 3
    together = (window[:, None] == window) & (edge[:, None] == edge)
    values = np.array(bias)[:, inside[:, None], inside]
    padded = mx.pad(x, [(0, 0), (0, high - rows), (0, wide - columns), (0, 0)])
    mask = mx.array(np.where(together, values, -1e9))
    whole = attn(padded.flatten(1, 2), mask=mask).reshape(2, high, wide, 6)
    assert mx.allclose(out, whole[:, :rows, :columns], atol=1e-5)
    assert mx.allclose(attend_in_windows(attn, x, bias, Cut(3, shift)), out, atol=1e-5)
    assert keep[0].shape == (2 * high * wide // 9, 2, 9, 9)


@pytest.mark.parametrize(
    "kind,changes,message",
    [
        (SwinConfig, {"depths": (2, 0, 2, 2)}, r"depths is \(2, 0, 2, 2\)"),
        (SwinConfig, {"depths": ()}, "depths"),
        (SwinConfig, {"num_heads": (3, 6)}, "one number for each of the 4 stages"),
        (DonutSwinConfig, {"num_heads": (3, 5, 12, 24)}, "a divisor of 192, the width of stage 1"),
        (SwinConfig, {"num_heads": (3, 0, 12, 24)}, "swin config: num_heads"),
        (SwinConfig, {"mlp_ratio": 0.001}, "mlp_ratio is 0.001; expected 1 / 96 or more"),
        (SwinConfig, {"window_size": 0}, "window_size is 0"),
        (SwinConfig, {"image_size": 2}, "does not fit"),
        (SwinConfig, {"drop_path_rate": 1.0}, "drop_path_rate"),
        (Swinv2Config, {"pretrained_window_sizes": (8, 8)}, "for each of the 4 stages"),
        (Swinv2Config, {"pretrained_window_sizes": (1, 0, 0, 0)}, "pretrained_window_sizes is"),
    ],
)
def test_configs_that_are_refused(kind, changes, message):
    family = ENCODERS[kind.model_type]
    with pytest.raises(ConfigError, match=message):
        family(kind(**changes))


def test_derived_names_of_a_config():
    config = SwinConfig.from_dict({"depths": [1, 2], "num_heads": [1, 3], "hidden_size": 5})
    assert (config.hidden_size, config.num_layers, config.num_attention_heads) == (192, 2, (1, 3))
    assert config.to_dict()["hidden_size"] == 192 and config.to_dict()["num_layers"] == 2


def test_pixels_of_another_layout():
    encoder = built(("Swin", {}))[1]
    with pytest.raises(ImageError, match="channels come last"):
        encoder(mx.zeros((1, 3, 24, 24)))
