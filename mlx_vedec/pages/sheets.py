"""The pages behind what a user names: files, folders, patterns, and files of many pages."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from ..errors import ImageError, OptionError
from ..images.loading import images_in, load_image
from . import pdf

LAYOUTS = (".xml", ".hocr", ".html", ".htm")
MANY = (".tif", ".tiff")  # images that may have several pages
URL = re.compile("https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """A page that can be read.

    name   -- for messages and results: the file, and for one page of several its number
    stem   -- the name of its result, without an ending
    load   -- gives its picture, RGB, or raises an `ImageError`
    path   -- the file. number -- of the page in it, from 0. count -- pages in the file
    layout -- the file that has its layout, where that was named and not the image
    """

    name: str
    stem: str
    load: Callable[[], Image.Image]
    path: Path | None = None
    number: int = 0
    count: int = 1
    layout: Path | None = None

    @property
    def is_pdf(self) -> bool:
        """Whether it is a page of a PDF."""
        return self.path is not None and self.path.suffix.lower() == ".pdf"


def sheets_of(source: Any) -> list[Sheet]:
    """The pages of an image, a PDF, a layout file, a folder, a pattern such as `scans/*.png`."""
    if isinstance(source, str) and (source == "-" or URL.match(source)):
        name = source
        stem = Path(source.split("?")[0]).stem if source != "-" else "stdin"
        return [Sheet(name, stem or "page", partial(load_image, source))]
    if not isinstance(source, (str, os.PathLike)):
        return [Sheet("the image", "page", partial(load_image, source))]
    path = Path(source).expanduser()
    if path.is_dir():
        return [sheet for inner in _in_folder(path) for sheet in sheets_of(inner)]
    if glob.has_magic(str(path)) and not path.exists():
        return [sheet for inner in _matching(str(path)) for sheet in sheets_of(inner)]
    kind = path.suffix.lower()
    if kind in LAYOUTS and path.is_file():
        return [Sheet(str(path), bare_stem(path), partial(_no_image, path), path, layout=path)]
    if kind == ".pdf":
        return _of_pdf(path)
    return _of_frames(path, _frames(path) if kind in MANY else 1)


def _in_folder(folder: Path) -> list[Path]:
    """A folder's images and PDFs by name; or its layouts, where it has no images."""
    pdfs = [path for path in folder.iterdir() if path.suffix.lower() == ".pdf"]
    try:
        images = [path for path in images_in(folder) if path.suffix.lower() != ".pdf"]
    except ImageError:
        found = pdfs or [path for path in folder.iterdir() if path.suffix.lower() in LAYOUTS]
        if not found:
            raise
        return sorted(found)
    return sorted([*images, *pdfs])


def _matching(pattern: str) -> list[Path]:
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    if not found:
        raise ImageError(f"{pattern} matches no files; check the pattern")
    return [path for path in found if path.is_file()]


def _no_image(path: Path) -> Image.Image:
    raise ImageError(f"{path} names no image that is there; give the image, and --layout {path}")


def bare_stem(path: Path) -> str:
    """A layout's name without what says its format: `a` of `a.page.xml`, `a.png.xml` or `a.xml`."""
    stem = path.stem
    inner = Path(stem)
    known = {".page", ".alto", ".hocr", *Image.registered_extensions()}
    return inner.stem if inner.suffix.lower() in known else stem


def _numbered(path: Path, count: int, load: Callable[[int], Image.Image]) -> list[Sheet]:
    """A sheet for each page of a file, its number behind the name where there are several."""
    digits = len(str(count))
    return [
        Sheet(
            name=f"{path} page {number + 1}" if count > 1 else str(path),
            stem=f"{path.stem}-{number + 1:0{digits}d}" if count > 1 else path.stem,
            load=partial(load, number),
            path=path,
            number=number,
            count=count,
        )
        for number in range(count)
    ]


def _frames(path: Path) -> int:
    """How many pages an image has; one for what cannot be read, so that reading it says why."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # Pillow raises errors of every kind for damaged files
        return 1


def _of_frames(path: Path, count: int) -> list[Sheet]:
    if count == 1:
        return [Sheet(str(path), path.stem, partial(load_image, path), path)]
    return _numbered(path, count, partial(_frame, path))


def _frame(path: Path, number: int) -> Image.Image:
    try:
        with Image.open(path) as image:
            return load_image(ImageSequence.Iterator(image)[number].copy())
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"page {number + 1} of {path} cannot be read ({type(error).__name__}: {error}); "
            "expected a whole image; save it again"
        ) from error


def _of_pdf(path: Path) -> list[Sheet]:
    try:
        count = pdf.count_pages(path)
    except (ImageError, OptionError) as error:
        return [Sheet(str(path), path.stem, partial(_fail, error), path)]
    return _numbered(path, count, partial(pdf.render, path))


def _fail(error: ValueError) -> Image.Image:
    raise error


def all_sheets(sources: Any) -> Iterator[Sheet]:
    """The pages of one source, or of each in turn."""
    several = isinstance(sources, Iterable) and not isinstance(
        sources, (str, bytes, bytearray, os.PathLike)
    )
    if several and not hasattr(sources, "__array__"):
        for source in sources:
            yield from sheets_of(source)
    else:
        yield from sheets_of(sources)
