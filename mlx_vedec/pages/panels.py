"""Panels: parts of a page that have a paper of their own, dark enough to count as ink.

A banner with light text, or a grey box with black text, is one large dark shape to those who look
for ink on the page's paper. Looked at alone, it is a small page.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..images.chains import heights, widths
from ..images.ink import (
    Array,
    Mask,
    dark_on_light,
    find_ink,
    labeled_runs,
    leveled,
    outlines,
    painted,
)
from ..images.rows import SMALLEST, usual_height

FILLED = 0.5  # least share of a panel that is dark
STRAIGHT = 0.7  # least share of its upper and lower edge that is on a straight line
LETTERS = 3  # fewest shapes inside
LEAST = 12  # pixels on a side
MOST_PANELS = 50  # the largest, that are looked into


def without_panels(ink: Mask, light: Image.Image, grey: Image.Image) -> tuple[Mask, Image.Image]:
    """The ink (H, W) of a level page and its leveled greys, with panels' text in place of panels.

    grey -- the page, dark on light but for its panels, not leveled
    """
    runs, index = labeled_runs(ink)
    shapes = outlines(runs, index)
    high, wide = heights(shapes), widths(shapes)
    least = max(LEAST, 1.5 * usual_height(shapes, max(ink.shape)))
    filled = (high >= least) & (wide >= least) & (shapes[:, 4] >= FILLED * high * wide)
    numbers = np.flatnonzero(filled)
    numbers = numbers[np.argsort(-(high * wide)[numbers], kind="stable")][:MOST_PANELS]
    ink, light = (ink.copy(), light.copy()) if len(numbers) else (ink, light)
    for number in numbers.tolist():
        found = _text_in(grey, runs[:, index == number], shapes[number])
        if found is None:
            continue
        inside, text = found
        left, top, right, bottom, _ = shapes[number].tolist()
        ink[top:bottom, left:right] &= ~inside
        ink[top:bottom, left:right] |= text
        light.paste(
            Image.fromarray(np.where(text, 0, 255).astype(np.uint8)),
            (left, top),
            Image.fromarray(inside),
        )
    return ink, light


def _text_in(grey: Image.Image, runs: Array, shape: Array) -> tuple[Mask, Mask] | None:
    """What is a panel in the box of the shape of these runs, and its text; None if it has none."""
    left, top, right, bottom, _ = shape.tolist()
    runs = runs - np.array([[top], [left], [left]])
    height, width = bottom - top, right - left
    panel = painted(runs, (height, width))
    if not (_is_straight(panel) and _is_straight(panel[::-1])):
        return None
    rows, starts, ends = runs
    start, end = np.full(height, width), np.zeros(height, np.int64)
    np.minimum.at(start, rows, starts)
    np.maximum.at(end, rows, ends)
    columns = np.arange(width)
    inside = (start[:, None] <= columns) & (columns < end[:, None])
    values = np.asarray(grey.crop((left, top, right, bottom)))
    text = _text(values, inside)
    return None if text is None else (inside, text)


def _is_straight(panel: Mask) -> bool:
    """Whether the upper edge of a shape is a straight line, level or not, but for some holes."""
    edge = panel.argmax(axis=0)
    width = len(edge)
    ends = edge[: width // 3], edge[-width // 3 :]
    start, end = (float(np.quantile(part, 0.25)) for part in ends)
    first = width / 12 if end >= start else width / 4  # where a slope has its lowest quarter
    line = start + (end - start) * (np.arange(width) - first) / (width * 2 / 3)
    return np.mean(np.abs(edge - line) <= max(2, len(panel) / 30)) >= STRAIGHT


def _text(values: Array, inside: Mask) -> Mask | None:
    """The ink (h, w) of a panel, by its greys; None where it shows no letters."""
    paper = np.median(values[inside])
    alone = dark_on_light(Image.fromarray(np.where(inside, values, paper).astype(np.uint8)))
    alone = leveled(alone, max(1, max(alone.size) // 16))
    ink = find_ink(alone)
    edge = np.pad(inside, 1)
    deep = edge[:-2, 1:-1] & edge[2:, 1:-1] & edge[1:-1, :-2] & edge[1:-1, 2:]
    runs, index = labeled_runs(ink & inside)
    at_edge = np.zeros(index.max(initial=-1) + 1, bool)
    for row, start, end, shape in zip(*runs.tolist(), index.tolist(), strict=True):
        at_edge[shape] |= not deep[row, start:end].all()
    shapes = outlines(runs, index)
    letters = ~at_edge & (heights(shapes) >= SMALLEST)
    if np.count_nonzero(letters) < LETTERS:
        return None
    return painted(runs[:, ~at_edge[index]], inside.shape)
