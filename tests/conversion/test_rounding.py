"""Weights rounded with what layers are given: against plain rounding, and what may not change."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec import load
from mlx_vedec.checkpoints.quantizing import dequantize, quantize
from mlx_vedec.conversion.calibration import calibrate
from mlx_vedec.conversion.rounding import DAMPING, LOOKUP, Watched, packed, quantized, round_weights
from mlx_vedec.errors import OptionError
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.layers.quantization_recipes import quantizable_layers
from mlx_vedec.measuring.likelihoods import Written
from tests.conversion.test_calibration import LINES, arrays, changed, student
from tests.support.tiny import pixels, tiny_model

WIDE = (
    {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128},
    {
        "d_model": 64,
        "decoder_ffn_dim": 128,
    },
)
FOUR = QuantizationConfig(4, 32, recipe="uniform")


class Pictures:
    """A processor whose images are pixels."""

    def pixels(self, images):
        return mx.stack(images)


def texts():
    rows = ((5, 7, 9, 2), (11, 3, 2))
    return [Written(x, (2,), row, "") for x, row in zip(pixels(), rows, strict=True)]


def layer_of(weight, bits, size=32):
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = mx.array(weight.astype(np.float32))
    return linear.to_quantized(size, bits)


def error(layer, weight, inputs):
    own = layer.group_size, layer.bits
    found = np.array(mx.dequantize(layer.weight, layer.scales, layer.biases, *own))
    return np.linalg.norm(inputs @ (found - weight).T)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_integers_are_packed_as_mlx_packs_them(bits):
    integers = np.random.default_rng(0).integers(0, 2**bits, (5, 64)).astype(np.uint8)
    scales = mx.ones((5, 2))
    found = mx.dequantize(packed(integers, bits), scales, 0 * scales, 32, bits)
    assert np.array_equal(np.array(found), integers)


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_inputs_that_do_not_go_together_leave_plain_rounding(bits):
    weight = np.random.default_rng(0).normal(size=(7, 96))
    layer = layer_of(weight, bits)
    found = quantized(weight, np.eye(96), layer)
    for name, x in found.items():
        assert x.dtype == layer[name].dtype and mx.array_equal(x, layer[name])


@pytest.mark.parametrize("bits", [2, 4])
def test_the_output_changes_less(bits):
    """With inputs of a few directions and some noise, by far; each weight's own error grows."""
    draw = np.random.default_rng(0)
    weight = draw.normal(size=(16, 64))
    inputs = (
        draw.normal(size=(200, 6)) @ draw.normal(size=(6, 64)) + draw.normal(size=(200, 64)) / 9
    )
    layer = layer_of(weight, bits)
    before, own = error(layer, weight, inputs), error(layer, weight, np.eye(64))
    layer.update(quantized(weight, inputs.T @ inputs + 0.01 * np.eye(64), layer))
    assert error(layer, weight, inputs) < 0.4 * before
    assert error(layer, weight, np.eye(64)) > own


def test_rows_of_one_number():
    """Scales are next to nothing there; what comes out is finite, and near."""
    weight = np.repeat([[0.0], [0.5]], 32, axis=1)
    layer = layer_of(weight, 4)
    layer.update(quantized(weight, np.eye(32), layer))
    assert error(layer, weight, np.eye(32)) < 1e-3


def test_what_is_watched():
    """The sum of x xᵀ over all calls; a table is watched as the head, not as an embedding."""
    draw = np.random.default_rng(0)
    first, second = (draw.normal(size=shape).astype(np.float32) for shape in ((2, 5, 4), (3, 4)))
    linear, table = Watched(nn.Linear(4, 3)), Watched(nn.Embedding(9, 4))
    for x in (first, second):
        assert mx.array_equal(linear(mx.array(x)), linear.own(mx.array(x)))
        assert mx.array_equal(table.as_linear(mx.array(x)), table.own.as_linear(mx.array(x)))
    assert table(mx.array([1, 2])).shape == (2, 4)
    rows = np.concatenate([first.reshape(-1, 4), second])
    gram = rows.T @ rows
    for watched, damping in ((linear, DAMPING), (table, LOOKUP)):
        expected = gram / gram.diagonal().mean() + damping * np.eye(4)
        assert np.allclose(watched.gram(), expected, rtol=1e-5, atol=1e-6)
    assert Watched(nn.Linear(4, 3)).gram() is None


def test_a_model():
    """Every layer that is affine gets new integers; nothing else changes, nor does the teacher."""
    teacher, model, before = (tiny_model(*WIDE) for _ in range(3))
    for half in (model, before):
        quantize(half, FOUR)
    steps = []
    round_weights(model, teacher, Pictures(), texts(), progress=lambda *done: steps.append(done))
    layers = quantizable_layers(before)
    assert steps == [(number + 1, len(layers)) for number in range(len(layers))]
    assert {f"{path}.weight" for path in layers} <= changed(model, before)
    assert {name.rpartition(".")[0] for name in changed(model, before)} == set(layers)
    assert {n: (x.shape, x.dtype) for n, x in arrays(model).items()} == {
        n: (x.shape, x.dtype) for n, x in arrays(before).items()
    }
    assert not changed(teacher, tiny_model(*WIDE))
    assert all(
        type(leaf) in (nn.Linear, nn.Embedding) for leaf in quantizable_layers(teacher).values()
    )


def test_a_failure_leaves_the_model():
    def stop(done, of):
        raise KeyboardInterrupt

    model, before = tiny_model(*WIDE), tiny_model(*WIDE)
    for half in (model, before):
        quantize(half, FOUR)
    with pytest.raises(KeyboardInterrupt):
        round_weights(model, tiny_model(*WIDE), Pictures(), texts(), progress=stop)
    assert not changed(model, before)


def test_a_teacher_without_floats_is_refused():
    model, packed_teacher = tiny_model(*WIDE), tiny_model(*WIDE)
    quantize(model, FOUR)
    quantize(packed_teacher, FOUR)
    for teacher in (packed_teacher, tiny_model()):
        with pytest.raises(OptionError, match="no floats for .*; expected the model that was"):
            round_weights(model, teacher, Pictures(), texts())


@pytest.mark.slow
def test_calibration_rounds_by_default():
    """The bundled model's encoder at 4 bits: the divergence on all lines is less than half."""
    teacher, model = load(), student(QuantizationConfig(4, recipe="uniform", decoder_bits=None))
    found = calibrate(model, *teacher, LINES)
    assert found.rounded == found.after < found.before
    assert (found.images, found.held_out) == (14, 2)
    plain = student(QuantizationConfig(4, recipe="uniform", decoder_bits=None))
    seen = teacher[1].pixels(LINES)
    exact = teacher[0].encode(seen)
    for half in (model, plain):
        dequantize(half)
    errors = [mx.mean((half.encode(seen) - exact) ** 2).item() for half in (model, plain)]
    assert errors[0] < 0.3 * errors[1]
