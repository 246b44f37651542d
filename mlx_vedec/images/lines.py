"""The text lines of a printed page.

`find_lines` looks at connected shapes: the middles of letters pile up into one band per line,
smaller shapes (dots, accents, commas, quotes) go to the letter they stand by, and what stands by
none is a speck.

Made for clean print: one column, level, lines apart or just touching, dark on light or the reverse
all over the page. Columns side by side come out as one line, a picture may come out as one, and a
page turned by more than about a degree or written by hand is not for this module.
"""

import numpy as np
from PIL import Image

from .boxes import Box
from .ink import Array, Mask, Span, dark_on_light, find_ink, leveled, shapes_of, spans_of

# In letter heights.
SPECK = 0.01  # fewest dark pixels of a dot, per square
SMALL = 0.6  # what is lower is no letter
NEAR = 0.4  # between a letter and its dot
BESIDE = 12  # between a line and its bullet or dash, in widths of that

SMALLEST = 4  # pixels: lower print cannot be read
MOST_RUNS = 5_000_000  # of dark pixels in rows; print has fewer, and noise would take gigabytes
VALLEY = 0.5  # a band that is thinner than this in between is two lines


def find_lines(image: Image.Image) -> list[Box]:
    """The text lines of a page from top to bottom, each tight around its ink; none if blank.

    >>> find_lines(Image.new("L", (640, 480), 255))
    []
    """
    if min(image.size) < SMALLEST:
        return []
    grey = dark_on_light(image)
    ink = find_ink(leveled(grey, max(1, max(grey.size) // 64)))
    if np.count_nonzero(ink[:, 1:] & ~ink[:, :-1]) > MOST_RUNS:
        return []
    shapes = _untouched(ink)
    smallest = max(SMALLEST, 0.3 * _letter_height(shapes))
    lines: list[Box] = []
    while (size := _letter_height(shapes)) >= smallest:
        found, shapes = _lines_of_size(shapes, size)
        lines += found
    return sorted(lines, key=lambda box: (box[1], box[0]))


# Shapes that may be print: arrays (N, 5) of left, top, right, bottom and dark pixels


def _heights(shapes: Array) -> Array:
    return shapes[:, 3] - shapes[:, 1]


def _letter_height(shapes: Array) -> int:
    """The usual height of what is not a speck."""
    heights = _heights(shapes)
    heights = heights[heights >= SMALLEST]
    return int(np.median(heights)) if len(heights) else 0


def _print(shapes: Array, size: int) -> Array:
    """The shapes that may be print of about this height: no specks, rules, frames or pictures."""
    left, top, right, bottom, dark = shapes.T
    long, short = np.maximum(right - left, bottom - top), np.minimum(right - left, bottom - top)
    speck = dark < SPECK * size**2
    rule = (long > 12 * short) & (long > 3 * size)
    frame = (short > 2 * size) & (dark < 0.12 * long * short)
    return shapes[~(speck | rule | frame | (bottom - top > 10 * size))]


def _untouched(ink: Mask) -> Array:
    """The shapes that may be print, after a cut through those that reach into the next line."""
    shapes = shapes_of(ink)
    size = _letter_height(shapes)
    letters = _print(shapes[_heights(shapes) >= SMALL * size], size)
    quarter = _heights(letters) // 4
    cut = ink.copy()
    for row, _ in _bands(letters):
        across = (letters[:, 1] + quarter < row) & (row < letters[:, 3] - quarter)
        for left, _, right, _, _ in letters[across]:
            cut[row, left:right] = False
    return _print(shapes_of(cut), size)


# From shapes to lines


def _lines_of_size(shapes: Array, size: int) -> tuple[list[Box], Array]:
    """The lines with letters of about this height, and the shapes that belong to none."""
    tall = _heights(shapes) >= SMALL * size
    letters, small = shapes[tall], shapes[~tall]
    starts = [start for start, _ in _bands(letters)]
    home = np.searchsorted(starts, (letters[:, 1] + letters[:, 3]) // 2, "right") - 1
    home = _joined(letters, home)
    names, place = np.unique(home, return_inverse=True)
    hulls = _hulls(letters, place, len(names))
    owner = np.array([_owner(shape, letters, place, hulls, size) for shape in small], np.int64)
    owned = owner >= 0
    whole = np.concatenate([letters, small[owned]]), np.concatenate([place, owner[owned]])
    boxes: list[Box] = [tuple(box) for box in _hulls(*whole, len(names)).tolist()]
    return boxes, small[~owned]


def _bands(letters: Array) -> list[Span]:
    """The rows where the middle halves of letters pile up, cut at the valleys of the pile."""
    left, top, right, bottom, _ = letters.T
    quarter = _heights(letters) // 4
    steps = np.zeros(bottom.max(initial=0) + 1, np.int64)
    np.add.at(steps, top + quarter, right - left)
    np.add.at(steps, bottom - quarter, left - right)
    pile = steps.cumsum()
    return _between_valleys(pile, spans_of(pile > 0))


def _between_valleys(pile: Array, bands: list[Span]) -> list[Span]:
    """Bands cut where the pile between two of its heights is low, from top to bottom."""
    found, waiting = [], bands[::-1]
    while waiting:
        band = waiting.pop()
        rows = pile[slice(*band)]
        above, below = np.maximum.accumulate(rows), np.maximum.accumulate(rows[::-1])[::-1]
        depth = rows / np.minimum(above, below)
        if depth.min() > VALLEY:
            found.append(band)
            continue
        valley = np.flatnonzero(depth == depth.min())
        row = band[0] + int(valley[len(valley) // 2])
        waiting += [(row, band[1]), (band[0], row)]
    return found


def _joined(letters: Array, home: Array) -> Array:
    """Bands that are one line (the dots over a heading are as high as letters) under one number."""
    order = np.argsort(home, kind="stable")
    ends = np.searchsorted(home[order], np.arange(home.max(initial=0) + 2))
    home, joined = home.copy(), order[ends[0] : ends[1]]
    for line in range(1, len(ends) - 1):
        own = order[ends[line] : ends[line + 1]]
        upper, lower = letters[joined], letters[own]
        if len(upper) and len(lower) and (_is_part(upper, lower) or _is_part(lower, upper)):
            home[joined] = line
            own = np.sort(np.concatenate([joined, own]))
        joined = own
    return home


def _is_part(shapes: Array, line: Array) -> bool:
    """Whether the shapes are mostly in the rows of the line, or are its dots or commas."""
    left, top, right, bottom = _hull(shapes)
    line_left, line_top, line_right, line_bottom = _hull(line)
    height, line_height = bottom - top, line_bottom - line_top
    overlap = min(bottom, line_bottom) - max(top, line_top)
    light = shapes[:, 4].sum() < 0.2 * line[:, 4].sum() and 2 * height < line_height
    sparse = len(shapes) < 3 or 2 * (shapes[:, 2] - shapes[:, 0]).sum() < right - left
    inside = line_left - line_height < left and right < line_right + line_height
    return 2 * overlap > height or (light and sparse and inside and -overlap < 0.25 * line_height)


def _hull(shapes: Array) -> Box:
    left, top = shapes[:, :2].min(axis=0).tolist()
    right, bottom = shapes[:, 2:4].max(axis=0).tolist()
    return left, top, right, bottom


def _hulls(shapes: Array, line: Array, lines: int) -> Array:
    """The box around the shapes of each line, (lines, 4)."""
    boxes = np.zeros((lines, 4), np.int64)
    boxes[:, :2] = shapes[:, :2].max(initial=0)
    for axis, put in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        put.at(boxes[:, axis], line, shapes[:, axis])
    return boxes


def _owner(shape: Array, letters: Array, home: Array, lines: Array, size: int) -> int:
    """The only line at the height of a small shape, or the line of the letter next to it, or -1."""
    middle, reach = (shape[1] + shape[3]) / 2, BESIDE * (shape[2] - shape[0])
    left, top, right, bottom = lines.T
    level = (top <= middle) & (middle <= bottom)
    beside = np.flatnonzero(level & (left - shape[2] <= reach) & (shape[0] - right <= reach))
    if len(beside) == 1:
        return int(beside[0])
    aside = np.maximum(np.maximum(letters[:, 0] - shape[2], shape[0] - letters[:, 2]), 0)
    apart = np.maximum(np.maximum(letters[:, 1] - shape[3], shape[1] - letters[:, 3]), 0)
    nearest = np.hypot(aside, apart).argmin()
    near = np.hypot(aside[nearest] / 2, apart[nearest]) <= NEAR * size
    return int(home[nearest]) if near else -1
