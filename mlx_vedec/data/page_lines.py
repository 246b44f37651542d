"""Lines of pages whose layouts have their texts: PAGE, ALTO and hOCR files with their images.

A line's image is cut as `read_page` cuts it. Of several layouts of one page PAGE goes before ALTO,
and ALTO before hOCR.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import DataError, counted
from ..images.loading import upright_size
from ..pages.formats import layouts_of, read_document
from ..pages.layout import Layout
from ..pages.sheets import FOLDERS, LAYOUTS, Sheet, bare_stem, image_named, sheets_of
from ..pages.strips import outline_of
from .listing import DataLayout, Listing, Source, head_of
from .samples import CollectedErrors, RowOptions, Sample, check_no_columns, whole
from .stored import CutPage, LineImage, Spool

MARKS = tuple(
    re.compile(mark) for mark in (rb"<(?:\w+:)?PcGts\b", rb"<(?:\w+:)?alto\b", rb"\bocr_page\b")
)
LOOKED_AT = 20_000  # bytes in which a layout says what it is


def _rank(path: Path) -> int | None:
    """The place of a file's format among those of layouts, None for another file."""
    head = head_of(path, LOOKED_AT)
    return next((place for place, mark in enumerate(MARKS) if mark.search(head)), None)


def _layouts_in(listing: Listing) -> list[Path]:
    """The layout files in a folder, or in `page`, `alto`, `hocr` or `xml` there, one per page."""
    best: dict[str, tuple[int, Path]] = {}
    for place in (listing, *listing.inner(*FOLDERS, "xml")):
        for path in place.ending(*LAYOUTS):
            rank, stem = _rank(path), bare_stem(path)
            if rank is not None and (stem not in best or rank < best[stem][0]):
                best[stem] = rank, path
    return [path for _, path in best.values()]


@dataclass
class _Reading:
    """The lines of pages as they are read."""

    spool: Spool = field(default_factory=Spool)
    errors: CollectedErrors = field(default_factory=CollectedErrors)
    samples: list[Sample] = field(default_factory=list)
    silent: int = 0  # lines without a text

    def add(self, path: Path) -> None:
        """Read the lines of a file."""
        for sheet, layout in _pages(path):
            own = [line for line in layout.lines if line.text.strip()]
            self.silent += len(layout.lines) - len(own)
            page = CutPage(sheet, own, self.spool)
            size = layout.size if min(layout.size) else upright_size(sheet.path or path)
            for number, line in enumerate(own):
                where = f"{path}:{line.id[:60] or number + 1}"
                with self.errors.at(where):
                    outline_of(line, size)
                    text = whole(line.text.strip("\r\n"))
                    image = LineImage(page, number)
                    self.samples.append(Sample(image, text, where=where, page=sheet.name))


def _pages(path: Path) -> Iterator[tuple[Sheet, Layout]]:
    """The pages of a layout file, and the layout of each.

    The layout of a single page is laid over its image; several have to be in their image's pixels.
    """
    document = read_document(path)
    layouts = layouts_of(document, str(path))
    images = [image_named(path, layout.image) for layout in layouts]
    if len(layouts) == 1:
        layouts = layouts_of(document, str(path), upright_size(images[0]))
    flat = sheets_of(images[0]) if len(set(images)) == 1 else [sheets_of(i)[0] for i in images]
    if len(flat) < len(layouts) or len(set(images)) not in (1, len(images)):
        raise DataError(
            f"{path} has {len(layouts)} pages of {len(set(images))} images; expected an image for "
            "each, or one with as many pages"
        )
    return zip(flat, layouts, strict=False)


def read_pages(paths: Sequence[Path], options: RowOptions) -> list[Sample]:
    """The lines of pages that have a text; an error lists the lines that cannot be cut."""
    check_no_columns(options, "lines of pages")
    reading = _Reading()
    for path in paths:
        with reading.errors.at():
            reading.add(path)
    reading.errors.raise_any()
    lines = counted(reading.silent, "line")
    if not reading.samples:
        raise DataError(
            f"{paths[0]}{_and_more(paths)} have {lines}, and none has a text; "
            "expected lines with TextEquiv (PAGE), String (ALTO) or words (hOCR); export them with "
            "their texts, or write them"
        )
    if reading.silent:
        warnings.warn(
            f"{paths[0]}{_and_more(paths)}: left out {lines} without a text",
            stacklevel=2,
        )
    return reading.samples


def _and_more(paths: Sequence[Path]) -> str:
    return f" and {len(paths) - 1} more" if len(paths) > 1 else ""


def _find(listing: Listing) -> list[Source]:
    paths = _layouts_in(listing)
    name = f"{paths[0].name}{_and_more(paths)}" if paths else ""
    return [Source(name, partial(read_pages, paths))] if paths else []


def _of_file(path: Path) -> Source | None:
    if path.suffix.lower() not in LAYOUTS or _rank(path) is None:
        return None
    return Source(path.name, partial(read_pages, [path]))


def _near(listing: Listing) -> list[str]:
    others = [path.name for path in listing.ending(*LAYOUTS) if _rank(path) is None]
    return [f"{others[0]} is neither PAGE nor ALTO nor hOCR"] if others else []


PAGES = DataLayout(
    "pages",
    "pages with their layouts, PAGE, ALTO or hOCR, whose lines have texts",
    _find,
    _of_file,
    _near,
)
