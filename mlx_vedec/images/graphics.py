"""What is no print on a level page: pictures, and rules, those of frames and tables too.

Pictures are large parts that are not paper, and have no lines of print in them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from .boxes import Box
from .chains import heights, widths
from .ink import Array, Mask, connected, outlines, painted, runs_of

LIGHTEST = 204  # of 255: what is darker is no paper
DARK = 0.6  # least share of a picture that is no paper, around each of its places
AROUND = 2  # letter heights around a place
WHOLE = 0.5  # share of its box that a picture fills, to be all of that
IN_LINES = 0.6  # share of a dark part that is in lines of print, so that it is no picture

THIN = 12  # times longer than thick
SLIM = 5  # times longer than the other side of its box, as it may be slanted
LONG = 3  # times longer than letters are high
RUN = 2  # times longer than letters are high, and yet not slanted
MOST_FRAMES = 20  # the largest, whose sides are looked for


class Pictures:
    """Where a page has pictures.

    light -- its greys, leveled. high -- the usual height of letters. lines -- the boxes of print
    """

    def __init__(self, light: Image.Image, high: float, lines: list[Box]) -> None:
        self.cell = max(1, round(high), max(light.size) // 1000)
        dark = light.point([255 * (level < LIGHTEST) for level in range(256)])
        shares = dark.reduce(self.cell).filter(ImageFilter.BoxBlur(AROUND))
        self.mask = _parts(np.asarray(shares) >= 255 * DARK, lines, self.cell)

    def around(self, shapes: Array) -> Mask:
        """Whether the middle of each shape (N, 4 or more) is in a picture."""
        middles = (shapes[:, :2] + shapes[:, 2:4]) // 2 // self.cell
        x, y = np.minimum(middles, np.array(self.mask.shape)[::-1] - 1).T
        return self.mask[y, x]


def _parts(dark: Mask, lines: list[Box], cell: int) -> Mask:
    """The dark parts of a grid without those that are print, each with its holes."""
    printed = np.zeros_like(dark)
    places = [
        np.s_[top // cell : -(-bottom // cell), left // cell : -(-right // cell)]
        for left, top, right, bottom in lines
    ]
    for place in places:
        printed[place] = True
    runs = runs_of(dark)
    index = connected(runs)
    found = np.zeros_like(dark)
    for number in range(index.max(initial=-1) + 1):
        part = painted(runs[:, index == number], dark.shape)
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        box = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if box.mean() >= WHOLE:
            box[:] = True
        inside = any(part[place].all() for place in places)
        if not inside and (part & printed).sum() < IN_LINES * part.sum():
            found |= part
    return found


# Rules


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
