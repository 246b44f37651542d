"""The formats of layouts: told apart, read, and written by their names; text, JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ..errors import LayoutError, OptionError, shown
from ..images.boxes import Box
from ..images.loading import irregular
from . import alto, alto_writing, hocr, page_xml
from .layout import Layout, Line, Region, Size
from .xml_parsing import parse, parse_html
from .xml_tree import Document

READERS = (
    (page_xml.is_page, page_xml.read),
    (alto.is_alto, alto.read),
    (hocr.is_hocr, hocr.read),
)
ENDINGS = {
    "text": ".txt",
    "json": ".json",
    "page": ".xml",
    "alto": ".xml",
    "hocr": ".hocr",
    "tsv": ".tsv",
    "markdown": ".md",
    "pdf": ".pdf",
}
WITH_WORDS = ("page", "alto", "hocr", "tsv", "json", "pdf")  # formats that say where words stand
COLUMNS = (  # Tesseract's
    *("level", "page_num", "block_num", "par_num", "line_num", "word_num"),
    *("left", "top", "width", "height", "conf", "text"),
)
TITLES = ("heading", "header-main", "title")
LARGEST = 200 * 2**20  # bytes of a layout; 100,000 lines with their words have about 60 million


def check_format(name: str) -> str:
    """The name of a format; an `OptionError` for another."""
    if not isinstance(name, str) or name not in ENDINGS:
        raise OptionError(f"format is {shown(name)}; expected {', '.join(ENDINGS)}")
    return name


def format_of(path: Path) -> str:
    """The format that a file's name stands for; `.xml` is PAGE."""
    endings = {ending: name for name, ending in reversed(ENDINGS.items())}
    endings |= {".html": "hocr", ".htm": "hocr", ".xml": "page"}
    if path.suffix.lower() not in endings:
        raise OptionError(f"{path.name} names no format; give format={', '.join(ENDINGS)}")
    return endings[path.suffix.lower()]


def to_bytes(layout: Layout, name: str) -> bytes:
    """A layout in a format."""
    written = WRITERS[check_format(name)](layout)
    return written.to_bytes() if isinstance(written, Document) else written.encode("utf-8")


def read_document(path: Path) -> Document:
    """The document of a file, XML or HTML; a `LayoutError` for another or a broken one."""
    if kind := irregular(path):
        raise LayoutError(f"{path} is {kind}; expected a regular file; save what it gives")
    try:
        if path.stat().st_size > LARGEST:
            raise LayoutError(f"{path} has over {LARGEST} bytes; expected the layout of a page")
        data = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"{path} cannot be read ({error.strerror}); check the path") from error
    start = data[:2000].lower()
    try:
        return parse(data, str(path))
    except LayoutError as error:
        if isinstance(error.__cause__, expat.ExpatError) and b"<html" in start:
            return parse_html(data, str(path))
        raise


def is_layout(document: Document) -> bool:
    """Whether a document is in a format that is read here."""
    return any(knows(document) for knows, _ in READERS)


def layouts_of(
    document: Document, name: str, picture: Size | None = None, dpi: float | None = None
) -> list[Layout]:
    """The layouts of a document's pages, in pixels of the image where its size is given."""
    for knows, read in READERS:
        if knows(document):
            return read(document, name, picture, dpi)
    raise LayoutError(
        f"{name} is a document of <{document.root.tag[:40]}>; expected PAGE (2010 to 2019), "
        "ALTO (2 to 4) or hOCR; convert it"
    )


# Text, JSON, a table and Markdown


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
        "lines": [line_dict(line) for line in region.lines],
    }


def line_dict(line: Line) -> dict[str, Any]:
    """A line as JSON's values, as `as_dict` has it."""
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


WRITERS: dict[str, Callable[[Layout], str | Document]] = {
    "text": to_text,
    "json": to_json,
    "page": page_xml.write,
    "alto": alto_writing.write,
    "hocr": hocr.write,
    "tsv": to_tsv,
    "markdown": to_markdown,
}
