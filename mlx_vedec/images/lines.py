"""The text lines of a level page, of any sizes, in any columns.

Letters that stand beside each other make words (`chains`), and words make lines, but not across the
white of a gutter or an upright rule (`gutters`). Dots, accents, commas and dashes then go to the
line they stand by. A shape that reaches over two lines is cut between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .boxes import Box
from .chains import heights, joined, links, straddlers, widths
from .gutters import Gutters
from .ink import (
    Array,
    Floats,
    Mask,
    dark_on_light,
    find_ink,
    labeled_runs,
    leveled,
    may_be_print,
    outlines,
)

# In letter heights.
SPECK = 0.01  # fewest dark pixels of a dot, per square
LETTER_GAP = 0.8  # widest between letters of a word
WORD_GAP = 7  # widest between words of a line
ASCENT, DESCENT = 1.9, 0.75  # a line's marks stand at most so far above and below its foot
NEAR = 1.2  # between a line's end and its comma
BESIDE = 12  # between a line and its bullet or dash, in widths of that
MARKS_IN_A_ROW = 3  # such as ")." or '",', the first of which stands by a letter
TALL = 1.7  # a shape is higher that reaches over two lines
COVERED = 0.7  # of a line's letters, that such a shape covers
OTHER = (
    0.25  # that a line sinks by more or less than others of its page, to have a slope of its own
)
CONTACT = 0.5  # widest where it is cut: initials, which reach over lines too, are thicker

SMALLEST = 4  # pixels: lower print cannot be read
MOST_SHAPES = 200_000
LARGEST = 0.34  # of a page's height: a letter is lower


@dataclass(frozen=True, eq=False)
class LevelLine:
    """A line of print that is level, or nearly.

    letters -- its shapes (N, 5). high -- their usual height, in pixels
    foot    -- the baseline's y at x = 0. slope -- pixels that it sinks by in one to the right
    """

    letters: Array
    high: float
    foot: float
    slope: float

    @property
    def box(self) -> Box:
        """The box that is tight around its ink."""
        left, top = self.letters[:, :2].min(axis=0).tolist()
        right, bottom = self.letters[:, 2:4].max(axis=0).tolist()
        return left, top, right, bottom

    @property
    def reach(self) -> tuple[float, float]:
        """How far its ink is above the baseline, and below it."""
        feet = self.foot + self.slope * (self.letters[:, 0] + self.letters[:, 2]) / 2
        above, below = feet - self.letters[:, 1], self.letters[:, 3] - feet
        return float(above.max()), float(below.max())

    def around(self, above: float, below: float) -> list[tuple[float, float]]:
        """The corners, from the upper left on, of what is between two heights over the baseline."""
        left, _, right, _ = self.box
        start, end = (self.foot + self.slope * x for x in (left, right))
        return [
            (left, start - above),
            (right, end - above),
            (right, end + below),
            (left, start + below),
        ]


def find_lines(image: Image.Image) -> list[Box]:
    """The text lines of a level page from top to bottom, each tight around its ink; none if blank.

    >>> find_lines(Image.new("L", (640, 480), 255))
    []
    """
    if min(image.size) < SMALLEST:
        return []
    grey = dark_on_light(image)
    ink = find_ink(leveled(grey, max(1, max(grey.size) // 64)))
    boxes = [line.box for line in lines_of(ink)[0]]
    return sorted(boxes, key=lambda box: (box[1], box[0]))


def lines_of(ink: Mask) -> tuple[list[LevelLine], Array]:
    """The lines that the dark pixels (H, W) of a level page make, in no order, and its rules.

    The rules are boxes (N, 4) of long thin shapes. No lines are found in what is noise.
    """
    none = np.zeros((0, 4), np.int64)
    if not may_be_print(ink):
        return [], none
    runs, index = labeled_runs(ink)
    shapes = outlines(runs, index)
    usual = _usual(heights(shapes))
    rules, letters = _kinds(shapes, usual, len(ink))
    if not 0 < np.count_nonzero(letters) <= MOST_SHAPES:
        return [], none
    numbers = np.flatnonzero(letters)
    shapes, rules = shapes[letters], shapes[rules]
    home = _rows(shapes, rules)
    shapes, home = _cut(shapes, home, runs, index, numbers)
    home = _with_marks(shapes, home)
    return _alike([_line(shapes[group]) for group in _members(home)]), rules[:, :4]


def _usual(high: Array) -> float:
    """The usual height of what is not a speck."""
    high = high[high >= SMALLEST]
    return float(np.median(high)) if len(high) else 0.0


def _kinds(shapes: Array, usual: float, page: int) -> tuple[Mask, Mask]:
    """Which shapes are rules, and which may be letters or marks: no frames, pictures or specks."""
    high, wide, dark = heights(shapes), widths(shapes), shapes[:, 4]
    long, short = np.maximum(high, wide), np.minimum(high, wide)
    rules = (long > 12 * short) & (long > 3 * usual)
    frame = (short > 2 * usual) & (dark < 0.12 * long * short)
    huge = (high > LARGEST * page) & (high > 4 * usual)
    speck = dark < max(2, SPECK * usual**2)
    return rules, ~(rules | frame | huge | speck)


# From shapes to rows of letters


def _rows(shapes: Array, rules: Array) -> Array:
    """The number (N,) of the line that each shape is in, or -1 for what may be a mark of one."""
    home = np.full(len(shapes), -1)
    tall = np.flatnonzero(heights(shapes) >= SMALLEST)
    tall = tall[~straddlers(shapes[tall])]
    letters = shapes[tall]
    word = joined(len(letters), *links(letters, LETTER_GAP))
    cores = _cores(letters, word)
    left, right = links(cores, WORD_GAP)
    gutters = Gutters(
        _hulls(letters, word),
        rules[heights(rules) > widths(rules)],
        cores[right, 0] - cores[left, 2],
        np.minimum(heights(cores)[left], heights(cores)[right]),
    )
    apart = gutters.between(cores, left, right)
    follow = left[~apart], right[~apart]
    home[tall] = joined(len(cores), *follow)[word]
    return _without_marks(shapes, home)


def _members(home: Array) -> list[Array]:
    """The shapes of each line, from 0 on."""
    order = np.argsort(home, kind="stable")
    ends = np.searchsorted(home[order], np.arange(home.max(initial=-1) + 2))
    return [order[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]


def _hulls(shapes: Array, home: Array) -> Array:
    """The box around the shapes of each group, and how many they are: (groups, 5)."""
    count = home.max(initial=-1) + 1
    boxes = np.zeros((count, 5), np.int64)
    boxes[:, :2] = shapes[:, :4].max(initial=0)
    for axis, put in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        put.at(boxes[:, axis], home, shapes[:, axis])
    boxes[:, 4] = np.bincount(home, minlength=count)
    return boxes


def _medians(values: Array, home: Array) -> Array:
    """The median of each group's values."""
    order = np.lexsort((values, home))
    counts = np.bincount(home)
    return values[order][counts.cumsum() - counts + counts // 2]


def _cores(shapes: Array, home: Array) -> Array:
    """Of each group the box, from its usual top to its usual bottom: (groups, 5)."""
    cores = _hulls(shapes, home)
    top, bottom = (_medians(shapes[:, axis], home) for axis in (1, 3))
    cores[:, 1], cores[:, 3] = top, np.maximum(bottom, top + 1)
    return cores


def _without_marks(shapes: Array, home: Array) -> Array:
    """The lines without rows of dots, and without ones of a letter or two, that may be marks."""
    inside = home >= 0
    _, home[inside] = np.unique(home[inside], return_inverse=True)
    hulls, cores = (f(shapes[inside], home[inside]) for f in (_hulls, _cores))
    high = _medians(heights(shapes[inside]), home[inside])
    inked = np.bincount(home[inside], widths(shapes[inside]))
    sparse = (hulls[:, 4] < 3) | (2 * inked < hulls[:, 2] - hulls[:, 0])
    marks = hulls[:, 4] < 3
    middle = (hulls[:, 1] + hulls[:, 3]) / 2
    for line in np.flatnonzero(~marks):
        foot, size = cores[line, 3], high[line]
        near = (middle > foot - ASCENT * size) & (middle < foot + DESCENT * size)
        near &= hulls[:, 0] > hulls[line, 0] - NEAR * size
        near &= hulls[:, 2] < hulls[line, 2] + NEAR * size
        marks |= near & sparse & (high < 0.62 * size)
    numbers = np.where(marks, -1, (~marks).cumsum() - 1)
    return np.where(inside, numbers[home], -1)


# Shapes that reach over two lines


def _cut(
    shapes: Array, home: Array, runs: Array, index: Array, numbers: Array
) -> tuple[Array, Array]:
    """The shapes and their lines, after a cut through those that cover letters of two lines.

    runs, index -- those that all shapes were made of. numbers -- of these shapes among all
    """
    pieces, homes, gone = [], [], []
    for shape, lines, feet, tops in _covering(shapes, home):
        own = runs[:, index == numbers[shape]]
        rows = [_thinnest(own, *gap) for gap in zip(feet[:-1], tops[1:], strict=True)]
        if any(
            dark > CONTACT * (foot - top)
            for (_, dark), foot, top in zip(rows, feet[1:], tops[1:], strict=True)
        ):
            continue
        part = np.searchsorted([row for row, _ in rows], own[0], "right")
        numbered, place = np.unique(part, return_inverse=True)
        pieces.append(outlines(own, place))
        homes += [lines[number] for number in numbered]
        gone.append(shape)
    if not gone:
        return shapes, home
    rest = np.delete(np.arange(len(shapes)), gone)
    return np.concatenate([shapes[rest], *pieces]), np.concatenate([home[rest], homes])


def _covering(shapes: Array, home: Array) -> list[tuple[int, list[int], Array, Array]]:
    """Each shape that covers letters of several lines; those from top to bottom, feet and tops."""
    inside = home >= 0
    if not inside.any():
        return []
    hulls, cores = (f(shapes[inside], home[inside]) for f in (_hulls, _cores))
    high = _medians(heights(shapes[inside]), home[inside])
    feet, tops = cores[:, 3], cores[:, 3] - high
    tall = np.flatnonzero(heights(shapes) > TALL * high.min())
    some = shapes[tall]
    covered: dict[int, list[int]] = {}
    for line in np.argsort(feet).tolist():
        size = high[line]
        rows = np.minimum(some[:, 3], feet[line]) - np.maximum(some[:, 1], tops[line])
        over = (rows >= COVERED * size) & (heights(some) > TALL * size)
        over &= (some[:, 0] < hulls[line, 2] + size) & (some[:, 2] > hulls[line, 0] - size)
        for shape in tall[over].tolist():
            covered.setdefault(shape, []).append(line)
    return [(s, ls, feet[ls], tops[ls]) for s, ls in covered.items() if len(ls) > 1]


def _thinnest(runs: Array, above: int, below: int) -> tuple[int, int]:
    """The row between two lines where a shape has the fewest dark pixels, and how many."""
    start, end = min(above, below), max(above, below) + 1
    inside = (start <= runs[0]) & (runs[0] < end)
    dark = np.bincount(runs[0][inside] - start, (runs[2] - runs[1])[inside], end - start)
    return int(start + dark.argmin()), int(dark.min())


# Marks


def _with_marks(shapes: Array, home: Array) -> Array:
    """The lines with the marks that stand by them, and those that a letter or two make alone."""
    home = home.copy()
    _own(shapes, home)
    loose = np.flatnonzero(home < 0)
    high = heights(shapes)
    least = max(SMALLEST, 0.5 * _usual(high))
    letters = loose[high[loose] >= least]
    if len(letters):
        rows = joined(len(letters), *links(shapes[letters], LETTER_GAP))
        home[letters] = rows + home.max(initial=-1) + 1
        _own(shapes, home)
    return home


def _own(shapes: Array, home: Array) -> None:
    """Give each shape without a line to the line whose letters it stands nearest to, if any."""
    inside = np.flatnonzero(home >= 0)
    if not len(inside):
        return
    cores = _cores(shapes[inside], home[inside])
    high = _medians(heights(shapes[inside]), home[inside])
    for _ in range(MARKS_IN_A_ROW):
        loose = np.flatnonzero(home < 0)
        loose = loose[np.argsort(shapes[loose, 1] + shapes[loose, 3], kind="stable")]
        marks = shapes[loose]
        middle = (marks[:, 1] + marks[:, 3]) / 2
        best, owner = np.full(len(loose), np.inf), np.full(len(loose), -1)
        inside = np.flatnonzero(home >= 0)
        for line, members in enumerate(_members(home[inside])):
            size, foot = high[line], cores[line, 3]
            first, last = np.searchsorted(middle, (foot - ASCENT * size, foot + DESCENT * size))
            far = _distances(marks[first:last], shapes[inside[members]], size, foot)
            closer = far < best[first:last]
            best[first:last][closer] = far[closer]
            owner[first:last][closer] = line
        if (owner < 0).all():
            break
        home[loose] = owner


def _distances(marks: Array, letters: Array, size: float, foot: float) -> Floats:
    """How far marks are from a line's letters, in their height; infinite where they are not its."""
    lefts, rights = (
        np.sort(letters[:, 0]),
        np.maximum.accumulate(letters[np.argsort(letters[:, 0])][:, 2]),
    )
    place = np.searchsorted(lefts, marks[:, 0], "right")
    before = marks[:, 0] - rights[np.maximum(place - 1, 0)]
    before = np.where(place > 0, np.maximum(before, 0), np.inf)
    after = lefts[np.minimum(place, len(lefts) - 1)] - marks[:, 2]
    after = np.where(place < len(lefts), np.maximum(after, 0), np.inf)
    aside = np.minimum(before, after)
    apart = np.maximum(np.maximum(foot - size - marks[:, 3], marks[:, 1] - foot), 0)
    level = (marks[:, 1] + marks[:, 3] > 2 * (foot - 0.9 * size)) & (
        marks[:, 3] < foot + 0.2 * size
    )
    reach = np.maximum(NEAR * size, np.where(level, BESIDE * widths(marks), 0))
    fits = (aside <= reach) & (heights(marks) < 2.6 * size)
    return np.where(fits, np.hypot(aside / 2, apart) / size, np.inf)


# Lines


def _line(letters: Array) -> LevelLine:
    high = heights(letters)
    size = float(np.median(high[high >= 0.6 * np.median(high)]))
    slope, foot = _foot(letters[high >= 0.6 * size], size)
    return LevelLine(letters, size, foot, slope)


def _alike(lines: list[LevelLine]) -> list[LevelLine]:
    """Lines with the page's usual slope where their own is not clearly another one."""
    wide = [line.box[2] - line.box[0] for line in lines]
    known = [(line.slope, width) for line, width in zip(lines, wide, strict=True) if line.slope]
    if not known:
        return lines
    slopes, weights = np.array(sorted(known)).T
    usual = float(slopes[np.searchsorted(weights.cumsum(), weights.sum() / 2)])
    usual = usual if abs(usual) * max(wide) > 0.1 * min(line.high for line in lines) else 0.0
    found = []
    for line, width in zip(lines, wide, strict=True):
        if line.slope == 0 or abs(line.slope - usual) * width < OTHER * line.high:
            middle = (line.box[0] + line.box[2]) / 2
            line = replace(line, slope=usual, foot=line.foot + (line.slope - usual) * middle)
        found.append(line)
    return found


def _foot(letters: Array, size: float) -> tuple[float, float]:
    """Slope and height at x = 0 of what the letters stand on."""
    x, y = (letters[:, 0] + letters[:, 2]) / 2, letters[:, 3].astype(float)
    slope, foot = 0.0, float(np.median(y))
    if np.ptp(x) < 8 * size:
        return slope, foot
    third = len(x) // 3
    order = np.argsort(x)
    ends = order[:third], order[-third:]
    if third > 3:
        one, other = ((np.median(x[end]), np.median(y[end])) for end in ends)
        slope = (other[1] - one[1]) / (other[0] - one[0])
        foot = float(np.median(y - slope * x))
    for tolerance in (0.3, 0.15, 0.15):
        near = np.abs(y - slope * x - foot) <= max(1.0, tolerance * size)
        if np.count_nonzero(near) < 4 or np.ptp(x[near]) < 8 * size:
            break
        slope, foot = np.polyfit(x[near], y[near], 1).tolist()
    return slope, foot
