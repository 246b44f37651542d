"""Which way the lines of a page run, by what their letters stand on.

Seen along the lines, the feet of letters are in few places and the space between lines is empty;
seen along any other way they are everywhere. Tops do the same, but less: letters are of several
heights and mostly stand on one. So the sharpest view says how a page is turned, by any angle.
"""

from __future__ import annotations

from math import degrees, radians
from typing import NamedTuple

import numpy as np

from .chains import heights, widths
from .ink import Array, Floats

MOST_POINTS = 3_000  # letters that are looked at
FEWEST = 12  # letters that say how a page is turned
COARSE, FINE = 0.4, 0.12  # widths of the places that feet are counted in, in letter heights
CLEARER = 1.15  # how much sharper another view has to be than that of a level page
LEVEL = 0.2  # letter heights that the lines of a page may sink by and still be level
SURE = 1.25  # how much sharper the view of the feet is than that of the tops, to be sure


class Turn(NamedTuple):
    """How a page is turned.

    angle -- degrees, clockwise, by which its lines have been turned from level, -180 to 180
    sure  -- whether the feet say so clearly. Else the page may as well be upside down
    """

    angle: float = 0.0
    sure: bool = True


def turn_of(shapes: Array) -> Turn:
    """How the page is turned that these shapes (N, 5) are the letters of."""
    letters = _letters(shapes)
    if len(letters) < FEWEST:
        return Turn()
    high = float(np.median(np.minimum(heights(letters), widths(letters))))
    views = [_sharpest(letters, quarter, high) for quarter in range(4)]
    level, best = views[0], max(views)
    if level[0] * CLEARER >= best[0] and best[1] % 180 != level[1] % 180:
        best = level
    opposite = views[(round(best[1] / 90) + 2) % 4]
    quarter = 90 * round(best[1] / 90)
    extent = float(np.ptp(letters[:, :4], axis=0).max())
    angle = quarter if abs(radians(best[1] - quarter)) * extent < LEVEL * high else best[1]
    return Turn((angle + 180) % 360 - 180, best[0] > SURE * opposite[0])


def _letters(shapes: Array) -> Array:
    """The shapes that may be letters, turned in any way; some of them where they are many."""
    high, wide = heights(shapes), widths(shapes)
    large = np.maximum(high, wide)
    usual = np.median(large[large >= 5]) if (large >= 5).any() else 0
    fits = (large >= max(5, 0.6 * usual)) & (large <= 4 * usual)
    fits &= np.minimum(high, wide) * 8 > large
    fits &= shapes[:, 4] > 0.12 * high * wide
    letters = shapes[fits]
    if len(letters) > MOST_POINTS:
        letters = np.random.default_rng(0).choice(letters, MOST_POINTS, replace=False)
    return letters


def _sharpest(letters: Array, quarter: int, high: float) -> tuple[float, float]:
    """Sharpness and degrees of the sharpest view, within an eighth of a turn from a quarter."""
    feet = _feet(letters, quarter)
    extent = max(float(np.ptp(feet, axis=0).max()), 1.0)
    step = max(degrees(COARSE * high / extent), 0.05)
    around = np.arange(-45, 45 + step, step) + 90 * quarter
    scores = _sharpness(feet, around, COARSE * high)
    near = around[scores.argmax()] + np.linspace(-step, step, 21)
    scores = _sharpness(feet, near, max(FINE * high, 1.0))
    return float(scores.max()), float(near[scores.argmax()])


def _feet(letters: Array, quarter: int) -> Floats:
    """Where the letters (N, 5) stand, (N, 2), if the page is turned by so many quarters."""
    left, top, right, bottom = letters[:, :4].astype(float).T
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.stack([(x, bottom), (left, y), (x, top), (right, y)][quarter], axis=1)


def _sharpness(feet: Floats, angles: Floats, cell: float) -> Floats:
    """How unevenly the feet are spread over the places they are in, seen along each angle."""
    scores = np.zeros(len(angles))
    for number, angle in enumerate(np.radians(angles)):
        down = feet @ (-np.sin(angle), np.cos(angle))
        counts = np.bincount(((down - down.min()) / cell).astype(int)).astype(float)
        scores[number] = (np.diff(counts, prepend=0, append=0) ** 2).sum() / len(feet)
    return scores
