import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import ConfigError
from mlx_vedec.layers.mlp import ACTIVATIONS, Activation, gelu

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
    got = Activation(name)(mx.array(X.astype(np.float32)))
    np.testing.assert_allclose(np.array(got), EXPECTED[name], atol=2e-6)


def test_unknown_activation():
    with pytest.raises(ConfigError, match="'gelo' is unknown; known are gelu"):
        Activation("gelo")


def test_gelu_does_not_overflow_in_half_precision():
    assert gelu(mx.array([60000.0, -60000.0], mx.float16)).tolist() == [59999.0 + 1, 0.0]
