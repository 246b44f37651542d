import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import ConfigError
from mlx_vedec.layers.attention import (
    ACTIVATIONS,
    Attention,
    activation,
    causal_mask,
    gelu,
    initialise,
)

X = np.linspace(-6, 6, 101)
SOFTPLUS = np.log1p(np.exp(X))
ERF = np.array([math.erf(x / math.sqrt(2)) for x in X])
SIGMOID = 1 / (1 + np.exp(-X))
TANH_GELU = X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))) / 2
EXPECTED = {
    "gelu": X * (1 + ERF) / 2,
    "gelu_python": X * (1 + ERF) / 2,
    "gelu_10": np.clip(X * (1 + ERF) / 2, -10, 10),
    "gelu_new": TANH_GELU,
    "gelu_pytorch_tanh": TANH_GELU,
    "gelu_fast": TANH_GELU,
    "gelu_accurate": TANH_GELU,
    "quick_gelu": X / (1 + np.exp(-1.702 * X)),
    "relu": np.maximum(X, 0),
    "relu2": np.maximum(X, 0) ** 2,
    "relu6": np.clip(X, 0, 6),
    "silu": X * SIGMOID,
    "swish": X * SIGMOID,
    "mish": X * np.tanh(SOFTPLUS),
    "tanh": np.tanh(X),
    "sigmoid": SIGMOID,
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "hardswish": X * np.clip(X + 3, 0, 6) / 6,
    "linear": X,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    got = activation(name)(mx.array(X.astype(np.float32)))
    np.testing.assert_allclose(np.array(got), EXPECTED[name], atol=2e-6)


def test_unknown_activation():
    with pytest.raises(ConfigError, match="'gelo' is unknown; known are gelu"):
        activation("gelo")


def test_gelu_does_not_overflow_in_half_precision():
    assert gelu(mx.array([60000.0, -60000.0], mx.float16)).tolist() == [59999.0 + 1, 0.0]


def attention(**kwargs):
    mx.random.seed(1)
    layer = Attention(24, 3, **kwargs)
    layer.eval()
    return layer


@pytest.mark.parametrize("mask", [None, "causal", "boolean", "additive"])
def test_kept_weights_belong_to_the_output(mask):
    """The path that keeps its weights computes what the fused one does."""
    layer, x = attention(), mx.random.normal((2, 5, 24))
    masks = {
        None: None,
        "causal": "causal",
        "boolean": causal_mask(5, 0) & mx.array([True, True, False, True, True]),
        "additive": mx.random.normal((3, 5, 5)),
    }
    keep = []
    explicit = layer(x, mask=masks[mask], keep=keep)
    assert mx.allclose(layer(x, mask=masks[mask]), explicit, atol=1e-5)
    assert keep[0].shape == (2, 3, 5, 5)
    assert mx.allclose(keep[0].sum(-1), mx.ones((2, 3, 5)), atol=1e-5)
    if mask in ("causal", "boolean"):
        assert keep[0][..., 0, 1:].max().item() == 0


def test_rows_of_one_image_share_its_memory():
    """Queries of K rows per image, folded together, attend as if the memory were repeated."""
    layer = attention(memory_dims=10)
    features, x = mx.random.normal((2, 7, 10)), mx.random.normal((6, 4, 24))
    keep, kept = [], []
    folded = layer(x, layer.remember(features), keep=keep)
    repeated = layer(x, layer.remember(mx.repeat(features, 3, axis=0)), keep=kept)
    assert mx.allclose(folded, repeated, atol=1e-5)
    assert mx.allclose(keep[0], kept[0], atol=1e-6)
    assert mx.allclose(layer(x, layer.remember(features)), folded, atol=1e-5)


def test_dropout_of_attention_in_training_alone():
    layer, x = attention(dropout=0.5), mx.random.normal((1, 5, 24))
    still = layer(x)
    assert mx.array_equal(layer(x), still)
    layer.train()
    assert not mx.allclose(layer(x), still, atol=1e-3)


def test_initialise():
    layer = attention()
    initialise(layer, 0.05)
    assert abs(layer.q_proj.weight.square().mean().item() ** 0.5 - 0.05) < 0.005
    assert not layer.q_proj.bias.any()
