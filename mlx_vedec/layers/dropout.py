"""Dropout, of single values and of whole branches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import mlx.core as mx
import mlx.nn as nn

_keys: ContextVar[list[mx.array] | None] = ContextVar("keys", default=None)


class Dropout(nn.Module):
    """Zero a part of the values in training and scale the others up to the same mean."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def __call__(self, x: mx.array) -> mx.array:
        """Any shape to the same shape."""
        return self._thin(x, x.shape)

    def _thin(self, x: mx.array, shape: tuple[int, ...]) -> mx.array:
        if not self.training or not self.rate:
            return x
        kept = mx.random.bernoulli(1 - self.rate, shape, key=_next_key())
        return x * (kept / (1 - self.rate)).astype(x.dtype)


class DropPath(Dropout):
    """Stochastic depth (arXiv:1603.09382): a branch is left out for some of the images."""

    def __call__(self, x: mx.array) -> mx.array:
        """A branch (B, …) to the same shape, some rows zero."""
        return self._thin(x, (x.shape[0], *[1] * (x.ndim - 1)))


@contextmanager
def drawing_from(key: mx.array) -> Iterator[None]:
    """Within it, dropouts are drawn from a key (2,) uint32, so that it can be repeated."""
    outer = _keys.set([key])
    try:
        yield
    finally:
        _keys.reset(outer)


def _next_key() -> mx.array | None:
    keys = _keys.get()
    if keys is None:
        return None  # the global state's
    keys[0], key = mx.random.split(keys[0])
    return key
