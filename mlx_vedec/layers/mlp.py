"""Activations, by the names in Hugging Face's configs, and the feed-forward part of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import mlx.core as mx
import mlx.nn as nn

from ..errors import ConfigError
from .compiled import on_gpu
from .cpu import by_tokens
from .cpu_formulas import activate
from .dropout import Dropout

Function = Callable[[mx.array], mx.array]


def gelu(x: mx.array) -> mx.array:
    """Exact GELU (arXiv:1606.08415), in an order of products that float16 does not overflow."""
    return x * (0.5 + 0.5 * mx.erf(x * math.sqrt(0.5)))


def gelu_tanh(x: mx.array) -> mx.array:
    """GELU's tanh approximation: `gelu_new` and `gelu_pytorch_tanh` in Hugging Face's configs."""
    return x * (0.5 + 0.5 * mx.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)))


def quick_gelu(x: mx.array) -> mx.array:
    """CLIP's approximation, x·sigmoid(1.702 x)."""
    return x * mx.sigmoid(1.702 * x)


def silu(x: mx.array) -> mx.array:
    """x·sigmoid(x), also called swish."""
    return x * mx.sigmoid(x)


ACTIVATIONS: dict[str, Function] = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_10": lambda x: mx.clip(gelu(x), -10, 10),
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "quick_gelu": quick_gelu,
    "relu": lambda x: mx.maximum(x, 0),
    "relu2": lambda x: mx.square(mx.maximum(x, 0)),
    "relu6": lambda x: mx.clip(x, 0, 6),
    "silu": silu,
    "swish": silu,
    "mish": lambda x: x * mx.tanh(mx.logaddexp(x, mx.zeros_like(x))),
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "leaky_relu": lambda x: mx.maximum(x, 0.01 * x),
    "hardswish": lambda x: x * mx.clip(x + 3, 0, 6) / 6,
    "linear": lambda x: x,
}


class Activation(nn.Module):
    """The function a config names.

    On a GPU it is one compiled kernel. On a CPU that costs a C++ compiler run at first use; there
    `activate` computes it, but in training.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise ConfigError(f"activation {name!r} is unknown; known are {', '.join(ACTIVATIONS)}")
        self.name = name

    def __call__(self, x: mx.array) -> mx.array:
        """Any shape to the same shape."""
        if on_gpu():
            return _compiled(self.name)(x)
        function = ACTIVATIONS[self.name]
        return function(x) if self.training else activate(self.name, function, x)


@cache
def _compiled(name: str) -> Function:
    return mx.compile(ACTIVATIONS[name], shapeless=True)


class FeedForward(nn.Module):
    """Base of feed-forward parts, which see each token by itself; subclasses add `through`."""

    def __init__(self, hidden_dims: int) -> None:
        super().__init__()
        self.hidden_dims = hidden_dims

    def __call__(self, x: mx.array) -> mx.array:
        """(…, dims) to (…, dims)."""
        return self.through(x) if self.training else by_tokens(self.through, x, self.hidden_dims)

    def through(self, x: mx.array) -> mx.array:
        """(…, dims) to (…, dims), in one piece."""
        raise NotImplementedError


class MLP(FeedForward):
    """Two linear layers with an activation between them."""

    def __init__(self, dims: int, hidden_dims: int, act: str, *, dropout: float = 0.0) -> None:
        super().__init__(hidden_dims)
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, dims)
        self.act = Activation(act)
        self.dropout = Dropout(dropout)

    def through(self, x: mx.array) -> mx.array:
        """(…, dims) to (…, dims), in one piece."""
        return self.fc2(self.dropout(self.act(self.fc1(x))))
