"""The pages behind what a user names, files, folders or patterns, and the layouts of each."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image, ImageSequence

from ..errors import ImageError, LayoutError, OptionError, as_path
from ..images.loading import image_endings, images_in, is_url, load_image
from . import pdf
from .formats import is_layout, layouts_of, read_document
from .layout import Layout, Size

LAYOUTS = (".xml", ".hocr", ".html", ".htm")
MANY = (".tif", ".tiff")  # images that may have several pages
FOLDERS = ("page", "alto", "hocr")  # below an image's, where Transkribus and others put layouts
Given = str | Path | Layout | bool | None  # a layout, its file, a folder of them, False for none


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
    if isinstance(source, str) and (source == "-" or is_url(source)):
        name = source
        stem = Path(source.split("?")[0]).stem if source != "-" else "stdin"
        return [Sheet(name, stem or "page", partial(load_image, source))]
    if not isinstance(source, (str, os.PathLike)):
        return [Sheet("the image", "page", partial(load_image, source))]
    path = as_path(source, "image")
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
    known = {*image_endings(), ".pdf"}
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in known)
    found = found or sorted(path for path in folder.iterdir() if path.suffix.lower() in LAYOUTS)
    return found or images_in(folder)  # whose error says what is missing


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
    known = {".page", ".alto", ".hocr", *image_endings()}
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
        return [failing(Sheet(str(path), path.stem, partial(load_image, path), path), error)]
    return _numbered(path, count, partial(pdf.render, path))


def failing(sheet: Sheet, error: ValueError) -> Sheet:
    """A page that cannot be read, for a reason that reading it gives."""
    return replace(sheet, load=partial(_fail, error))


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


# Which layout belongs to which image, by their names and places


def layout_for(sheet: Sheet, given: Given, picture: Image.Image | None) -> Layout | None:
    """The layout of a page; None where there is none.

    picture -- the page's, which the layout is laid over; None where it could not be read

    given -- a layout, a file, or a folder with a file of the image's name; None looks beside the
    image, and in folders `page`, `alto` and `hocr` there; False is none
    """
    if isinstance(given, Layout):
        return given
    if given is False:
        return None
    path = sheet.layout or _file_for(sheet, None if given is True else given)
    if path is None:
        return None
    dpi = picture.info.get("dpi", (None,))[0] if picture else None
    size = picture.size if picture else None
    found = layouts_of(read_document(path), str(path), size, dpi and float(dpi))
    return _of_page(found, sheet, path)


def _of_page(layouts: list[Layout], sheet: Sheet, path: Path) -> Layout:
    """The layout of a sheet among those of a file's pages: by its image's name, or its number."""
    if len(layouts) == 1:
        return layouts[0]
    own = sheet.path.name if sheet.path else ""
    named = [layout for layout in layouts if own and Path(_local(layout.image)).name == own]
    if len(named) == 1:
        return named[0]
    if sheet.count == len(layouts):
        return layouts[sheet.number]
    raise LayoutError(
        f"{path} has {len(layouts)} pages, and none of them names {own or 'the image'}; expected "
        "the layout of one page, or pages that name their images"
    )


def _file_for(sheet: Sheet, given: str | Path | None) -> Path | None:
    if given is not None and not Path(given).is_dir():
        return Path(given)
    if sheet.path is None:
        return None
    if given is not None:
        found = list(_named_as(sheet, Path(given)))
    else:
        own = sheet.path.parent
        places = [own, *(own / name for name in FOLDERS)]
        found = [p for place in places for p in _named_as(sheet, place) if _known(p)]
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:4])
        raise LayoutError(f"{sheet.name} has {len(found)} layouts: {names}; give one as --layout")
    if given is not None and not found:
        raise LayoutError(f"{given} has no layout of {sheet.name}; expected {sheet.path.stem}.xml")
    return found[0] if found else None


def has_layout(sheet: Sheet) -> bool:
    """Whether a layout of a page is beside its image."""
    if sheet.path is None or sheet.layout is not None:
        return sheet.layout is not None
    places = [sheet.path.parent, *(sheet.path.parent / name for name in FOLDERS)]
    return any(_known(path) for place in places for path in _named_as(sheet, place))


def _named_as(sheet: Sheet, folder: Path) -> Iterator[Path]:
    """The layout files of a folder that have a sheet's name."""
    assert sheet.path is not None
    stems = [sheet.stem] if sheet.count == 1 else [sheet.stem, sheet.path.stem]
    names = [n for s in stems for n in (s, f"{s}.page", f"{s}.alto", f"{s}.hocr")]
    names += [sheet.path.name]
    paths = (folder / f"{name}{ending}" for name in names for ending in LAYOUTS)
    return (path for path in paths if path.is_file())


def _known(path: Path) -> bool:
    """Whether a file that merely stands beside an image is a layout; broken ones count."""
    try:
        return is_layout(read_document(path))
    except LayoutError:
        return path.suffix.lower() != ".html"


# From a layout to its image


def with_image(sheet: Sheet) -> Sheet:
    """A sheet that was named by its layout, with the image that this names."""
    if sheet.layout is None:
        return sheet

    def load() -> Image.Image:
        assert sheet.layout is not None
        return load_image(image_of(sheet.layout))

    return replace(sheet, load=load)


def image_of(path: Path) -> Path:
    """The image of a layout file; `image_named` says where it is looked for."""
    layouts = layouts_of(read_document(path), str(path))
    named = list(dict.fromkeys(layout.image for layout in layouts))
    if len(named) > 1:
        raise LayoutError(f"{path} is of {len(named)} images; give them, and --layout {path}")
    return image_named(path, named[0] if named else "")


def image_named(path: Path, name: str) -> Path:
    """The image that a layout file names, or that of its own name, in its folder or one above.

    Names may be quoted (`a%20b.png`), have a folder that is not here, or be addresses, of which
    the last part is looked for: nothing is downloaded. Where the image is in neither folder, the
    folder `images` beside the file's own is looked into.
    """
    folders = [path.parent, path.parent.parent, path.parent.parent / "images"]
    for spelled in dict.fromkeys((_local(name), _local(unquote(name)))) if name else ():
        tails = (spelled, Path(spelled).name)
        for candidate in (folder / tail for tail in tails for folder in folders):
            if candidate.is_file() and candidate.suffix.lower() not in LAYOUTS:
                return candidate
    for folder in folders:
        for ending in image_endings():
            if (candidate := folder / (bare_stem(path) + ending)).is_file():
                return candidate
    wanted = f"the image {name[:200]!r}" if name else "no image"
    raise ImageError(
        f"{path} names {wanted}, and neither that nor one of its own name is in {folders[0]} or "
        f"the folder above; put it there, or give the image, and --layout {path}"
    )


def _local(name: str) -> str:
    """A name as a path: an address's last part, slashes for backslashes."""
    if is_url(name):
        return unquote(name.split("?")[0].rpartition("/")[2])
    return name.removeprefix("file://").replace("\\", "/")


def size_beside(path: Path) -> Size | None:
    """The size of a layout's image, where that is there."""
    try:
        with Image.open(image_of(path)) as image:
            return image.size
    except (ValueError, OSError):
        return None
