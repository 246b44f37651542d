"""Reading pictures: a path, a URL, bytes, a Pillow image or an array becomes 8-bit RGB."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError, as_path, shown
from ..files import near
from .arrays import as_16_bits, image_array, to_8_bits
from .boxes import PIXEL_LIMIT, Size, check_size
from .deferred import DeferredImage
from .downloads import download, standard_input
from .heif import ENDINGS, kind_of, make_readable

PAGED = {"TIFF": "pages", "GIF": "frames", "PNG": "frames", "WEBP": "frames"}  # in one file
PDF_ADVICE = (
    "a PDF; read its pages with read_pages, or on the command line with generate, after "
    "pip install 'mlx-vedec[pdf]'"
)
TURNED = (5, 6, 7, 8)  # values of EXIF's Orientation by which width and height change places
_opening = threading.Lock()  # warning filters belong to the process, not to the thread


class SupportsArray(Protocol):
    """What numpy can read: arrays of numpy, MLX, torch and others."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """The values as numpy's."""
        ...


ImageSource = str | os.PathLike[str] | bytes | Image.Image | DeferredImage | SupportsArray

# What a failure to read means to the caller; damaged files make Pillow raise errors of every kind.
READ_FAILURES: dict[type[Exception], str] = {
    FileNotFoundError: "does not exist; expected an image file; check the path",
    IsADirectoryError: "is a folder; expected an image file; give one inside it",
    UnidentifiedImageError: "is in no format Pillow knows; expected PNG, JPEG, TIFF or the like; "
    "convert it, or check that it is an image",
    Image.DecompressionBombError: f"is too large; expected at most {PIXEL_LIMIT} pixels; cut it up",
}
DAMAGED = "is damaged or cannot be read; expected a whole image; save or download it again"


def is_url(source: object) -> bool:
    """Whether a source is an address that `load_image` downloads from."""
    return isinstance(source, str) and re.match("https?://", source, re.IGNORECASE) is not None


def image_endings() -> list[str]:
    """The endings of the names of image files, as ".png"; .pdf is one of them."""
    return [*dict.fromkeys((*Image.registered_extensions(), *ENDINGS))]


def image_files(folder: str | Path) -> list[Path]:
    """The files of a folder that are named as images, by name.

    PDFs are left out with a warning, as they are pages of another reader.
    """
    endings = image_endings()
    found = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in endings)
    pdfs = [path.name for path in found if path.suffix.lower() == ".pdf"]
    if pdfs:
        more = f" and {len(pdfs) - 3} more" if len(pdfs) > 3 else ""
        warnings.warn(
            f"{folder}: skipped {', '.join(pdfs[:3])}{more}, no image but {PDF_ADVICE}",
            stacklevel=2,
        )
    return [path for path in found if path.suffix.lower() != ".pdf"]


def images_in(folder: str | Path) -> list[Path]:
    """The image files of a folder, by name; an `ImageError` where there are none."""
    found = image_files(folder)
    if not found:
        raise ImageError(f"folder {folder} has no images; name image files, or another folder")
    return found


def load_image(source: ImageSource) -> Image.Image:
    """Read a picture from wherever it is, as 8-bit RGB, the way up its EXIF data says.

    A source is a path, an http(s) URL, the bytes of a file, `"-"` (those on standard input), a
    Pillow image or an array; URLs and standard input go up to 100 MiB. Arrays are (H, W), (H, W,
    1), (H, W, 3) or (H, W, 4), channels last: uint8, bool, uint16, or floats from 0 to 1.

    8-bit RGB passes unchanged. Transparency is laid on white. Deeper greys (uint16, Pillow's I;16
    and I) are divided by 257 and rounded; floats (also Pillow's F) are multiplied by 255 and
    rounded; 16-bit colour files arrive as Pillow reads them, cut to their high bytes. HEIC files
    need the extra `heic`, and AVIF files Pillow 11.3 or newer. Of several pages or frames the first
    is read, with a warning, and colour profiles are not applied. A
    picture has at least 2 pixels on each side, at most a million there, and at most 89,478,485 in
    all, which is checked before it is decoded.

    >>> load_image(np.zeros((32, 384), dtype=np.uint8)).size
    (384, 32)
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the image")
    if isinstance(source, DeferredImage):
        return source.load()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), f"an image of {len(source)} bytes")
    if isinstance(source, str) and source == "-":
        return _decode(io.BytesIO(standard_input()), "standard input")
    if isinstance(source, str) and is_url(source):
        return _decode(io.BytesIO(download(source)), source[:300])
    if isinstance(source, (str, os.PathLike)):
        return _decode(_existing(source), str(source)[:300])
    if hasattr(source, "__array__"):
        return _from_array(source)
    raise ImageError(
        f"image is a {type(source).__name__}; expected a path, a URL, bytes, a Pillow image or an "
        "array; several images go as a list to the processor"
    )


def _existing(source: str | os.PathLike[str]) -> Path:
    """A path, where there is something; an error with the nearest name there where not."""
    try:
        path = as_path(source, "image")
        missing = not path.exists()
    except (OSError, ValueError) as error:
        raise ImageError(
            f"image {shown(str(source))} cannot be read ({str(error)[:90]}); expected a whole image"
        ) from error
    if missing:
        raise ImageError(f"{source} {READ_FAILURES[FileNotFoundError]}; {near(path)}")
    return path


def header_size(path: str | os.PathLike[str]) -> Size:
    """The (width, height) that a file's header says, before the picture is turned upright.

    `ImageError` for a file that is no image or too large.
    """
    with _header(Path(path), str(path)) as image:
        return image.size


def upright_size(path: str | os.PathLike[str]) -> Size:
    """As `header_size`, the way up that the file's EXIF data says."""
    with _header(Path(path), str(path)) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
        return (image.height, image.width) if turned else image.size


def header_of(content: bytes) -> tuple[str, Size]:
    """The format of an image file's content, such as "PNG", and its (width, height) there.

    `ImageError` for what is no image or too large.
    """
    with _header(io.BytesIO(content), f"an image of {len(content)} bytes") as image:
        return image.format or "", image.size


@contextmanager
def _header(source: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """An image of which the header alone is read."""
    with _reading(name), _open(source, name) as image:
        check_size(image.size, name)
        yield image


def _decode(source: Path | BinaryIO | Image.Image, name: str) -> Image.Image:
    if isinstance(source, Image.Image):
        with _reading(name):
            return _upright_rgb(source, name)
    with _header(source, name) as image:
        _warn_of_more(image, name)
        return _upright_rgb(image, name)


def _warn_of_more(image: Image.Image, name: str) -> None:
    """Warn of a file of several pages or frames, of which only the first is read."""
    try:
        several = image.format in PAGED and getattr(image, "is_animated", False)
    except Exception:  # a later page is damaged: that of the first is said where it is read
        return
    if several:
        warnings.warn(
            f"{name} has several {PAGED[image.format or '']}, and only the first is read; "
            "read_pages, or generate on the command line, reads all of a TIFF's",
            stacklevel=4,
        )


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Make an `ImageError` of what goes wrong with an image of this name."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        damaged = f"{DAMAGED} ({type(error).__name__}: {str(error)[:200]})"
        raise ImageError(f"{name} {READ_FAILURES.get(type(error), damaged)}") from error


def _open(source: Path | BinaryIO, name: str) -> Image.Image:
    """The image with its header read, without Pillow's own warning about the size."""
    source = source.expanduser() if isinstance(source, Path) else source
    if isinstance(source, Path) and (kind := irregular(source)):
        raise ImageError(
            f"{source} is {kind}; expected a regular file; give - as the image, and pipe it in"
        )
    try:
        return _identified(source)
    except UnidentifiedImageError:
        if _is_pdf(source):
            raise ImageError(f"{name} is no image but {PDF_ADVICE}") from None
        kind = kind_of(source)
        if kind is None:
            raise
        make_readable(kind, name)
        return _identified(source)


def _identified(source: Path | BinaryIO) -> Image.Image:
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source)


def _is_pdf(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _is_pdf(file)
    source.seek(0)
    return b"%PDF-" in source.read(1024)


def irregular(path: Path) -> str | None:
    """What a path is that is neither a file nor a folder: reading it might never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    kinds = {
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((kind for fits, kind in kinds.items() if fits(mode)), None)


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    check_size(image.size, name)
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes, itself if it is; `load_image` says how."""
    if image.mode[0] in "FI":
        image = Image.fromarray(to_8_bits(as_16_bits(np.asarray(image))))
    if image.mode == "La":  # of which Pillow knows no other way on
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def as_file(image: Image.Image, kind: str, **how: Any) -> bytes:
    """The bytes of a picture as a file, of a kind such as "PNG"; how -- options of Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _from_array(source: SupportsArray) -> Image.Image:
    values = image_array(source)
    pixels = to_8_bits(values[..., 0] if values.shape[2:] == (1,) else values)
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
