"""The formats of layouts: told apart, read, and written by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

from ..errors import LayoutError, OptionError
from . import alto, alto_writing, hocr, page_xml, page_xml_writing, plain
from .layout import Layout, Size
from .xml_parsing import parse, parse_html
from .xml_tree import Document

READERS = (
    (page_xml.is_page, page_xml.read),
    (alto.is_alto, alto.read),
    (hocr.is_hocr, hocr.read),
)
WRITERS: dict[str, Callable[[Layout], str | Document]] = {
    "text": plain.to_text,
    "json": plain.to_json,
    "page": page_xml_writing.write,
    "alto": alto_writing.write,
    "hocr": hocr.write,
    "tsv": plain.to_tsv,
    "markdown": plain.to_markdown,
}
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
LARGEST = 200 * 2**20  # bytes of a layout; 100,000 lines with their words have about 60 million


def check_format(name: str) -> str:
    """The name of a format; an `OptionError` for another."""
    if name not in ENDINGS:
        raise OptionError(f"format is {name!r}; expected {', '.join(ENDINGS)}")
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
