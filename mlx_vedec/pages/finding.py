"""The lines of a printed page that comes without a layout: its regions, in reading order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ..images.boxes import Size
from ..images.ink import Array, Floats, dark_on_light, ink_level, leveled, may_be_print, shapes_of
from ..images.lines import LevelLine, alike, lines_of
from .frames import Frame, vanishing_point
from .layout import FoundLine, Layout, Points, Region, box_around
from .order import regions_of
from .panels import without_panels
from .turning import angles_of

MOST_PIXELS = 45_000_000  # that lines are looked for in; a larger picture is made smaller
SOME_INK = 0.002  # share of the pixels of a page, from which it is not blank
MANY_SHAPES = 20_000  # as a page of a newspaper has: the likeliest way up then shows lines
CLEAR = 3.0  # spreads of its greys that ink and paper are apart; around the paper may be a desk
UPRIGHT = 0.8  # of how unsure lines are read in another way, that they are when level, or not
RISE = 0.12  # letter heights that a line may sink by from its start to its end and still be level
ASCENT, DESCENT = 1.25, 0.35  # letter heights that an outline reaches above and below the foot


def find_layout(
    picture: Image.Image, confidence: Callable[[Sequence[FoundLine]], float] | None = None
) -> Layout:
    """The lines of a page, in regions, in reading order; none where there is no print.

    confidence -- how surely lines are read, 0 to 1: asked where their letters alone leave it in
    doubt which way up a page is. Without it a page in doubt is upright
    """
    grey = dark_on_light(picture)
    step = 2 if grey.width * grey.height > MOST_PIXELS else 1
    grey = grey.reduce(step) if step > 1 else grey
    light = leveled(grey, max(1, max(grey.size) // 64))
    darkest = ink_level(light, CLEAR)
    ink = np.asarray(light) <= darkest
    if not may_be_print(ink):
        _warn_of_no_lines()
        return Layout()

    def on_page(lines: Sequence[LevelLine], frame: Frame) -> list[FoundLine]:
        whole = Frame(frame.size, np.diag((step, step, 1.0)) @ frame.matrix)
        return [_on_page(line, whole, picture.size) for line in lines]

    shapes = shapes_of(ink)
    angles = angles_of(shapes)[: None if confidence else 1]
    frames = [Frame.turned(grey.size, angle) for angle in angles]
    found = [_lines_in(frames[0], grey, light, darkest)]
    number = 0
    if confidence and (found[0][0] or len(shapes) < MANY_SHAPES):  # else it is noise any way up
        found += [_lines_in(frame, grey, light, darkest) for frame in frames[1:]]
    if confidence and len(found) > 1:
        ways = zip(frames, found, strict=True)
        sure = [confidence(on_page(lines, frame)) for frame, (lines, _) in ways]
        number = _way_up(angles, sure)
    frame, (lines, rules) = frames[number], found[number]
    vanishing = vanishing_point(lines, frame.size)
    if vanishing is not None:
        frame = frame.rectified(vanishing)
        lines, rules = _lines_in(frame, grey, light, darkest)
    if not lines and ink.mean() > SOME_INK:
        _warn_of_no_lines()
    lines = alike(lines)
    return Layout(_regions(lines, on_page(lines, frame), rules))


def _way_up(angles: Sequence[float], confidences: Sequence[float]) -> int:
    """The number of the angle at which lines are read most surely; level, unless clearly not."""
    return min(
        range(len(angles)),
        key=lambda n: (1 - confidences[n]) * (UPRIGHT if abs(angles[n]) < 45 else 1),
    )


def _warn_of_no_lines() -> None:
    warnings.warn(
        "no lines were found on a page that is not blank; expected print; give the page a layout "
        "(see PAGES.md), or check that it is the picture you mean",
        stacklevel=2,
    )


def _lines_in(
    frame: Frame, grey: Image.Image, light: Image.Image, darkest: int
) -> tuple[list[LevelLine], Array]:
    """The lines of a page as it looks in a frame, and its rules."""
    light = frame.image(light)
    return lines_of(*without_panels(np.asarray(light) <= darkest, light, frame.image(grey)))


def _regions(lines: list[LevelLine], found: list[FoundLine], rules: Array) -> tuple[Region, ...]:
    """Found lines in regions, in reading order, by how the same lines stand in the frame."""
    if not lines:
        return ()
    boxes = np.array([line.box for line in lines])
    feet = np.array([line.foot + line.slope * (line.box[0] + line.box[2]) / 2 for line in lines])
    high = np.array([line.high for line in lines])
    return tuple(
        Region(
            tuple(found[number] for number in group),
            box_around(point for number in group for point in found[number].polygon),
        )
        for group in regions_of(boxes, feet, high, rules)
    )


def _on_page(line: LevelLine, frame: Frame, size: Size) -> FoundLine:
    """A line of the frame in places of the picture."""
    over, under = line.reach
    above, below = max(over, ASCENT * line.high), max(under, DESCENT * line.high)
    polygon = _whole(frame.to_picture(line.around(above, below)), size)
    baseline = _whole(frame.to_picture(line.around(0, 0)[:2]), size)
    left, top, right, bottom = line.box
    level = frame.is_upright and abs(line.slope) * (right - left) <= RISE * line.high
    if level:
        ends = frame.to_picture([(left, top), (right, bottom)])
        return FoundLine(
            "", box_around(polygon), polygon, baseline, ink=box_around(_whole(ends, size))
        )
    quad = tuple((x, y) for x, y in frame.to_picture(line.around(over, under)).tolist())
    return FoundLine("", box_around(polygon), polygon, baseline, quad=quad)


def _whole(places: Floats, size: Size) -> Points:
    """Places as whole pixels of a picture."""
    return tuple((x, y) for x, y in np.clip(np.round(places), 0, size).astype(int).tolist())
