"""Letters that stand beside each other, as chains: the words of level print of any sizes.

Shapes are arrays (N, 5) of left, top, right, bottom and the number of dark pixels, as `shapes_of`
gives them. Lengths are in letter heights, so that print of 8 and of 300 pixels is treated alike.
"""

from __future__ import annotations

import numpy as np

from .ink import Array, Floats, Mask

LIKE = 2.2  # most times that one letter is as high as its neighbour
SHARED = 0.6  # of the lower letter's height, that neighbours have in common
OVERLAP = 0.5  # by how much of the narrower one's width neighbours may stand over each other
MARK = 0.62  # of the height of letters, that marks are lower than
MOST_PAIRS = 2_000_000  # looked at in one go


def heights(shapes: Array) -> Array:
    """Rows from the top of each shape to its bottom."""
    return shapes[:, 3] - shapes[:, 1]


def widths(shapes: Array) -> Array:
    """Columns from the left of each shape to its right."""
    return shapes[:, 2] - shapes[:, 0]


def neighbours(shapes: Array, reach: float) -> tuple[Array, Array]:
    """Pairs of shapes that share rows: the left one's number and the right one's.

    One of the two has its middle in the rows of the other; between them are at most `reach` times
    the height of the higher one.
    """
    if not len(shapes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    doubled = shapes[:, 1] + shapes[:, 3]
    order = np.argsort(doubled, kind="stable")
    middles = doubled[order]
    first = np.searchsorted(middles, 2 * shapes[:, 1], "left")
    counts = np.searchsorted(middles, 2 * shapes[:, 3], "right") - first
    found = []
    for part in _parts(counts):
        own = np.repeat(part, counts[part])
        starts = np.repeat(first[part] - counts[part].cumsum() + counts[part], counts[part])
        other = order[np.arange(len(own)) + starts]
        swapped = _is_before(shapes, other, own)
        left, right = np.where(swapped, other, own), np.where(swapped, own, other)
        gap = shapes[right, 0] - shapes[left, 2]
        tall = np.maximum(heights(shapes)[left], heights(shapes)[right])
        near = (gap <= reach * tall) & (left != right)
        found.append(np.stack([left[near], right[near]]))
    pairs = np.unique(np.concatenate(found, axis=1), axis=1)
    return pairs[0], pairs[1]


def _is_before(shapes: Array, one: Array, other: Array) -> Mask:
    doubled = shapes[:, 0] + shapes[:, 2]
    return (doubled[one] < doubled[other]) | ((doubled[one] == doubled[other]) & (one < other))


def _parts(counts: Array) -> list[Array]:
    """The numbers 0 to N in parts whose counts add up to no more than `MOST_PAIRS`, or one each."""
    ends = np.flatnonzero(np.diff(counts.cumsum() // MOST_PAIRS)) + 1
    return np.split(np.arange(len(counts)), ends)


def links(shapes: Array, reach: float) -> tuple[Array, Array]:
    """What follows each other in a line: each shape with the nearest to its right and to its left.

    reach -- widest gap, in heights of the higher one
    """
    left, right = neighbours(shapes, reach)
    high = heights(shapes)
    one, other = high[left], high[right]
    low = np.minimum(one, other)
    bottom = np.minimum(shapes[left, 3], shapes[right, 3])
    shared = bottom - np.maximum(shapes[left, 1], shapes[right, 1])
    gap = shapes[right, 0] - shapes[left, 2]
    narrow = np.minimum(widths(shapes)[left], widths(shapes)[right])
    fits = (np.maximum(one, other) <= LIKE * low) & (shared >= SHARED * low)
    fits &= gap >= -OVERLAP * narrow
    left, right, gap = left[fits], right[fits], gap[fits]
    far = np.maximum(gap, 0) + np.abs(shapes[left, 3] - shapes[right, 3]) / 2
    keep = nearest(left, far) | nearest(right, far)
    return left[keep], right[keep]


def straddlers(shapes: Array) -> Mask:
    """The shapes (N,) that reach over two lines: beside them stand letters in either half."""
    left, right = neighbours(shapes, 0.5)
    high = heights(shapes)
    upper, lower = np.zeros(len(shapes), bool), np.zeros(len(shapes), bool)
    gap = shapes[right, 0] - shapes[left, 2]
    for tall, small in ((left, right), (right, left)):
        letter = (high[small] > 0.33 * high[tall]) & (high[small] < 0.55 * high[tall])
        letter &= gap < 0.5 * high[tall]
        doubled = shapes[tall, 1] + shapes[tall, 3]
        slack = high[tall] // 5
        upper[tall[letter & (2 * shapes[small, 3] <= doubled + slack)]] = True
        lower[tall[letter & (2 * shapes[small, 1] >= doubled - slack)]] = True
    return upper & lower


def nearest(group: Array, far: Floats) -> Mask:
    """Which member of each group is the least far: the first of those that are."""
    order = np.lexsort((far, group))
    first = np.ones(len(group), bool)
    first[1:] = group[order][1:] != group[order][:-1]
    found = np.zeros(len(group), bool)
    found[order[first]] = True
    return found


# Groups: the number of the group that each shape is in


def members(home: Array) -> list[Array]:
    """The shapes of each line, from 0 on."""
    order = np.argsort(home, kind="stable")
    ends = np.searchsorted(home[order], np.arange(home.max(initial=-1) + 2))
    return [order[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]


def hulls(shapes: Array, home: Array) -> Array:
    """The box around the shapes of each group, and how many they are: (groups, 5)."""
    count = home.max(initial=-1) + 1
    boxes = np.zeros((count, 5), np.int64)
    boxes[:, :2] = shapes[:, :4].max(initial=0)
    for axis, put in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        put.at(boxes[:, axis], home, shapes[:, axis])
    boxes[:, 4] = np.bincount(home, minlength=count)
    return boxes


def quantiles(values: Array, home: Array, share: float) -> Array:
    """Of each group's values the one that a share of them is below; the median for one half."""
    order = np.lexsort((values, home))
    counts = np.bincount(home)
    return values[order][counts.cumsum() - counts + (share * counts).astype(int)]


def are_letters(shapes: Array, home: Array) -> Mask:
    """Which shapes are no marks: not far lower than the upper quarter of their group."""
    high = heights(shapes)
    return high >= MARK * quantiles(high, home, 0.75)[home]


def cores(shapes: Array, home: Array) -> Array:
    """Of each group the box from the usual top of its letters to their usual foot: (groups, 5)."""
    found, tall = hulls(shapes, home), are_letters(shapes, home)
    top, bottom = (quantiles(shapes[tall, axis], home[tall], 0.5) for axis in (1, 3))
    found[:, 1], found[:, 3] = top, np.maximum(bottom, top + 1)
    return found
