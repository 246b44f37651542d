"""Which way the lines of a page run, by what their letters stand on.

Seen along the lines, the feet of letters are in few places and the space between lines is empty;
seen along any other way they are everywhere. Tops do the same, but less: letters are of several
heights and mostly stand on one. So the sharpest view says how a page is turned, by any angle.
"""

from __future__ import annotations

from math import degrees, radians

import numpy as np

from ..images.chains import heights, neighbours, widths
from ..images.ink import Array, Floats

MOST_POINTS = 3_000  # letters that are looked at
FEWEST = 12  # letters that say how a page is turned
COARSE, FINE = 0.4, 0.12  # widths of the places that feet are counted in, in letter heights
CLEARER = 1.15  # how much sharper another view has to be than that of a level page,
OVERTURNED = 1.3  # and the one from above, of a page that stands on its head
TALL, TALLS = 1.25, 0.1  # letters higher than the low ones by so much, and the share that they have
LEVEL = 0.2  # letter heights that the lines of a page may sink by and still be level
DOUBT = 1.4  # how much sharper the sharpest view is than one that may be right yet
LEAST = 0.1  # that such a share counts as
REACH = 3.0  # letter heights, in which others are looked for


def angles_of(shapes: Array) -> list[float]:
    """Degrees, -180 to 180 clockwise, that lines are turned by from level; of their letters (N, 5).

    The likeliest comes first, and that is level where there are too few letters to say. Where it is
    in doubt, the others follow. A page is taken to stand on its head only where its letters are of
    two heights, as small ones are.
    """
    shapes = _letters(shapes)
    if len(shapes) < FEWEST:
        ways = [0.0, 180.0] if _beside(shapes) >= 0.5 else [0.0, 90.0, -90.0]
        return ways if len(shapes) > 1 else ways[:1]
    letters = shapes
    if len(letters) > MOST_POINTS:
        letters = np.random.default_rng(0).choice(letters, MOST_POINTS, replace=False)
    high = float(np.median(np.minimum(heights(letters), widths(letters))))
    share = _beside(shapes)
    weights = [max(share, LEAST) ** 2, max(1 - share, LEAST) ** 2] * 2
    views = [_sharpest(letters, quarter, high) for quarter in range(4)]
    scores = [score * weight for (score, _), weight in zip(views, weights, strict=True)]
    best = int(np.argmax(scores))
    alike = not _of_two_heights(shapes)
    clearer = CLEARER if best != 2 else np.inf if alike else OVERTURNED
    first = 0 if scores[0] * clearer >= scores[best] else best
    likely = [q for q in range(4) if scores[q] * DOUBT >= scores[best]]
    likely += [(first + 2) % 4] if first or alike else []
    extent = float(np.ptp(letters[:, :4], axis=0).max())
    found = []
    for quarter in dict.fromkeys([first, *likely]):
        angle = views[quarter][1]
        sinks = abs(radians(angle - 90 * quarter)) * extent
        found.append(((90.0 * quarter if sinks < LEVEL * high else angle) + 180) % 360 - 180)
    return found


def _letters(shapes: Array) -> Array:
    """The shapes that may be letters, turned in any way."""
    high, wide = heights(shapes), widths(shapes)
    large = np.maximum(high, wide)
    usual = np.median(large[large >= 5]) if (large >= 5).any() else 0
    fits = (large >= max(5, 0.6 * usual)) & (large <= 4 * usual)
    fits &= np.minimum(high, wide) * 8 > large
    fits &= shapes[:, 4] > 0.12 * high * wide
    return shapes[fits]


def _of_two_heights(letters: Array) -> bool:
    """Whether there are low letters and tall ones: capitals and digits stand as sharply on end."""
    high = heights(letters)
    return bool(np.mean(high > TALL * np.percentile(high, 25)) > TALLS)


def _beside(letters: Array) -> float:
    """The share of letters that are nearer to one beside them than to one above or below.

    Lines that say the same, one below the other, look as sharp from the side; but letters of a line
    stand closer together than lines do.
    """
    order = np.argsort(letters[:, 1], kind="stable")
    spare = max(len(letters) - MOST_POINTS, 0) // 2
    some = letters[order][spare : spare + MOST_POINTS]
    gaps = []
    for sides in ([0, 1, 2, 3], [1, 0, 3, 2]):
        turned = some[:, sides]
        left, right = neighbours(turned, REACH)
        gap = np.full(len(some), np.inf)
        np.minimum.at(gap, left, np.maximum(turned[right, 0] - turned[left, 2], 0))
        gaps.append(gap)
    across, down = gaps
    known = across != down
    return float(np.mean((across < down)[known])) if known.any() else 0.5


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
