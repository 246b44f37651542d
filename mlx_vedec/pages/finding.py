"""Which layout belongs to which image, by their names and places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from ..errors import ImageError, LayoutError
from ..images.loading import load_image
from .formats import is_layout, layouts_of, read_document
from .layout import Layout, Size
from .sheets import LAYOUTS, URL, Sheet, bare_stem

Given = str | Path | Layout | bool | None  # a layout, its file, a folder of them, False for none
FOLDERS = ("page", "alto", "hocr")  # below an image's, where Transkribus and others put layouts


def layout_for(
    sheet: Sheet, given: str | Path | Layout | None, picture: Image.Image
) -> Layout | None:
    """The layout of a page whose picture is known; None where there is none.

    given -- a layout, a file, or a folder with a file of the image's name; None looks beside the
    image, and in folders `page`, `alto` and `hocr` there
    """
    if isinstance(given, Layout):
        return given
    path = sheet.layout or _file_for(sheet, given)
    if path is None:
        return None
    dpi = picture.info.get("dpi", (None,))[0]
    found = layouts_of(read_document(path), str(path), picture.size, dpi and float(dpi))
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
    """The image of a layout file: as it names it, or of its own name, in its folder or one above.

    Names may be quoted (`a%20b.png`), have a folder that is not here, or be addresses, of which
    the last part is looked for: nothing is downloaded.
    """
    layouts = layouts_of(read_document(path), str(path))
    named = list(dict.fromkeys(layout.image for layout in layouts))
    if len(named) > 1:
        raise LayoutError(f"{path} is of {len(named)} images; give them, and --layout {path}")
    folders = [path.parent, path.parent.parent]
    for name in [n for n in named if n]:
        for spelled in dict.fromkeys((_local(name), _local(unquote(name)))):
            tails = (spelled, Path(spelled).name)
            for candidate in (folder / tail for tail in tails for folder in folders):
                if candidate.is_file() and candidate.suffix.lower() not in LAYOUTS:
                    return candidate
    for folder in folders:
        for ending in Image.registered_extensions():
            if (candidate := folder / (bare_stem(path) + ending)).is_file():
                return candidate
    wanted = f"the image {named[0][:200]!r}" if named and named[0] else "no image"
    raise ImageError(
        f"{path} names {wanted}, and neither that nor one of its own name is in {folders[0]} or "
        f"the folder above; give the image, and --layout {path}"
    )


def _local(name: str) -> str:
    """A name as a path: an address's last part, slashes for backslashes."""
    if URL.match(name):
        return unquote(name.split("?")[0].rpartition("/")[2])
    return name.removeprefix("file://").replace("\\", "/")


def size_beside(path: Path) -> Size | None:
    """The size of a layout's image, where that is there."""
    try:
        with Image.open(image_of(path)) as image:
            return image.size
    except (ValueError, OSError):
        return None
