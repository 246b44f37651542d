"""Safetensors files written tensor by tensor, so that no two have to be in memory at once."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import mlx.core as mx

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
ALIGNED = 8  # bytes: where the tensors begin is a multiple of it
Shapes = Mapping[str, tuple[mx.Dtype, tuple[int, ...]]]


def write(
    path: Path,
    shapes: Shapes,
    take: Callable[[str], mx.array],
    metadata: Mapping[str, str],
    wrote: Callable[[int], object],
) -> None:
    """Write tensors one after the other.

    take -- gives a tensor by its name, which is held until it is written. wrote -- is told the
    bytes of each.
    """
    with path.open("wb") as file:
        file.write(_header(shapes, metadata))
        for name in shapes:
            wrote(file.write(memoryview(take(name).reshape(-1).view(mx.uint8))))  # pyright: ignore[reportArgumentType]


def nbytes(shapes: Shapes) -> int:
    """Bytes of the tensors."""
    return sum(dtype.size * math.prod(shape) for dtype, shape in shapes.values())


def _header(shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
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
