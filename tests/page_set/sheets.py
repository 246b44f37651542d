"""A sheet that lines are set on, and where each of them stands: the truth of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.pages.layout import Layout, Line, Points, Region, box_around

from .typefaces import Typeface
from .words import Writer

Font = ImageFont.FreeTypeFont
Corners = tuple[tuple[float, float], ...]
WIDEST = 2.5  # of a space, as often as it is by itself; a line that needs more stays ragged
HEADING, PARAGRAPH = "heading", "paragraph"


@dataclass
class TrueLine:
    """A line as it was set: its text, its outline clockwise, and the two ends of its baseline."""

    text: str
    outline: Corners
    baseline: Corners


@dataclass
class TrueRegion:
    """Lines that belong together; kind -- PAGE's word."""

    kind: str
    lines: list[TrueLine] = field(default_factory=list)


class Sheet:
    """A grey picture, black on white unless told otherwise, and the regions set on it in order.

    point -- pixels of a typographic point. size -- of the text, in pixels of the em
    """

    def __init__(
        self, width: int, height: int, *, point: float, size: float, face: Typeface, seed: int
    ) -> None:
        self.image = Image.new("L", (width, height), 255)
        self.draw = ImageDraw.Draw(self.image)
        self.regions: list[TrueRegion] = []
        self.width, self.height, self.point, self.size = width, height, point, size
        self.face, self.random = face, Random(seed)
        self.writer = Writer(self.random)
        self.ink = 0
        self.margin = max(self.random.uniform(0.06, 0.1) * min(width, height), size)

    def font(self, scale: float = 1.0, *, bold: bool = False, italic: bool = False) -> Font:
        """The sheet's typeface at a multiple of its size."""
        return self.face.font(self.size * scale, bold=bold, italic=italic)

    def room(self, text: str, width: float, scale: float) -> float:
        """1, or the part of a bold font's scale at which the longest word is no wider."""
        font = self.font(scale, bold=True)
        return min(1.0, width / max(map(font.getlength, text.split())))

    def begin(self, kind: str = PARAGRAPH) -> None:
        """Let a region begin."""
        self.regions.append(TrueRegion(kind))

    def set_line(
        self, text: str, x: float, baseline: float, font: Font, *, width: float | None = None
    ) -> None:
        """Set a line from x on; width -- spread its words over as many pixels."""
        words = text.split(" ")
        space = font.getlength(" ")
        if width is not None and len(words) > 1:
            spread = (width - sum(map(font.getlength, words))) / (len(words) - 1)
            space = spread if spread < WIDEST * space else space
        at, right = x, x
        left = x + font.getbbox(words[0], anchor="ls")[0]
        for word in words:
            self.draw.text((at, baseline), word, fill=self.ink, font=font, anchor="ls")
            right = at + font.getbbox(word, anchor="ls")[2]
            at += font.getlength(word) + space
        top = baseline + font.getbbox("dl", anchor="ls")[1]
        bottom = baseline + font.getbbox("p", anchor="ls")[3]
        outline = ((left, top), (right, top), (right, bottom), (left, bottom))
        line = TrueLine(text, outline, ((left, baseline), (right, baseline)))
        self.regions[-1].lines.append(line)

    def set_ink_line(self, text: str, x: float, baseline: float, font: Font) -> None:
        """Set a line whose outline is that of its ink, as of an initial."""
        self.set_line(text, x, baseline, font)
        left, top, right, bottom = font.getbbox(text, anchor="ls")
        box = (x + left, baseline + top, x + right, baseline + bottom)
        line = self.regions[-1].lines[-1]
        line.outline = (box[:2], (box[2], box[1]), box[2:], (box[0], box[3]))

    def paragraph(
        self,
        text: str,
        left: float,
        top: float,
        width: float,
        *,
        bottom: float | None = None,
        font: Font | None = None,
        leading: float = 1.3,
        justified: bool = False,
        indents: Sequence[float] = (),
        kind: str = PARAGRAPH,
        align: str = "left",
    ) -> float:
        """Set a text as a region of lines, and return where the next may begin.

        bottom -- lines that would end below it are left out. leading -- distance of lines in ems.
        indents -- of the first lines, in pixels
        """
        font = font or self.font()
        size = font.size
        bottom = self.height - self.margin if bottom is None else bottom
        baseline = top + 0.8 * size
        self.begin(kind)
        lines = wrapped(text, font, width, indents)
        for number, (line, indent) in enumerate(lines):
            if baseline + 0.25 * size > bottom:
                break
            full = justified and number < len(lines) - 1
            room = width - indent
            spare = {"left": 0.0, "center": 0.5, "right": 1.0}[align] * (
                room - font.getlength(line)
            )
            x = left + indent + (0 if full else spare)
            self.set_line(line, x, baseline, font, width=room if full else None)
            baseline += leading * size
        if not self.regions[-1].lines:
            self.regions.pop()
        return baseline - 0.8 * size

    def rule(self, x: float, y: float, to_x: float, to_y: float, width: float = 1.0) -> None:
        """A straight line; width -- in points."""
        pixels = max(round(width * self.point), 1)
        self.draw.line((x, y, to_x, to_y), fill=self.ink, width=pixels)


def wrapped(
    text: str, font: Font, width: float, indents: Sequence[float] = ()
) -> list[tuple[str, float]]:
    """A text in lines of at most a width, each with its indent; a wider word stands alone."""
    lines: list[tuple[str, float]] = []
    line = ""
    for word in text.split():
        indent = indents[len(lines)] if len(lines) < len(indents) else 0.0
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width - indent:
            lines.append((line, indent))
            longer = word
        line = longer
    indent = indents[len(lines)] if len(lines) < len(indents) else 0.0
    return [*lines, (line, indent)] if line else lines


def layout(image: str, size: tuple[int, int], regions: Sequence[TrueRegion]) -> Layout:
    """The truth of a page; regions -- in pixels of its image, as the size."""
    return Layout(tuple(map(_region, regions)), size, image)


def _region(region: TrueRegion) -> Region:
    lines = tuple(map(_line, region.lines))
    around = box_around(point for line in lines for point in line.polygon)
    return Region(lines, around, kind=region.kind)


def _line(line: TrueLine) -> Line:
    polygon = _whole(line.outline)
    return Line(line.text, box_around(polygon), polygon, _whole(line.baseline))


def _whole(points: Corners) -> Points:
    return tuple((max(round(x), 0), max(round(y), 0)) for x, y in points)
