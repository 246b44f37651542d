"""Reading pictures: a path, a URL, bytes, a Pillow image or an array becomes 8-bit RGB."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError

PIXEL_LIMIT = 89_478_485  # where Pillow begins to warn; an A3 page at 600 dpi has 70 million
BYTE_LIMIT = 100 * 2**20  # of a download
TIMEOUT = 30.0  # seconds without a byte from a server
CHANNELS = (1, 3, 4)
_opening = threading.Lock()  # warning filters belong to the process, not to the thread


class SupportsArray(Protocol):
    """What numpy can read: arrays of numpy, MLX, torch and others."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """The values as numpy's."""
        ...


ImageSource = str | os.PathLike[str] | bytes | Image.Image | SupportsArray

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


def image_files(folder: str | Path) -> list[Path]:
    """The files of a folder that are named as images, by name; folders in it are left out."""
    endings = Image.registered_extensions()
    return sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in endings)


def images_in(folder: str | Path) -> list[Path]:
    """The image files of a folder, by name; an `ImageError` where there are none."""
    found = image_files(folder)
    if not found:
        raise ImageError(f"folder {folder} has no images; name image files, or another folder")
    return found


def numbers_of(source: object) -> np.ndarray | None:
    """An array (H, W, C) of another type than uint8 as it is; None for every other source."""
    if isinstance(source, Image.Image) or not hasattr(source, "__array__"):
        return None
    values = _image_array(source)
    return None if values.dtype == np.uint8 else values.reshape(*values.shape[:2], -1)


def grey_levels(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Numbers of any type as uint8, and whether they were floats from 0 to 1.

    As in transformers, whole numbers from 0 to 255 are levels, and floats from 0 to 1 are cut, not
    rounded, to 255 of them.
    """
    low, high = (float(extreme) for extreme in (values.min(), values.max()))
    if values.dtype == np.uint16 and high > 255:
        return _to_8_bits(values), False
    whole = low >= 0 and high <= 255 and np.allclose(values, np.trunc(values))
    if not whole and not (low >= 0 and high <= 1):
        raise ImageError(
            f"image holds {values.dtype} values from {low:g} to {high:g}; expected whole numbers "
            "from 0 to 255, or floats from 0 to 1; scale them"
        )
    scaled = values if whole else (values.astype(np.float64) * 255).astype(np.float32)
    return scaled.astype(np.uint8), not whole


def load_image(source: ImageSource) -> Image.Image:
    """Read a picture from wherever it is, as 8-bit RGB, the way up its EXIF data says.

    A source is a path, an http(s) URL (up to 100 MiB), the bytes of a file, `"-"` (those on
    standard input), a Pillow image or an array. Arrays are (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4), channels last: uint8, bool, uint16, or floats from 0 to 1.

    8-bit RGB passes unchanged. Transparency is laid on white. Deeper greys (uint16, Pillow's I;16
    and I) are divided by 257 and rounded; floats (also Pillow's F) are multiplied by 255 and
    rounded; 16-bit colour files arrive as Pillow reads them, cut to their high bytes. Of several
    frames the first is read, and colour profiles are not applied. A picture has at least 2 pixels
    on each side and at most 89,478,485 in all, which is checked before it is decoded.

    >>> load_image(np.zeros((32, 384), dtype=np.uint8)).size
    (384, 32)
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), f"an image of {len(source)} bytes")
    if isinstance(source, str) and source == "-":
        return _decode(io.BytesIO(sys.stdin.buffer.read()), "standard input")
    if isinstance(source, str) and is_url(source):
        return _decode(io.BytesIO(_download(source)), source)
    if isinstance(source, (str, os.PathLike)):
        return _decode(Path(source), str(source))
    if hasattr(source, "__array__"):
        return _from_array(source)
    raise ImageError(
        f"image is a {type(source).__name__}; expected a path, a URL, bytes, a Pillow image or an "
        "array; several images go as a list to the processor"
    )


def _download(url: str) -> bytes:
    from http.client import HTTPException  # these start slowly, and few images come from the net
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"User-Agent": "mlx_vedec"})
        with urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(BYTE_LIMIT + 1)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it keeps the connection
        raise ImageError(
            f"{url} cannot be downloaded ({error}); check the address, or give a file"
        ) from error
    if len(content) > BYTE_LIMIT:
        raise ImageError(f"{url} has over {BYTE_LIMIT} bytes, the limit; shrink it, or give a file")
    return content


def check_header(path: str | os.PathLike[str]) -> None:
    """Raise `ImageError` for a file that is no image or too large; only its header is read."""
    with _reading(str(path)), _open(Path(path)) as image:
        check_size(image.size, str(path))


def _decode(source: Path | BinaryIO | Image.Image, name: str) -> Image.Image:
    with _reading(name):
        if isinstance(source, Image.Image):
            return _upright_rgb(source, name)
        with _open(source) as image:
            return _upright_rgb(image, name)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Make an `ImageError` of what goes wrong with an image of this name."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        damaged = f"{DAMAGED} ({type(error).__name__}: {error})"
        raise ImageError(f"{name} {READ_FAILURES.get(type(error), damaged)}") from error


def _open(source: Path | BinaryIO) -> Image.Image:
    """The image with its header read, without Pillow's own warning about the size."""
    source = source.expanduser() if isinstance(source, Path) else source
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source)


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    check_size(image.size, name)
    return to_rgb(ImageOps.exif_transpose(image))


def check_size(size: tuple[int, int], name: str) -> None:
    """Raise `ImageError` for a width and height that are too small to read or too large to hold."""
    width, height = size
    if min(size) < 2:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected at least 2 on each side; "
            "check that it is the picture you mean"
        )
    if width * height > PIXEL_LIMIT:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected at most {PIXEL_LIMIT} in all; "
            "make it smaller or cut it up"
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes; `load_image` says how."""
    if image.mode[0] in "FI":
        image = Image.fromarray(_to_8_bits(_as_16_bits(np.asarray(image))))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _as_16_bits(values: np.ndarray) -> np.ndarray:
    """Pillow's mode I keeps 16-bit greys in 32 bits."""
    if values.dtype.kind != "i" or values.min() < 0 or values.max() > 65535:
        return values
    return values.astype(np.uint16)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        return values * np.uint8(255)
    if kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind == "f" and values.min() >= 0 and values.max() <= 1:
        return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    bounds = f" from {values.min()} to {values.max()}" if kind in "fiu" else ""
    raise ImageError(
        f"image holds {values.dtype} values{bounds}; expected uint8, uint16, or floats from 0 to "
        "1; scale them, or cast with .astype('uint8')"
    )


def _from_array(source: SupportsArray) -> Image.Image:
    values = _image_array(source)
    pixels = _to_8_bits(values[..., 0] if values.shape[2:] == (1,) else values)
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _image_array(source: Any) -> np.ndarray:
    """The values (H, W) or (H, W, C) of an array; an `ImageError` for those of no picture."""
    try:
        values = np.asarray(source)
    except Exception as error:  # each array library has its own, as MLX has for bfloat16
        raise ImageError(
            f"array cannot be read by numpy ({error}); expected uint8 or float32; cast it first"
        ) from error
    shape = values.shape
    if len(shape) == 3 and shape[0] in CHANNELS and shape[2] not in CHANNELS:
        raise ImageError(
            f"array of shape {shape} has its channels first; expected (height, width, channels); "
            "transpose it with array.transpose(1, 2, 0)"
        )
    if len(shape) not in (2, 3) or shape[2:] not in ((), *((n,) for n in CHANNELS)):
        raise ImageError(
            f"array of shape {shape} is no image; expected (height, width) or (height, width, "
            "channels) with 1, 3 or 4 channels; give several images as a list"
        )
    check_size((shape[1], shape[0]), "the array")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ImageError(
            f"array holds {values.dtype} values, some of them nan or no numbers; expected uint8 or "
            "float32; cast or clean it first"
        )
    return values
