"""What `torch.save` writes, put together without torch, and so that it can be put wrong."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
EMPTY = b"ccollections\nOrderedDict\n)R"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def literal(value: object) -> bytes:
    """The opcodes that push a number, a text or a tuple."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str, kind: str, count: object) -> bytes:
    name = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + literal("storage") + name + literal(key) + literal("cpu") + literal(count) + b"tQ"


def view(stored: bytes, offset: object, shape: object, strides: object, rest=b"\x89" + EMPTY):
    """A tensor that looks at a storage; `rest` are the gradient's settings."""
    values = literal(offset) + literal(shape) + literal(strides)
    return REBUILD + b"(" + stored + values + rest + b"tR"


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    """A whole pickle: the dict, and the versions that torch keeps beside it."""
    items = b"".join(literal(name) + tensor for name, tensor in tensors.items())
    metadata = b"}" + literal("_metadata") + EMPTY + literal("") + b"}ss"
    return b"\x80\x02" + EMPTY + b"(" + items + b"u" + metadata + b"b."


def archive(
    pickled: bytes, storages: Mapping[str, bytes], *, root: str = "archive", order: str = "little"
) -> bytes:
    """The bytes of a file; an order of "" writes none, as older versions did."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr(f"{root}/data.pkl", pickled)
        if order:
            members.writestr(f"{root}/byteorder", order)
        for key, data in storages.items():
            members.writestr(f"{root}/data/{key}", data)
        members.writestr(f"{root}/version", "3\n")
    return file.getvalue()


def steps(array: np.ndarray) -> tuple[int, ...]:
    return tuple(step // array.itemsize for step in array.strides)


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as torch writes a state dict of them, each in a storage of its own."""
    ordered = {name: np.ascontiguousarray(x).reshape(x.shape) for name, x in arrays.items()}
    tensors = {
        name: view(storage(str(key), KINDS[x.dtype.name], x.size), 0, x.shape, steps(x))
        for key, (name, x) in enumerate(ordered.items())
    }
    data = {str(key): x.tobytes() for key, x in enumerate(ordered.values())}
    path.write_bytes(archive(state_dict(tensors), data))
