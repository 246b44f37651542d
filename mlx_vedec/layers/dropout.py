"""Dropout and drop path; layers computed again in the backward pass, with the same draws.

Where processes share a batch, each draws for its rows what one process would have drawn for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

_keys: ContextVar[list[mx.array] | None] = ContextVar("keys", default=None)
_share: ContextVar[Share | None] = ContextVar("share", default=None)


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
        kept = _kept(1 - self.rate, shape)
        return x * (kept / (1 - self.rate)).astype(x.dtype)


class DropPath(Dropout):
    """Stochastic depth (arXiv:1603.09382): a branch is left out for some of the images."""

    def __call__(self, x: mx.array) -> mx.array:
        """A branch (B, …) to the same shape, some rows zero."""
        return self._thin(x, (x.shape[0], *[1] * (x.ndim - 1)))


@dataclass(frozen=True)
class Share:
    """The rows of a batch that this process has, of those that share it: each `world`-th one.

    rows -- how many it has, the first of which is number `rank`
    """

    rank: int
    world: int
    rows: int

    def keys(self, key: mx.array, count: int) -> mx.array:
        """A key (count, 2) for each of `count` rows, of which several in turn may be one image's.

        It depends on the key (2,), and on the row's place in the whole batch, alone.
        """
        parts = count // self.rows
        images, part = mx.divmod(mx.arange(count), parts)
        places = (images * self.world + self.rank) * parts + part
        return mx.stack([mx.broadcast_to(key[0], (count,)), key[1] + places.astype(mx.uint32)], 1)


@contextmanager
def drawing_rows(share: Share) -> Iterator[None]:
    """A context in which what dropouts draw for a row depends on its place in the whole batch."""
    outer = _share.set(share)
    try:
        yield
    finally:
        _share.reset(outer)


def _kept(part: float, shape: tuple[int, ...]) -> mx.array:
    """Booleans, of which about this part are True."""
    key, share = _next_key(), _share.get()
    if share is None or shape[0] % share.rows:
        return mx.random.bernoulli(part, shape, key=key)
    keys = share.keys(_new_key() if key is None else key, shape[0])
    return mx.vmap(lambda own: mx.random.bernoulli(part, shape[1:], key=own))(keys)


@contextmanager
def drawing_from(key: mx.array) -> Iterator[None]:
    """A context in which dropouts are drawn from a key (2,) uint32, and so can be drawn again."""
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


def _new_key() -> mx.array:
    """A key (2,) uint32 from the global state."""
    return mx.random.randint(0, 2**31 - 1, (2,)).astype(mx.uint32)


def checkpointed(layer: nn.Module) -> Callable[..., mx.array]:
    """The layer, its activations computed again in the backward pass instead of kept.

    `mx.checkpoint` alone would draw other dropouts the second time, and so give the gradient of
    another function.
    """

    def compute(parameters: dict, key: mx.array, *arguments: object) -> mx.array:
        layer.update(parameters)
        with drawing_from(mx.stop_gradient(key)):
            return layer(*arguments)

    compute = mx.checkpoint(compute)

    def run(*arguments: object) -> mx.array:
        return compute(layer.trainable_parameters(), _new_key(), *arguments)

    return run
