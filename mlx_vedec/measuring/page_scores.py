"""How well the lines of a page were found and read, where its lines and texts are known.

- *Line F1:* a line was found where its polygon covers a true one's with an IoU of at least 0.5;
  each counts once. F1 is 2 × found right / (found + true).
- *CER of the page:* the whole text of all lines in reading order, whitespace normalised: a line's
  end is a space, so a line that is found in two pieces, or two that are found as one, cost nothing,
  as long as the words come in their order. Lines in another order cost edits.
- *Reading order:* of all pairs of true lines that were found, how many come in their order. A line
  alone is in order; where none was found, though there are some, nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..pages.layout import Layout, Line, Points, box_around
from ..text.error_rates import Normalization, Share, characters

FOUND = 0.5  # IoU from which a line counts as found
GRID = 256  # points across and down, at which two polygons are compared
TRUE_LINES = "true_lines_cer"  # the metric of what is read from the true lines
ONE_SPACE = Normalization(collapse_whitespace=True)


@dataclass(frozen=True)
class PageScores:
    """What a page adds to each metric. found, true -- numbers of lines."""

    line_f1: Share
    cer: Share
    reading_order: Share
    found: int
    true: int


def score_page(found: Layout, true: Layout) -> PageScores:
    """How a page that was found and read compares with the true one."""
    return PageScores(
        **line_shares(found, true),
        cer=characters(ONE_SPACE(found.text), ONE_SPACE(true.text)),
        found=len(found.lines),
        true=len(true.lines),
    )


def line_shares(found: Layout, true: Layout) -> dict[str, Share]:
    """What a page adds to the metrics of lines."""
    places = [place for place, _ in matched_lines(found.lines, true.lines)]
    return {
        "line_f1": line_f1(len(places), len(found.lines), len(true.lines)),
        "reading_order": in_order(places) if places or not true.lines else Share(0, 1),
    }


def line_f1(right: int, found: int, true: int) -> Share:
    """What a page adds to F1, of numbers of lines; a page without any, found or true, is right."""
    return Share(2 * right, found + true) if found + true else Share(1, 1)


def matched_lines(found: Sequence[Line], true: Sequence[Line]) -> list[tuple[int, int]]:
    """Places of found lines and of the true lines that they are, in the order of the true ones.

    The pairs with the highest IoU come first; each line is in one pair at most.
    """
    likeness = [
        (iou(found[place].outline, true[place_of_true].outline), place, place_of_true)
        for place_of_true, place in _meeting(true, found)
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for value, place, place_of_true in sorted(likeness, key=lambda one: -one[0]):
        if value >= FOUND and place_of_true not in pairs and place not in taken:
            pairs[place_of_true] = place
            taken.add(place)
    return [(place, place_of_true) for place_of_true, place in sorted(pairs.items())]


def _meeting(lines: Sequence[Line], others: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Places of the lines and of those others whose boxes have an area in common with theirs."""
    boxes = np.array([box_around(other.outline) for other in others]).reshape(-1, 4).T
    for place, line in enumerate(lines):
        left, top, right, bottom = box_around(line.outline)
        across = np.maximum(boxes[0], left) < np.minimum(boxes[2], right)
        down = np.maximum(boxes[1], top) < np.minimum(boxes[3], bottom)
        yield from ((place, int(other)) for other in np.flatnonzero(across & down))


def iou(one: Points, other: Points) -> float:
    """Intersection over union of the areas inside two polygons, 0 to 1.

    >>> iou(((0, 0), (20, 0), (20, 10), (0, 10)), ((10, 0), (20, 0), (20, 10), (10, 10)))
    0.5
    """
    left, top, right, bottom = box_around((*one, *other))
    xs = left + (right - left) * (np.arange(GRID) + 0.5) / GRID
    ys = top + (bottom - top) * (np.arange(GRID) + 0.5) / GRID
    a, b = _inside(one, xs, ys), _inside(other, xs, ys)
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def _inside(polygon: Points, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Which points of a grid are inside a polygon, (len(ys), len(xs)).

    They are those with an odd number of its sides to their right.
    """
    inside = np.zeros((len(ys), len(xs)), bool)
    for (x, y), (u, v) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        rows = np.flatnonzero((y > ys) != (v > ys))
        crossings = x + (ys[rows] - y) * (u - x) / (v - y) if len(rows) else rows
        inside[rows] ^= xs < crossings[:, None]
    return inside


def in_order(places: Sequence[int]) -> Share:
    """Of all pairs of places, how many rise; one place alone is in order."""
    values = np.array(places, int)
    rising = sum(int(np.count_nonzero(values[i + 1 :] > v)) for i, v in enumerate(values))
    pairs = len(values) * (len(values) - 1) // 2
    return Share(rising, pairs) if pairs else Share(1, 1)
