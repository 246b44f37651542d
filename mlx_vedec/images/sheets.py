"""A picture that shows other pictures below each other, each with lines of text under it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont, features

WIDTH, MARGIN, GAP, TALLEST = 900, 16, 6, 260  # pixels; of a picture at most TALLEST
TEXT_SIZE, MOST_LINES = 15, 4  # pixels; the lines of a text that are shown
INK, GREY, PAPER = (20, 20, 20), (205, 205, 205), (255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont  # the second where Pillow has no FreeType
Entry = tuple[Image.Image | None, Sequence[str]]


def sheet(entries: Iterable[Entry]) -> Image.Image:
    """Pictures below each other, each above its texts; too large ones are made smaller.

    Characters that the font lacks come out as its box or as a question mark.

    >>> sheet([(Image.new("RGB", (384, 32)), ["read: tea"]), (None, ["no picture"])]).size
    (900, 119)
    """
    font = ImageFont.load_default(TEXT_SIZE if features.check("freetype2") else None)
    strips = [_strip(picture, texts, font) for picture, texts in entries]
    whole = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips) or 1), PAPER)
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    return whole


def _strip(picture: Image.Image | None, texts: Sequence[str], font: Font) -> Image.Image:
    """One picture with its texts below it."""
    room = WIDTH - 2 * MARGIN
    small = picture.copy() if picture else Image.new("RGB", (1, 1), PAPER)
    small.thumbnail((room, TALLEST))
    lines = [line for text in texts for line in wrapped(drawable(text, font), font, room)]
    top, step = MARGIN + small.height + GAP, TEXT_SIZE + GAP
    strip = Image.new("RGB", (WIDTH, top + step * len(lines)), PAPER)
    strip.paste(small, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(strip)
    if picture:
        corners = (MARGIN - 1, MARGIN - 1, MARGIN + small.width, MARGIN + small.height)
        draw.rectangle(corners, outline=GREY)
    for place, line in enumerate(lines):
        draw.text((MARGIN, top + step * place), line, INK, font)
    return strip


def drawable(text: str, font: Font) -> str:
    """A text without characters that move the pen or that cannot be drawn: those are escaped.

    >>> drawable("a\\nb\\ud800", ImageFont.load_default(TEXT_SIZE))
    'a\\\\nb\\\\ud800'
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    plain = "".join(shown)
    if isinstance(font, ImageFont.FreeTypeFont):
        return plain
    return plain.encode("latin-1", "replace").decode("latin-1")


def wrapped(text: str, font: Font, room: int) -> list[str]:
    """The lines of a text in so many pixels of width; after `MOST_LINES` of them it is cut.

    >>> wrapped("abcdef", ImageFont.load_default(TEXT_SIZE), 30)
    ['abc', 'def']
    """
    lines: list[str] = []
    while text and len(lines) < MOST_LINES:
        lengths = range(1, min(len(text), room) + 1)
        fits = bisect_right(lengths, room, key=lambda count: font.getlength(text[:count])) or 1
        lines.append(text[:fits])
        text = text[fits:]
    if text:
        lines[-1] = f"{lines[-1][:-3]}..."
    return lines
