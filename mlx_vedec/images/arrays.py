"""Arrays of numbers as pictures, and pictures of deeper greys as 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from .boxes import check_size

CHANNELS = (1, 3, 4)
LARGEST = 1e30  # of a float: what is larger does not come through float32


def numbers_of(source: object) -> np.ndarray | None:
    """An array (H, W, C) of another type than uint8 as it is; None for every other source."""
    if isinstance(source, Image.Image) or not hasattr(source, "__array__"):
        return None
    values = image_array(source)
    return None if values.dtype == np.uint8 else values.reshape(*values.shape[:2], -1)


def as_array(image: Image.Image) -> np.ndarray:
    """The pixels (H, W, C) of a picture, also of one with a single channel."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def grey_levels(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Numbers of any type as uint8, and whether they were floats from 0 to 1.

    As in transformers, whole numbers from 0 to 255 are levels, and floats from 0 to 1 are cut, not
    rounded, to 255 of them.
    """
    low, high = (float(extreme) for extreme in (values.min(), values.max()))
    if values.dtype == np.uint16 and high > 255:
        return to_8_bits(values), False
    whole = low >= 0 and high <= 255 and np.allclose(values, np.trunc(values))
    if not whole and not (low >= 0 and high <= 1):
        raise ImageError(
            f"image holds {values.dtype} values from {low:g} to {high:g}; expected whole numbers "
            "from 0 to 255, or floats from 0 to 1; scale them"
        )
    scaled = values if whole else (values.astype(np.float64) * 255).astype(np.float32)
    return scaled.astype(np.uint8), not whole


def image_array(source: Any) -> np.ndarray:
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
    low, high = (values.min(), values.max()) if values.dtype.kind in "biuf" else (np.nan, np.nan)
    if not (float(low) > -LARGEST and float(high) < LARGEST):  # nor are they nan
        raise ImageError(
            f"array holds {values.dtype} values, some of them nan, too large or no numbers; "
            "expected uint8 or float32; cast or clean it first"
        )
    return values


def as_16_bits(values: np.ndarray) -> np.ndarray:
    """Pillow's mode I keeps 16-bit greys in 32 bits."""
    if values.dtype.kind != "i" or values.min() < 0 or values.max() > 65535:
        return values
    return values.astype(np.uint16)


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Values of any type that `load_image` takes as uint8, rounded."""
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
