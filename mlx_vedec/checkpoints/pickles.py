"""`pytorch_model.bin`: an archive of one pickle and of the raw bytes that its tensors are views of.

The pickle is read by a machine that can build a dict of tensors and nothing else
(`pickle_opcodes.py`), so no code of a checkpoint ever runs; torch is not needed. Expected is what
transformers saved: a flat dict of tensors by name, from `torch.save` since torch 1.6. Two habits of
trainers are understood: a dict that holds that one as "state_dict", beside what is no tensor; and
names that all begin with "module.", which is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from ..errors import WeightsError
from .pickle_opcodes import Builder, Machine, Refused
from .torch_archives import WAY_OUT, Member, members

LARGEST_PICKLE = 2**21  # bytes: the names and shapes of some 8,000 tensors
MOST_AXES = 8
LONGEST_AXIS = 2**31 - 1  # MLX's
EXPANDED = 2**24  # elements that a tensor may have of a smaller storage
Order = Literal["<", ">"]
WRAPPER = "module."  # of torch's DataParallel


@dataclass(frozen=True)
class NumberType:
    """A type of numbers: NumPy's code for the bytes, and what they are in MLX."""

    code: str
    dtype: mx.Dtype


@dataclass(frozen=True)
class Storage:
    """A member of the archive as so many numbers."""

    numbers: NumberType
    key: str
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes that the member has to have."""
        return self.count * np.dtype(self.numbers.code).itemsize


@dataclass(frozen=True)
class Stored:
    """A tensor as a view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def extent(self) -> int:
        """Elements of the storage from the first to the last, both counted."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))

    @property
    def in_order(self) -> bool:
        """Whether the elements follow each other as they are stored."""
        products = (math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        axes = zip(self.shape, self.strides, products, strict=True)
        return all(n == 1 or step == product for n, step, product in axes)


class Pickled(Mapping[str, mx.array]):
    """The tensors of one file, each read when it is asked for; those of one place are one array.

    Only a tensor's own part of its storage is read, so what is in memory beyond the arrays that
    were asked for is one tensor.
    """

    def __init__(
        self, path: Path, records: Mapping[str, Member], tensors: Mapping[str, Stored], order: Order
    ) -> None:
        self._path = path
        self._records = records
        self._tensors = tensors
        self._order: Order = order
        self._read: dict[Stored, mx.array] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:  # a Mapping's own would read the tensor
        return name in self._tensors

    def __getitem__(self, name: str) -> mx.array:
        tensor = self._tensors[name]
        if tensor not in self._read:
            self._read[tensor] = self._array(tensor)
        return self._read[tensor]

    def _array(self, tensor: Stored) -> mx.array:
        numbers = tensor.storage.numbers
        if not tensor.extent:
            return mx.zeros(tensor.shape, numbers.dtype)
        values = self._values(tensor)
        bits = mx.bfloat16 if numbers.dtype == mx.bfloat16 else None  # which NumPy does not have
        flat = mx.array(values).view(bits) if bits else mx.array(values, dtype=numbers.dtype)
        if tensor.in_order:
            return flat.reshape(tensor.shape)
        return mx.as_strided(flat, tensor.shape, tensor.strides)

    def _values(self, tensor: Stored) -> np.ndarray:
        stored = np.dtype(tensor.storage.numbers.code).newbyteorder(self._order)
        start = self._records[tensor.storage.key].start + tensor.offset * stored.itemsize
        values = np.fromfile(self._path, stored, tensor.extent, offset=start)
        if values.size != tensor.extent:
            raise WeightsError(f"{self._path} was cut short while it was read; download it again")
        return values.astype(stored.newbyteorder("="), copy=False)


def read(path: Path) -> Pickled:
    """The tensors of a file that torch saved, unread."""
    records = members(path)
    pickle = records["data.pkl"]
    try:
        if pickle.size > LARGEST_PICKLE:
            raise Refused(f"has a pickle of {pickle.size} bytes, more than {LARGEST_PICKLE}")
        tensors = _state(Machine(NAMES, _storage).run(_bytes(path, pickle)))
        for name, tensor in tensors.items():
            _check_storage(name, tensor.storage, records)
    except Refused as error:
        raise WeightsError(
            f"{path} {error}, of which weights have no need and nothing was run; {WAY_OUT}"
        ) from error
    except ValueError as error:
        raise WeightsError(f"{path} cannot be read ({error}); download it again") from error
    return Pickled(path, records, tensors, _order(path, records))


def _bytes(path: Path, record: Member) -> bytes:
    with path.open("rb") as file:
        file.seek(record.start)
        return file.read(record.size)


def _order(path: Path, records: Mapping[str, Member]) -> Order:
    """The order of the bytes in a number, of which older versions wrote no record."""
    written = _bytes(path, records["byteorder"]) if "byteorder" in records else b"little"
    if written not in (b"little", b"big"):
        raise WeightsError(f"{path} has the byte order {written[:20]}; expected little or big")
    return "<" if written == b"little" else ">"


def _check_storage(name: str, storage: Storage, records: Mapping[str, Member]) -> None:
    record = records.get(storage.key)
    size = record.size if record else None
    if size != storage.nbytes:
        raise ValueError(
            f"{name[:80]!r} is in {storage.key[:80]!r} of {size} bytes, expected {storage.nbytes}"
        )


def _state(loaded: Any) -> dict[str, Stored]:
    """The tensors by name in what a pickle built."""
    if not isinstance(loaded, dict):
        raise Refused("holds no dict of tensors")
    inner = loaded.get("state_dict")
    if isinstance(inner, dict) and not any(isinstance(x, Stored) for x in loaded.values()):
        loaded = inner
    others = [
        repr(name)[:80]
        for name, value in loaded.items()
        if not (isinstance(name, str) and isinstance(value, Stored))
    ]
    if others or not loaded:
        raise Refused(f"holds what is no tensor: {', '.join(others[:5]) or 'nothing at all'}")
    cut = len(WRAPPER) if all(name.startswith(WRAPPER) for name in loaded) else 0
    return {name[cut:]: tensor for name, tensor in loaded.items()}


# What a pickle may name, and what becomes of it


def _storage(identity: Any) -> Storage:
    match identity:
        case ("storage", NumberType() as numbers, str(key), str(), int(count)) if (
            0 <= count < 2**48
        ):
            return Storage(numbers, f"data/{key}", count)
    raise Refused("has an object outside the pickle that is no storage")


def _tensor(arguments: tuple[Any, ...]) -> Stored:
    """A tensor of a storage, a view, gradients' settings, and marks of a sign or conjugate."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *rest):
            if len(rest) > 3 or (len(rest) == 3 and rest[2]):
                raise Refused("has tensors with a sign or conjugate still to be taken")
            tensor = Stored(storage, offset, shape, strides)
            _check_view(tensor)
            return tensor
    raise ValueError("a tensor without a storage")


def _check_view(tensor: Stored) -> None:
    """Refuse a view that reaches out of its storage, or that is made of hardly anything."""
    shape, strides, most = tensor.shape, tensor.strides, tensor.storage.count
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(f"a tensor of {len(shape)} axes and {len(strides)} strides")
    counts = (tensor.offset, *shape, *strides)
    if not all(type(count) is int and 0 <= count <= LONGEST_AXIS for count in counts):
        raise ValueError("a tensor with a shape, stride or offset out of range")
    if tensor.offset + tensor.extent > most or math.prod(shape) > max(most, EXPANDED):
        raise ValueError(f"a tensor of shape {shape} in a storage of {most}")


def _parameter(arguments: tuple[Any, ...]) -> Stored:
    match arguments:
        case (Stored() as tensor, bool(), dict()):
            return tensor
    raise ValueError("a parameter without a tensor")


def _ordered(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise ValueError("an ordered dict of something")
    return {}


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    match arguments:
        case (tuple(shape),):
            return shape
    raise ValueError("a size of nothing")


NUMBER_TYPES = {
    "DoubleStorage": NumberType("f8", mx.float64),
    "FloatStorage": NumberType("f4", mx.float32),
    "HalfStorage": NumberType("f2", mx.float16),
    "BFloat16Storage": NumberType("u2", mx.bfloat16),
    "LongStorage": NumberType("i8", mx.int64),
    "IntStorage": NumberType("i4", mx.int32),
    "ShortStorage": NumberType("i2", mx.int16),
    "CharStorage": NumberType("i1", mx.int8),
    "ByteStorage": NumberType("u1", mx.uint8),
    "BoolStorage": NumberType("?", mx.bool_),
}
NAMES = {
    ("torch._utils", "_rebuild_tensor"): Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Builder(_tensor),
    ("torch._utils", "_rebuild_parameter"): Builder(_parameter),
    ("collections", "OrderedDict"): Builder(_ordered),
    ("torch", "Size"): Builder(_size),
    **{("torch", name): numbers for name, numbers in NUMBER_TYPES.items()},
}
