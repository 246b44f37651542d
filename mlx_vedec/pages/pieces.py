"""A line as a checkpoint reads it: one picture, or several where the line is too wide for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from ..images.boxes import Box
from ..images.ink import dark_on_light, find_ink, leveled
from ..images.line_images import cut_line, line_image, line_origin
from ..reading.word_boxes import WordBox
from .layout import Line
from .strips import cut


@dataclass(frozen=True, eq=False)
class Piece:
    """A picture for the model, and how boxes in it are boxes on the page."""

    picture: Image.Image
    to_page: Callable[[Box], Box]


def pieces_of(
    picture: Image.Image, line: Line, aspect: float | None, *, tight: bool
) -> list[Piece]:
    """A line as the checkpoint reads it: in one piece, or in several on canvases of an aspect.

    tight -- its box is level and tight around its ink, as `find_lines` gives it; else it is cut
    along its outline and its baseline. A line without ink has no pieces, where there is an aspect.
    """
    if tight:
        if aspect is None or line.box == (0, 0, *picture.size):
            return [Piece(picture.crop(line.box), partial(_moved, line.box[:2], line.box))]
        return _on_canvases(picture, line.box, aspect, lambda box: box)
    strip = cut(picture, line)
    if aspect is None:
        return [Piece(strip.image, strip.to_page)]
    inked = _inked(strip.image)
    return _on_canvases(strip.image, inked, aspect, strip.to_page) if inked else []


def _on_canvases(
    picture: Image.Image, box: Box, aspect: float, to_page: Callable[[Box], Box]
) -> list[Piece]:
    return [
        Piece(
            line_image(picture, part, aspect),
            partial(_moved, line_origin(picture, part, aspect), part, to_page=to_page),
        )
        for part in cut_line(picture, box, aspect)
    ]


def _moved(
    origin: tuple[int, int], within: Box, box: Box, to_page: Callable[[Box], Box] | None = None
) -> Box:
    """A piece's box as one of what it was cut from, and then of the page."""
    moved = WordBox("", box, 0.0).moved(*origin, within).box
    return to_page(moved) if to_page else moved


def _inked(image: Image.Image) -> Box | None:
    """The box around what is dark, or light on dark; None where nothing is."""
    grey = leveled(dark_on_light(image), max(1, image.height // 4))
    ink = find_ink(grey)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
