"""Safetensors files read and written by rows, so that no tensor has to be in memory whole."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..errors import WeightsError

TYPES = {
    "BOOL": mx.bool_,
    "U8": mx.uint8,
    "U16": mx.uint16,
    "U32": mx.uint32,
    "U64": mx.uint64,
    "I8": mx.int8,
    "I16": mx.int16,
    "I32": mx.int32,
    "I64": mx.int64,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "F32": mx.float32,
}
NAMES = {dtype: name for name, dtype in TYPES.items()}
METADATA = "__metadata__"
ALIGNED = 8  # bytes: where the tensors begin is a multiple of it
Shapes = Mapping[str, tuple[mx.Dtype, tuple[int, ...]]]


@dataclass(frozen=True)
class Place:
    """Where in a file a tensor of at least one axis lies."""

    path: Path
    start: int
    dtype: mx.Dtype
    shape: tuple[int, ...]

    def rows(self, first: int, count: int) -> mx.array:
        """So many rows, or those that there are, read now."""
        count = min(count, self.shape[0] - first)
        width = math.prod(self.shape[1:]) * self.dtype.size
        found = np.fromfile(self.path, np.uint8, count * width, offset=self.start + first * width)
        if found.size != count * width:
            raise WeightsError(f"{self.path} was cut short while it was read; begin again")
        return mx.array(found).view(self.dtype).reshape(count, *self.shape[1:])

    def pieces(self, size: int) -> Iterator[mx.array]:
        """All rows, as many at a time as hold `size` numbers."""
        step = max(1, size * self.shape[0] // max(1, math.prod(self.shape)))
        return (self.rows(first, step) for first in range(0, self.shape[0], step))


def places(path: Path) -> dict[str, Place]:
    """Where the tensors of a file lie that has been found whole, those of no axes left out."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    return {
        name: Place(
            path,
            8 + length + entry["data_offsets"][0],
            TYPES[entry["dtype"]],
            tuple(entry["shape"]),
        )
        for name, entry in entries.items()
        if name != METADATA and entry["shape"] and entry["dtype"] in TYPES
    }


def write(
    path: Path,
    shapes: Shapes,
    pieces: Callable[[str], Iterable[mx.array]],
    metadata: Mapping[str, str],
    wrote: Callable[[int], object],
) -> None:
    """Write tensors one after the other, each piece by piece of its rows.

    wrote -- is told the bytes of each piece
    """
    with path.open("wb") as file:
        file.write(_header(shapes, metadata))
        for name in shapes:
            for piece in pieces(name):
                data = memoryview(piece.reshape(-1).view(mx.uint8))  # pyright: ignore[reportArgumentType]
                wrote(file.write(data))


def nbytes(shapes: Shapes) -> int:
    """Bytes of the tensors."""
    return sum(dtype.size * math.prod(shape) for dtype, shape in shapes.values())


def _header(shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {METADATA: dict(metadata)}
    start = 0
    for name, (dtype, shape) in shapes.items():
        end = start + nbytes({name: (dtype, shape)})
        entries[name] = {
            "dtype": NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return struct.pack("<Q", len(text)) + text
