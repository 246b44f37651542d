"""From shapes of level print to its lines: words, words in a row, and the marks beside them.

Letters that stand beside each other make words, and words make lines, but not across a gutter.
Dots, accents, commas and dashes then go to the line they stand by. A shape that reaches over two
lines is cut between them.
"""

from __future__ import annotations

import numpy as np

from .chains import (
    MARK,
    are_letters,
    cores,
    heights,
    hulls,
    links,
    members,
    neighbours,
    quantiles,
    straddlers,
    widths,
)
from .gutters import Gutters
from .ink import Array, Floats, Mask, joined, outlines

# In letter heights.
LETTER_GAP = 0.8  # widest between letters of a word
WORD_GAP = 7  # widest between words of a line
ASCENT, DESCENT = 1.9, 0.75  # a line's marks stand at most so far above and below its foot
MEETING, FARTHER = 1.3, 3.0  # between lines that are one; at most, where a line has such gaps
NEAR = 1.2  # between a line's end and its comma
DASH = 2.2  # widest of these
BESIDE = 12  # between a line and its bullet or dash, in widths of that
MARKS_IN_A_ROW = 50  # such as '",' or dots, the first of which stands by a letter
WIDER = 1.5  # than other gaps in its lines is a gutter
LOW = 0.5  # of the usual height, up to which what stands apart is dots, or in no line
RAISED = 0.25  # how far above a line's foot those end that stand beside it: !"
MARKS = 4  # most of them beside each other, as high as letters: "?!
TALL = 1.7  # a shape is higher that reaches over two lines
COVERED = 0.7  # of a line's letters, that such a shape covers
CONTACT = 0.5  # widest where it is cut: initials, which reach over lines too, are thicker

LARGEST, TALLEST = 0.34, 300  # of a page, and pixels: a letter is lower than one of them
SQUARE, SOLID = 1.5, 0.7  # most times longer than wide, and least share of ink, of a dot
SMALLEST = 4  # pixels: lower print cannot be read


def usual_height(shapes: Array, side: int = 0) -> float:
    """The usual height of what is no speck, no dot, nor too large for a letter; 0 if nothing is.

    side -- the longer one of the page, in pixels
    """
    high, wide = heights(shapes), widths(shapes)
    fits = (high >= SMALLEST) & (high <= max(TALLEST, LARGEST * side))
    square = np.maximum(high, wide) <= SQUARE * np.minimum(high, wide)
    letters = fits & ~(square & (shapes[:, 4] > SOLID * high * wide))
    return float(np.median(high[letters if letters.any() else fits])) if fits.any() else 0.0


def rows_of(shapes: Array, taken: Array, rules: Array) -> Array:
    """The number (N,) of the line that each shape is in, or -1 for what may be a mark of one.

    taken -- boxes of what no gutter goes through, beside the words. rules -- boxes of upright rules
    """
    home = np.full(len(shapes), -1)
    tall = np.flatnonzero(heights(shapes) >= SMALLEST)
    tall = tall[~straddlers(shapes[tall])]
    letters = shapes[tall]
    word = joined(len(letters), *links(letters, LETTER_GAP))
    middles = cores(letters, word)
    left, right = links(middles, WORD_GAP)
    gutters = Gutters(
        np.concatenate([hulls(letters, word)[:, :4], taken[:, :4]]),
        rules,
        middles[right, 0] - middles[left, 2],
        np.minimum(heights(middles)[left], heights(middles)[right]),
    )
    apart, doubtful = gutters.between(middles, left, right)
    apart &= ~(doubtful & _like_others(middles, left, right, apart))
    home[tall] = joined(len(middles), left[~apart], right[~apart])[word]
    return _without_marks(shapes, home)


def _like_others(words: Array, left: Array, right: Array, apart: Mask) -> Mask:
    """Whether gaps between words that a gutter is in are like those in the lines beside it.

    What the gaps above and below each say counts, too: half of them decide.
    """
    gap = words[right, 0] - words[left, 2]
    line = joined(len(words), left[~apart], right[~apart])
    inside = np.full(len(words), -1)
    known = line[left[~apart]]
    lines, place = np.unique(known, return_inverse=True)
    inside[lines] = quantiles(gap[~apart], place, 0.5) if len(lines) else 0
    usual = np.maximum(inside[line[left]], inside[line[right]])
    wider = np.where(usual < 0, 1, (gap > WIDER * usual).astype(int))
    found = np.zeros(len(left), bool)
    numbers = np.flatnonzero(apart)
    starts, ends, feet = words[left, 2], words[right, 0], words[left, 3]
    reach = 9 * heights(words)[left]
    for number in numbers:
        near = numbers[np.abs(feet[numbers] - feet[number]) < reach[number]]
        near = near[(starts[near] < ends[number]) & (ends[near] > starts[number])]
        found[number] = 2 * wider[near].sum() < len(near)
    return found


def _without_marks(shapes: Array, home: Array) -> Array:
    """The lines without rows of dots, and without ones of a letter or two, that may be marks."""
    inside = home >= 0
    if not inside.any():
        return home
    _, home[inside] = np.unique(home[inside], return_inverse=True)
    whole, feet, high = _measures(shapes[inside], home[inside])
    inked = np.bincount(home[inside], widths(shapes[inside]))
    few = whole[:, 4] < 3
    sparse = few | (2 * inked < whole[:, 2] - whole[:, 0])
    dots = ~few & sparse & (high <= LOW * usual_height(shapes))
    middle = (whole[:, 1] + whole[:, 3]) / 2
    marks = few | dots
    for line in np.flatnonzero(~marks):
        foot, size = feet[line], high[line]
        near = (middle > foot - ASCENT * size) & (middle < foot + DESCENT * size)
        near &= whole[:, 0] > whole[line, 0] - NEAR * size
        near &= whole[:, 2] < whole[line, 2] + NEAR * size
        within = (middle > foot - 1.3 * size) & (middle < foot + 0.35 * size)
        lower = high < MARK * size
        fewer = 3 * whole[:, 4] < whole[line, 4]
        small = fewer & (whole[:, 4] <= MARKS) & (high < 1.6 * size)
        marks |= near & sparse & (lower | (fewer & (high < 1.1 * size)))
        marks |= near & within & (lower | small)
        beside = np.maximum(whole[line, 0] - whole[:, 2], whole[:, 0] - whole[line, 2])
        raised = (middle > foot - ASCENT * size) & (feet < foot - RAISED * size)
        marks |= (beside < NEAR * size) & raised & (whole[:, 4] <= MARKS) & (high < 1.1 * size)
    numbers = np.where(marks, -1, (~marks).cumsum() - 1)
    return np.where(inside, numbers[home], -1)


def _measures(shapes: Array, home: Array) -> tuple[Array, Array, Array]:
    """Of each line its box and the number of its letters (lines, 5), its foot, and their height.

    Marks are no letters.
    """
    whole, high = hulls(shapes, home), heights(shapes)
    letters = are_letters(shapes, home)
    whole[:, 4] = np.bincount(home[letters], minlength=len(whole))
    feet = quantiles(shapes[letters, 3], home[letters], 0.5)
    return whole, feet, quantiles(high[letters], home[letters], 0.5)


# Shapes that reach over two lines


def cut_between(
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
    whole, feet, high = _measures(shapes[inside], home[inside])
    tops = feet - high
    tall = np.flatnonzero(heights(shapes) > TALL * high.min())
    some = shapes[tall]
    covered: dict[int, list[int]] = {}
    for line in np.argsort(feet).tolist():
        size = high[line]
        rows = np.minimum(some[:, 3], feet[line]) - np.maximum(some[:, 1], tops[line])
        over = (rows >= COVERED * size) & (heights(some) > TALL * size)
        over &= (some[:, 0] < whole[line, 2] + size) & (some[:, 2] > whole[line, 0] - size)
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


def with_marks(shapes: Array, home: Array) -> Array:
    """The lines with the marks that stand by them, and those that a letter or two make alone."""
    home = home.copy()
    _own(shapes, home)
    loose = np.flatnonzero(home < 0)
    high = heights(shapes)
    least = max(SMALLEST, LOW * usual_height(shapes))
    letters = loose[high[loose] >= least]
    if len(letters):
        rows = joined(len(letters), *links(shapes[letters], LETTER_GAP))
        home[letters] = rows + home.max(initial=-1) + 1
        _own(shapes, home)
    return _met(shapes, home)


def _met(shapes: Array, home: Array) -> Array:
    """The lines, as one where they meet now that they have their marks: at dots, for one.

    A letter or two, such as a page number, may be as far away as the widest gap in the line.
    """
    inside = home >= 0
    if not inside.any():
        return home
    names, place = np.unique(home[inside], return_inverse=True)
    whole, feet, high = _measures(shapes[inside], place)
    high = np.maximum(high, usual_height(shapes))  # that of a row of dots is theirs
    whole[:, 1], whole[:, 3] = feet - high, feet
    left, right = neighbours(whole, FARTHER)
    gap = whole[right, 0] - whole[left, 2]
    low = np.minimum(high[left], high[right])
    most = MEETING * np.maximum(high[left], high[right])
    few = whole[right, 4] < 3
    most[few] = np.maximum(most, 1.1 * _widest_gaps(shapes[inside], place)[left])[few]
    fits = (np.abs(feet[left] - feet[right]) < 0.3 * low) & (gap > -low) & (gap <= most)
    fits &= np.maximum(high[left], high[right]) < 1.6 * low
    home = home.copy()
    home[inside] = joined(len(names), left[fits], right[fits])[place]
    return home


def _widest_gaps(shapes: Array, home: Array) -> Array:
    """The widest gap between two shapes of each line, in pixels."""
    order = np.lexsort((shapes[:, 0], home))
    line, apart = home[order], int(shapes[:, 2].max()) + 1
    reached = np.maximum.accumulate(shapes[order, 2] + line * apart)
    gaps = shapes[order, 0][1:] + line[1:] * apart - reached[:-1]
    found = np.zeros(int(line[-1]) + 1, np.int64)
    same = line[1:] == line[:-1]
    np.maximum.at(found, line[1:][same], gaps[same])
    return found


def _own(shapes: Array, home: Array) -> None:
    """Give each shape without a line to the line whose letters it stands nearest to, if any."""
    inside = np.flatnonzero(home >= 0)
    if not len(inside):
        return
    _, feet, high = _measures(shapes[inside], home[inside])
    for _ in range(MARKS_IN_A_ROW):
        loose = np.flatnonzero(home < 0)
        loose = loose[np.argsort(shapes[loose, 1] + shapes[loose, 3], kind="stable")]
        marks = shapes[loose]
        middle = (marks[:, 1] + marks[:, 3]) / 2
        best, owner = np.full(len(loose), np.inf), np.full(len(loose), -1)
        inside = np.flatnonzero(home >= 0)
        for line, own in enumerate(members(home[inside])):
            size, foot = high[line], feet[line]
            first, last = np.searchsorted(middle, (foot - ASCENT * size, foot + DESCENT * size))
            far = _distances(marks[first:last], shapes[inside[own]], size, foot)
            closer = far < best[first:last]
            best[first:last][closer] = far[closer]
            owner[first:last][closer] = line
        if (owner < 0).all():
            break
        home[loose] = owner


def _distances(marks: Array, letters: Array, size: float, foot: float) -> Floats:
    """How far marks are from a line's letters, in their height; infinite where they are not its."""
    letters = letters[np.argsort(letters[:, 0])]
    lefts, rights = letters[:, 0], np.maximum.accumulate(letters[:, 2])
    place = np.searchsorted(lefts, marks[:, 0], "right")
    before = marks[:, 0] - rights[np.maximum(place - 1, 0)]
    before = np.where(place > 0, np.maximum(before, 0), np.inf)
    after = lefts[np.minimum(place, len(lefts) - 1)] - marks[:, 2]
    after = np.where(place < len(lefts), np.maximum(after, 0), np.inf)
    aside = np.minimum(before, after)
    apart = np.maximum(np.maximum(foot - size - marks[:, 3], marks[:, 1] - foot), 0)
    level = (heights(marks) < MARK * size) & (widths(marks) < DASH * size)
    level &= (marks[:, 1] + marks[:, 3] > 2 * (foot - 0.9 * size)) & (
        marks[:, 3] < foot + 0.2 * size
    )
    reach = np.maximum(NEAR * size, np.where(level, BESIDE * widths(marks), 0))
    fits = (aside <= reach) & (heights(marks) < 2.6 * size)
    return np.where(fits, np.hypot(aside / 2, apart) / size, np.inf)
