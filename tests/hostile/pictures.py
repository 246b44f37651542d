"""Hostile pictures: damaged files, absurd sizes, arrays and modes of every kind."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image, features

from mlx_vedec import (
    DonutImageProcessor,
    ImageProcessor,
    NougatLatexImageProcessor,
    TexifyImageProcessor,
    TexTellerImageProcessor,
    ViTImageProcessor,
    load_image,
)
from mlx_vedec.images.lines import find_lines
from tests.hostile.values import hostile, short, spoiled_bytes

Case = tuple[str, Callable[[], object]]
SIZES = (0, 1, 2, 3, 65535, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "bool",
    "complex64",
)


@cache
def pictures() -> dict[str, bytes]:
    """Small files of every format and mode that Pillow writes here."""
    values = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    base, found = Image.fromarray(values), {}
    for name, mode, options in (
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("PNG", "1", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "L", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("TIFF", "RGB", {"save_all": True, "append_images": [base, base]}),
        ("GIF", "P", {"save_all": True, "append_images": [base.convert("P")]}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("BMP", "RGB", {}),
        ("PPM", "RGB", {}),
        ("TGA", "RGB", {}),
        ("ICO", "RGBA", {}),
        *([("AVIF", "RGB", {})] if features.check("avif") else []),
    ):
        buffer = io.BytesIO()
        picture = base.convert("I").convert("I;16") if mode == "I;16" else base.convert(mode)
        picture.save(buffer, format=name, **options)
        found[f"{name} {mode} {' '.join(map(str, options))}".strip()] = buffer.getvalue()
    return found


PROCESSORS: dict[str, Callable[[], Any]] = {
    "fixed": lambda: ImageProcessor(size={"height": 16, "width": 16}),
    "ViT": lambda: ViTImageProcessor(size={"height": 16, "width": 24}),
    "Donut": lambda: DonutImageProcessor(size={"height": 24, "width": 16}),
    "TexTeller": lambda: TexTellerImageProcessor(size={"height": 16, "width": 16}),
    "texify": lambda: TexifyImageProcessor(size={"height": 16, "width": 24}),
    "nougat-latex": lambda: NougatLatexImageProcessor(size={"height": 16, "width": 40}),
}


def damaged(scratch: Path, rng: Random) -> Case:
    """A file with some bytes changed, as bytes or on disk."""
    name, data = rng.choice([*pictures().items()])
    data, done = spoiled_bytes(data, rng)
    if rng.random() < 0.2:
        path = scratch / "picture.png"

        def from_disk() -> object:
            path.write_bytes(data)
            return _read(str(path), "ViT")

        return f"{name} on disk: {done}", from_disk
    return f"{name}: {done}", lambda: _read(data, rng.choice([*PROCESSORS]))


def absurd(scratch: Path, rng: Random) -> Case:
    """A file whose header tells of another size than its pixels have."""
    width, height = rng.choice(SIZES), rng.choice(SIZES)
    kind = rng.choice(("PNG RGB", "BMP RGB", "GIF P save_all append_images", "PPM RGB"))
    data = bytearray(pictures()[kind])
    if kind.startswith("PNG"):
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind.startswith("BMP"):
        data[18:26] = struct.pack("<II", width, height)
    elif kind.startswith("GIF"):
        data[6:10] = struct.pack("<HH", width % 65536, height % 65536)
    else:
        data[:12] = b"P6\n%d %d\n255\n" % (width, height)
    return f"{kind} of {width}x{height}", lambda: _read(bytes(data), "ViT")


def _read(source: Any, processor: str) -> None:
    load_image(source)
    pixels = PROCESSORS[processor]()(source)
    assert np.isfinite(pixels).all(), "pixels that are no numbers"


def arrays(scratch: Path, rng: Random) -> Case:
    """An array of any type and shape, through a processor with any switches."""
    shape = tuple(
        rng.choice((0, 1, 2, 3, 4, 5, 16, 40)) for _ in range(rng.choice((0, 1, 2, 3, 3, 3, 4)))
    )
    dtype = rng.choice(DTYPES)
    values = np.random.default_rng(rng.randrange(99)).normal(0, rng.choice((0.3, 90, 1e30)), shape)
    with np.errstate(all="ignore"):
        array: Any = np.asarray(values).astype(dtype)
    if array.size and dtype.startswith("float") and rng.random() < 0.2:
        array.reshape(-1)[0] = rng.choice((np.nan, np.inf, -np.inf))
    form = rng.choice(("numpy", "mlx", "list", "Pillow", "several"))
    switches = {
        name: rng.choice((True, False, hostile(rng)))
        for name in (
            "do_rescale",
            "do_normalize",
            "do_resize",
            "rescale_factor",
            "image_mean",
            "size",
        )
        if rng.random() < 0.15
    }
    chosen = rng.choice([*PROCESSORS])

    def call() -> None:
        given: Any = array
        if form == "mlx":
            given = mx.array(array if dtype != "float64" else array.astype("float32"))
        elif form == "list":
            given = array.tolist()
        elif form == "several":
            given = [array, array]
        elif form == "Pillow":
            try:
                given = Image.fromarray(array)
            except Exception:  # Pillow's, of arrays that are no picture
                given = Image.new(
                    rng.choice(("1", "L", "LA", "P", "YCbCr", "LAB", "HSV", "I", "F")), (5, 9)
                )
        PROCESSORS[chosen]()(given, **switches)

    return f"{chosen}: {form} {dtype} {shape} {short(switches)}", call


def lines(scratch: Path, rng: Random) -> Case:
    """A page of noise, bars or nothing, long and thin or small, whose lines are looked for."""
    size = rng.choice(((1, 1), (1, 300), (300, 1), (2, 4000), (400, 300), (3, 3)))
    generator = np.random.default_rng(rng.randrange(99))
    values = generator.integers(0, 256, size, dtype=np.uint8)
    if rng.random() < 0.5:
        values = np.where(
            generator.random(size) < rng.choice((0.0, 0.01, 0.5, 1.0)), 0, 255
        ).astype(np.uint8)
    picture = Image.fromarray(values).convert(rng.choice(("L", "RGB", "1")))
    return f"lines of {picture.mode} {size}", lambda: find_lines(picture)
