"""Gutters between columns: upright white space with text on both sides of it, line after line."""

from __future__ import annotations

import numpy as np

from .chains import heights
from .ink import Array, Mask

# In letter heights of the lines that a gutter keeps apart.
WIDTH = 1.0  # least
SHORT, LONG = 9.0, 22.0  # least height: some four lines; some ten, where it may be a wide word gap
BESIDE = 0.4  # share of that height that has to have text on both sides
WIDER = 1.5  # than the upper quarter of the gaps between words, of a short gutter
CELL = 4  # of the grid in which white space is looked for, in a letter height

MOST_CELLS = 600  # of the grid, on a side
MOST_RULES = 1_000  # the longest upright rules, that are looked at


class Gutters:
    """Where a page has gutters, for print of any size; upright rules are such, too.

    words -- boxes (N, 4 or more) of what no gutter goes through. rules -- boxes of upright rules
    gaps  -- pixels between words that follow each other. high -- the letters' height there
    """

    def __init__(self, words: Array, rules: Array, gaps: Array, high: Array) -> None:
        self.words, self.gaps, self.octaves = words, gaps, octave(high)
        self.rules = rules[np.argsort(rules[:, 1] - rules[:, 3], kind="stable")][:MOST_RULES]

    def between(self, shapes: Array, left: Array, right: Array) -> tuple[Mask, Mask]:
        """Whether a gutter is in the gap of each pair of shapes, and whether it is a short one.

        A short one may also be a few wide gaps between words, that happen to be below each other.
        """
        one, other = shapes[left], shapes[right]
        high = np.minimum(heights(one), heights(other))
        row = (np.maximum(one[:, 1], other[:, 1]) + np.minimum(one[:, 3], other[:, 3])) // 2
        found = self._rule_between(one[:, 2], other[:, 0], row, high)
        short = np.zeros_like(found)
        sizes = octave(high)
        for size in np.unique(sizes):
            own = np.flatnonzero(sizes == size)
            long, some = self._white(int(size), one[own, 2], other[own, 0], row[own])
            found[own] |= long
            short[own] = some
        return found | short, short & ~found

    def _rule_between(self, start: Array, end: Array, row: Array, high: Array) -> Mask:
        found = np.zeros(len(start), bool)
        for left, top, right, bottom in self.rules[:, :4]:
            inside = (start <= right) & (left <= end) & (top <= row) & (row < bottom)
            found |= inside & (bottom - top > 2 * high)
        return found

    def _white(self, size: int, start: Array, end: Array, row: Array) -> tuple[Mask, Mask]:
        """Whether a long gutter is between places of a row, and whether a short one is."""
        like = self.gaps[np.abs(self.octaves - size) <= 1]
        wide = WIDER * float(np.quantile(like, 0.75)) if len(like) else 0.0
        cell, *whites = white_columns(self.words, 2 ** (size / 2), wide)
        found = []
        for white in whites:
            sums = np.pad(white.cumsum(axis=1), ((0, 0), (1, 0)))
            rows = np.minimum(row // cell, len(white) - 1)
            last = white.shape[1]
            first, after = np.minimum(start // cell, last), np.minimum(-(-end // cell), last)
            found.append(sums[rows, np.maximum(after, first)] > sums[rows, first])
        return found[0], found[1]


def octave(high: Array) -> Array:
    """The nearest half octave of heights."""
    return np.round(2 * np.log2(np.maximum(high, 1))).astype(int)


def white_columns(words: Array, high: float, wide: float) -> tuple[int, Mask, Mask]:
    """The grid's cell in pixels, and which cells are in a long gutter, and which in a short one.

    high -- of the letters in the lines beside it. wide -- pixels that a short one has at least
    """
    cell = max(1, int(high / CELL), int(words[:, :4].max(initial=0)) // MOST_CELLS)
    taken = _painted(words, cell)
    both = np.maximum.accumulate(taken, axis=1)
    both &= np.maximum.accumulate(taken[:, ::-1], axis=1)[:, ::-1]
    short = _opened(taken, both, SHORT * high / cell, max(wide, WIDTH * high) / cell)
    return cell, _opened(taken, both, LONG * high / cell, WIDTH * high / cell), short


def _opened(taken: Mask, both: Mask, tall: float, wide: float) -> Mask:
    """The cells of windows that hold nothing, and have text on both sides in enough of their rows.

    both -- where text is further left in a row, and further right
    """
    rows, columns = max(1, round(tall)), max(1, round(wide))
    if taken.shape[0] < rows or taken.shape[1] < columns:
        return np.zeros_like(taken)
    empty = _window_sums(taken, rows, columns) == 0
    beside = _window_sums(both, rows, 1)[:, columns // 2 :][:, : empty.shape[1]]
    found = empty & (beside >= BESIDE * rows)
    padded = np.pad(found, ((rows - 1, rows - 1), (columns - 1, columns - 1)))
    return _window_sums(padded, rows, columns) > 0


def _painted(words: Array, cell: int) -> Mask:
    """Which cells of a grid the boxes cover."""
    if not len(words):
        return np.zeros((1, 1), bool)
    low, high = words[:, :2] // cell, -(-words[:, 2:4] // cell)
    columns, rows = high.max(axis=0) + 1
    steps = np.zeros((rows + 1, columns + 1), np.int32)
    for x, y, step in ((low, low, 1), (high, high, 1), (low, high, -1), (high, low, -1)):
        np.add.at(steps, (y[:, 1], x[:, 0]), step)
    return (steps.cumsum(axis=0).cumsum(axis=1) > 0)[:rows, :columns]


def _window_sums(cells: Mask, rows: int, columns: int) -> Array:
    """How many cells are set in each window of so many rows and columns."""
    sums = np.pad(cells.astype(np.int32).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    tall = sums[rows:] - sums[:-rows]
    return tall[:, columns:] - tall[:, :-columns]
