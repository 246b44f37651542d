"""What a page is made of: regions of lines of words, in reading order, in pixels of its image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..errors import LayoutError
from ..images.boxes import Box, Size

if TYPE_CHECKING:
    from ..reading.results import GenerationResult
    from .xml_tree import Document, Element

Point = tuple[int, int]
Points = tuple[Point, ...]

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
FARTHEST = 1e7  # in any unit: no page is as large
DPI = 300.0  # where a layout is in other units than pixels, and nothing says how large its image is
UNITS = {"pixel": 0.0, "mm10": 254.0, "inch1200": 1200.0}  # in an inch
APART = 0.05  # by which the proportions of a layout and its image may differ


class Alternative(NamedTuple):
    """Another text that a line may have, and how sure the model is of it, 0 to 1."""

    text: str
    confidence: float | None = None


@dataclass(frozen=True)
class Word:
    """A word in a page's line: its text, box in pixels, how sure the model is of it, 0 to 1."""

    text: str
    box: Box
    confidence: float | None = None


@dataclass(frozen=True)
class Line:
    """A line of a page's text.

    text         -- what was read, or what a file says
    box          -- left, top, right, bottom in pixels, around the polygon
    polygon      -- its outline, (x, y) each. baseline -- what its letters stand on, in the
                    direction of reading; either may be empty
    confidence   -- 0 to 1, None where nothing says so
    alternatives -- other texts, best first. words -- where they are known
    id           -- the file's. error -- why it could not be read
    result       -- what the model gave, where it was read now. element -- where it is in its file
    """

    text: str = ""
    box: Box = (0, 0, 0, 0)
    polygon: Points = ()
    baseline: Points = ()
    confidence: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    words: tuple[Word, ...] = ()
    id: str = ""
    error: ValueError | None = None
    result: GenerationResult | None = field(default=None, repr=False, compare=False)
    element: Element | None = field(default=None, repr=False, compare=False)

    @property
    def outline(self) -> Points:
        """The polygon, or the box's corners where there is none."""
        return self.polygon if len(self.polygon) > 1 else corners(self.box)

    @property
    def fitting_words(self) -> tuple[Word, ...]:
        """The words, where they are those of the text: it may have been corrected since."""
        said = "".join("".join(word.text.split()) for word in self.words)
        return self.words if said == "".join(self.text.split()) else ()


@dataclass(frozen=True)
class FoundLine(Line):
    """A line that was found on a page that came without a layout.

    ink  -- the box that is tight around its ink. quad -- where the line is not level, the corners
            of what is: upper left, upper right, lower right, lower left, as the line is read
    """

    ink: Box = field(default=(0, 0, 0, 0), repr=False, compare=False)
    quad: tuple[tuple[float, float], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Region:
    """Lines that belong together, such as a paragraph.

    kind -- what a file calls it, such as "heading" or "marginalia"; empty where nothing says so
    """

    lines: tuple[Line, ...] = ()
    box: Box = (0, 0, 0, 0)
    polygon: Points = ()
    id: str = ""
    kind: str = ""
    element: Element | None = field(default=None, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The texts of its lines, one below the other."""
        return "\n".join(line.text for line in self.lines if line.text)

    @property
    def outline(self) -> Points:
        """The polygon, or the box's corners where there is none."""
        return self.polygon if len(self.polygon) > 1 else corners(self.box)


class Scale(NamedTuple):
    """Pixels of the image for one unit of the file, across and down."""

    x: float = 1.0
    y: float = 1.0

    def points(self, numbers: Sequence[float]) -> Points:
        """Pairs of the file's numbers in pixels; a last one without its partner is left out."""
        pairs = zip(numbers[::2], numbers[1::2], strict=False)
        return tuple((round(x * self.x), round(y * self.y)) for x, y in pairs)

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A box of the file in pixels."""
        (left, top), (right, bottom) = self.points((left, top, right, bottom))
        return int(left), int(top), int(right), int(bottom)

    def back(self, points: Iterable[Point]) -> list[tuple[float, float]]:
        """Pixels in the file's units."""
        return [(x / self.x, y / self.y) for x, y in points]


@dataclass(frozen=True)
class Source:
    """The file that a layout was read from: its format, its document, which page of that it is."""

    format: str
    document: Document
    number: int = 0
    scale: Scale = Scale()
    name: str = ""


@dataclass(frozen=True)
class Layout:
    """Where the text of a page is, and what it says.

    regions -- in reading order. size -- width and height in pixels, (0, 0) where nothing says so.
    image -- the image's name as the file has it. model -- what the texts were read with
    """

    regions: tuple[Region, ...] = ()
    size: Size = (0, 0)
    image: str = ""
    model: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines in reading order."""
        return tuple(line for region in self.regions for line in region.lines)

    @property
    def text(self) -> str:
        """The texts of all lines, with an empty line between regions."""
        return "\n\n".join(text for region in self.regions if (text := region.text))

    @property
    def confidence(self) -> float | None:
        """Mean of the lines', weighted by their lengths; None where no line has one."""
        return mean_confidence(self.lines)

    def changed_lines(
        self, format: str, read_line: Callable[[Element, Scale], Line]
    ) -> list[Line] | None:
        """The lines that say something else than the file they came from, but for failed ones.

        None where the layout did not come from a file of this format, line by line.
        """
        source = self.source
        if source is None or source.format != format:
            return None
        own = [(line, line.element) for line in self.lines if line.element is not None]
        if len(own) < len(self.lines):
            return None
        return [
            line
            for line, element in own
            if line.error is None and line != read_line(element, source.scale)
        ]


def corners(box: Box) -> Points:
    """The corners of a box, clockwise from the upper left."""
    left, top, right, bottom = box
    return (left, top), (right, top), (right, bottom), (left, bottom)


def box_around(points: Iterable[Point]) -> Box:
    """The box around points; nothing around none."""
    xs, ys = zip(*points, strict=True) if (points := [*points]) else ((0,), (0,))
    return min(xs), min(ys), max(xs), max(ys)


def box_of(polygon: Points, lines: Iterable[Line]) -> Box:
    """The box around a region's polygon, or around its lines where it has none."""
    return box_around(polygon or [point for line in lines for point in corners(line.box)])


def mean_confidence(parts: Iterable[Line | Word]) -> float | None:
    """Mean confidence, weighted by the lengths of the texts; None where no part has one."""
    known = [(p.confidence, len(p.text) or 1) for p in parts if p.confidence is not None]
    whole = sum(length for _, length in known)
    return sum(value * length for value, length in known) / whole if known else None


def area(points: Sequence[Point]) -> float:
    """The area inside a polygon."""
    pairs = zip(points, [*points[1:], *points[:1]], strict=True)
    return abs(sum(x * v - u * y for (x, y), (u, v) in pairs)) / 2


def numbers_in(text: str) -> list[float]:
    """The numbers of a list of points, whatever stands between them, none beyond `FARTHEST`."""
    numbers = (float(number) for number in NUMBER.findall(text))
    return [max(-FARTHEST, min(number, FARTHEST)) for number in numbers]


def scale_between(
    name: str,
    size: tuple[float, float] | None,
    unit: str,
    picture: Size | None,
    dpi: float | None = None,
) -> Scale:
    """How a file's numbers become pixels.

    size -- of the page in the file's units, where it says so. picture -- the image's, where it is
    known: then the two are laid over each other, whatever the unit. Else the image's resolution
    counts, or 300 dots per inch.
    """
    if unit not in UNITS:
        known = ", ".join(UNITS)
        raise LayoutError(f"{name} measures in {unit[:40]!r}; expected {known}; convert it")
    if size is not None and min(size) > 0 and max(size) <= FARTHEST and picture is not None:
        if unit == "pixel" and all(abs(a - b) <= 2 for a, b in zip(size, picture, strict=True)):
            return Scale()
        x, y = picture[0] / size[0], picture[1] / size[1]
        if abs(x / y - 1) > APART:
            raise LayoutError(
                f"{name} is of a page of {size[0]:g}x{size[1]:g} ({unit}), but the image has "
                f"{picture[0]}x{picture[1]} pixels; expected the same proportions; give the "
                "layout of this image"
            )
        return Scale(x, y)
    per_unit = (dpi or DPI) / UNITS[unit] if UNITS[unit] else 1.0
    return Scale(per_unit, per_unit)
