"""Pages as text, JSON, a table and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..images.boxes import Box
from .layout import Layout, Line, Region

COLUMNS = (  # Tesseract's
    *("level", "page_num", "block_num", "par_num", "line_num", "word_num"),
    *("left", "top", "width", "height", "conf", "text"),
)
TITLES = ("heading", "header-main", "title")


def to_text(layout: Layout) -> str:
    """Lines of text, with an empty line between regions."""
    return layout.text + "\n" if layout.text else ""


def to_markdown(layout: Layout) -> str:
    """Regions as paragraphs, headings as titles."""
    texts = [(region, region.text) for region in layout.regions if region.text]
    parts = [_title(text) if region.kind in TITLES else text for region, text in texts]
    return "\n\n".join(parts) + "\n" if parts else ""


def _title(text: str) -> str:
    return "## " + " ".join(text.split("\n"))


def to_json(layout: Layout) -> str:
    """One object: the page's size, text and confidence, and its regions with their lines."""
    return json.dumps(as_dict(layout), ensure_ascii=False, indent=1) + "\n"


def as_dict(layout: Layout) -> dict[str, Any]:
    """A page as JSON's values; boxes are left, top, right, bottom, and points x, y in pixels."""
    return {
        "image": layout.image,
        "width": layout.size[0],
        "height": layout.size[1],
        "model": layout.model,
        "text": layout.text,
        "confidence": _rounded(layout.confidence),
        "regions": [_region(region) for region in layout.regions],
    }


def _region(region: Region) -> dict[str, Any]:
    return {
        "id": region.id,
        "type": region.kind,
        "box": region.box,
        "polygon": region.polygon,
        "lines": [_line(line) for line in region.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    values = {
        "id": line.id,
        "text": line.text,
        "confidence": _rounded(line.confidence),
        "box": line.box,
        "polygon": line.polygon,
        "baseline": line.baseline,
        "words": [
            {"text": word.text, "box": word.box, "confidence": _rounded(word.confidence)}
            for word in line.words
        ],
        "alternatives": [
            {"text": other.text, "confidence": _rounded(other.confidence)}
            for other in line.alternatives
        ],
    }
    return values if line.error is None else {**values, "error": str(line.error)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def to_tsv(layout: Layout, number: int = 0) -> str:
    """A row for the page, each region, line and word, with the columns of Tesseract's tables."""
    return "\n".join("\t".join(row) for row in [COLUMNS, *_rows(layout, number + 1)]) + "\n"


def _rows(layout: Layout, page: int) -> Iterator[tuple[str, ...]]:
    yield _row(1, (page, 0, 0, 0, 0), (0, 0, *layout.size))
    for block, region in enumerate(layout.regions, 1):
        yield _row(2, (page, block, 0, 0, 0), region.box)
        yield _row(3, (page, block, 1, 0, 0), region.box)
        for place, line in enumerate(region.lines, 1):
            yield _row(4, (page, block, 1, place, 0), line.box)
            words = line.fitting_words
            if not words:
                yield _row(5, (page, block, 1, place, 1), line.box, line.confidence, line.text)
            for index, word in enumerate(words, 1):
                where = page, block, 1, place, index
                yield _row(5, where, word.box, word.confidence, word.text)


def _row(
    level: int, where: tuple[int, ...], box: Box, confidence: float | None = None, text: str = ""
) -> tuple[str, ...]:
    left, top, right, bottom = box
    numbers = map(str, (level, *where, left, top, right - left, bottom - top))
    conf = "-1" if confidence is None else f"{100 * confidence:.2f}"
    return (*numbers, conf, " ".join(text.split()))
