"""Feature maps cut into windows (Swin, arXiv:2103.14030), and biases by relative position."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..layers.attention import Attention
from .patches import Pair

Spans = list[tuple[slice, bool]]
PIECE = 4 << 20  # bytes of a map that are computed at a time, unless one row has more


class Cut(NamedTuple):
    """How a map is cut: the side of a window, and by how many places it is rolled up and left.

    masked -- what is added to the logit of two places that only the roll brought together
    """

    window: int
    shift: int
    masked: float = -100.0


@lru_cache(maxsize=16)
def relative_index(grid: Pair, largest: Pair) -> np.ndarray:
    """Rows (N, N) of the offsets between places of a grid, in a table of all offsets of `largest`.

    A table has (2·rows - 1)·(2·columns - 1) rows, from the most negative offset on.
    """
    rows, columns = np.divmod(np.arange(grid[0] * grid[1], dtype=np.int32), grid[1])
    down = rows[:, None] - rows + largest[0] - 1
    across = columns[:, None] - columns + largest[1] - 1
    return down * (2 * largest[1] - 1) + across


def relative_bias(table: mx.array, index: np.ndarray) -> mx.array:
    """A table (offsets, H) read at an index (N, N), to a bias (H, N, N) of attention."""
    return table[mx.array(index)].transpose(2, 0, 1)


class OffsetBias(nn.Module):
    """A learned bias for each offset between two places of a window, and each head."""

    def __init__(self, window: int, num_heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = mx.zeros(((2 * window - 1) ** 2, num_heads))

    def __call__(self, window: int) -> mx.array:
        """The biases (H, w², w²) of a window, which may be smaller than the table's."""
        largest = (self.window, self.window)
        return relative_bias(self.table, relative_index((window, window), largest))


def pad_to(x: mx.array, multiple: Pair) -> mx.array:
    """A map (B, rows, columns, D) with zeros below and to the right, up to whole multiples."""
    below, right = -x.shape[1] % multiple[0], -x.shape[2] % multiple[1]
    return mx.pad(x, [(0, 0), (0, below), (0, right), (0, 0)]) if below or right else x


def in_pieces(function: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    """What a function of single rows makes of a map (B, rows, …), some rows at a time if large.

    What the function computes on the way, often many times the map, is then that of a piece.
    """
    step = -(-x.shape[1] // max(1, -(-x.nbytes // PIECE)))
    if step >= x.shape[1]:
        return function(x)
    pieces: list[mx.array] = []
    for start in range(0, x.shape[1], step):
        piece = x[:, start : start + step]
        if pieces:  # one after the other: MLX would take all of them a step further in turn
            piece = mx.depends(piece, pieces[-1])
        pieces.append(function(piece))
    return mx.concatenate(pieces, axis=1)


def attend_in_windows(
    attn: Attention, x: mx.array, bias: mx.array, cut: Cut, keep: list[mx.array] | None = None
) -> mx.array:
    """A map (B, rows, columns, D) to the same: each place attends to those in its window.

    bias -- (H, w², w²). keep -- receives the weights (B·windows, H, w², w²).

    Rolling brings opposite edges of the map together in the last row and the last column of
    windows, which are masked. So there are four kinds of windows at most, each kind a rectangle:
    they share one mask, and no mask is built per window (for Donut's 2560×1920 pixels it would be
    ten times the map).
    """
    rows, columns = x.shape[1:3]
    tiles = _cut(_roll(pad_to(x, (cut.window, cut.window)), -cut.shift), cut.window)
    strips: list[mx.array] = []
    weights: list[mx.array] = []
    for down, at_bottom in _spans(tiles.shape[1], cut.shift):
        kept = None if keep is None else weights
        strip = partial(_attend, attn, bias, cut, at_bottom, kept)
        whole = attn.training or keep is not None
        strips.append(strip(tiles[:, down]) if whole else in_pieces(strip, tiles[:, down]))
    if keep is not None:
        keep.append(_joined(weights, 1).flatten(0, 2))
    return _roll(_joined(strips, 1), cut.shift)[:, :rows, :columns]


def _attend(
    attn: Attention,
    bias: mx.array,
    cut: Cut,
    at_bottom: bool,
    keep: list[mx.array] | None,
    tiles: mx.array,
) -> mx.array:
    """Rows of windows (B, R, C, w, w, D) attended to, as a map (B, R·w, C·w, D)."""
    parts, weights = [], []
    for across, at_right in _spans(tiles.shape[2], cut.shift):
        part = tiles[:, :, across]
        mask = bias + mx.array(_seam(cut, at_bottom, at_right)).astype(bias.dtype)
        kept = None if keep is None else []
        out = attn(part.flatten(0, 2).flatten(1, 2), mask=mask, keep=kept)
        parts.append(out.reshape(part.shape))
        weights += [mx.unflatten(w, 0, part.shape[:3]) for w in kept or ()]
    if keep is not None:
        keep.append(_joined(weights, 2))
    return _uncut(_joined(parts, 2))


def _roll(x: mx.array, shift: int) -> mx.array:
    return mx.roll(mx.roll(x, shift, 1), shift, 2) if shift else x


def _cut(x: mx.array, window: int) -> mx.array:
    """(B, rows, columns, D) to windows (B, R, C, w, w, D), a view."""
    x = mx.unflatten(mx.unflatten(x, 2, (-1, window)), 1, (-1, window))
    return x.swapaxes(2, 3)


def _uncut(tiles: mx.array) -> mx.array:
    return tiles.swapaxes(2, 3).flatten(3, 4).flatten(1, 2)


def _joined(parts: list[mx.array], axis: int) -> mx.array:
    return mx.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


def _spans(count: int, shift: int) -> Spans:
    """The windows along one axis without a seam, and the last one, which has it if shifted."""
    if not shift:
        return [(slice(None), False)]
    whole: Spans = [(slice(count - 1), False)] if count > 1 else []
    return [*whole, (slice(count - 1, None), True)]


@lru_cache(maxsize=64)
def _seam(cut: Cut, at_bottom: bool, at_right: bool) -> np.ndarray:
    """Mask (w², w²) of a window between places from opposite edges of the map."""
    wrapped = np.arange(cut.window) >= cut.window - cut.shift
    side = (2 * (wrapped & at_bottom)[:, None] + (wrapped & at_right)).reshape(-1)
    return np.where(side[:, None] == side, 0, cut.masked).astype(np.float32)
