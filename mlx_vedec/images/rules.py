"""The rules of a level page: long thin shapes, and the lines of frames and of tables."""

from __future__ import annotations

import numpy as np

from .chains import heights, widths
from .ink import Array, Mask, connected, outlines, runs_of

THIN = 12  # times longer than thick
SLIM = 5  # times longer than the other side of its box, as it may be slanted
LONG = 3  # times longer than letters are high
RUN = 2  # times longer than letters are high, and yet not slanted
MOST_FRAMES = 20  # the largest, whose sides are looked for


def is_rule(shapes: Array, usual: float) -> Mask:
    """Which shapes (N, 5) are rules, where letters are usually so high."""
    long = np.maximum(heights(shapes), widths(shapes))
    short = np.minimum(heights(shapes), widths(shapes))
    thick = shapes[:, 4] / np.maximum(long, 1)
    return (long > THIN * thick) & (long > SLIM * short) & (long > LONG * usual)


def sides_of(ink: Mask, frames: Array, usual: float) -> Array:
    """The rules that frames and tables (N, 5) are made of, as boxes (M, 5)."""
    largest = np.argsort(-widths(frames) * heights(frames), kind="stable")[:MOST_FRAMES]
    found = [np.zeros((0, 5), np.int64)]
    for left, top, right, bottom in frames[largest, :4].tolist():
        inside = ink[top:bottom, left:right]
        level = _long_runs(inside, RUN * usual)
        upright = _long_runs(inside.T, RUN * usual)[:, [1, 0, 3, 2, 4]]
        found += [rules + np.array([left, top, left, top, 0]) for rules in (level, upright)]
    sides = np.concatenate(found)
    return sides[is_rule(sides, usual)]


def _long_runs(ink: Mask, least: float) -> Array:
    """The boxes (N, 5) of what runs of at least so many pixels make."""
    runs = runs_of(ink)
    runs = runs[:, runs[2] - runs[1] >= least]
    return outlines(runs, connected(runs))
