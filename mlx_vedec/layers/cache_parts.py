"""What caches are built from: the slots that tokens have, and keys and values as they are kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import mlx.core as mx
import numpy as np

from ..errors import OptionError

Parts = tuple[mx.array, ...]  # (B, H, T, ·) each: what is kept of keys, then of values
GROUP_SIZES = (32, 64, 128)  # what MLX quantizes by
BITS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Window:
    """The slots of a buffer that a row's tokens have, and which tokens see which.

    The first `keep` tokens have a slot each for good. The others go round the rest, each in the
    place of the one `ring` positions before it. A window without end never comes round.
    """

    max_size: int = sys.maxsize
    keep: int = 0

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise OptionError(f"max_size is {self.max_size}; expected at least 1 token")
        if not 0 <= self.keep < self.max_size:
            raise OptionError(
                f"keep is {self.keep}; expected 0 to {self.max_size - 1}, fewer tokens than "
                f"max_size={self.max_size}, so that one slot at least is written anew"
            )

    @property
    def ring(self) -> int:
        """Slots that are written again, which is how far back a token sees."""
        return self.max_size - self.keep

    def slot(self, position: int) -> int:
        """The slot of a position: its own number, as long as there is one of that number."""
        return min(position, self.keep + (position - self.keep) % self.ring)

    def slots(self, positions: np.ndarray) -> np.ndarray:
        """The slot of each position."""
        return np.minimum(positions, self.keep + (positions - self.keep) % self.ring)

    def held(self, lengths: np.ndarray) -> np.ndarray:
        """Positions (B, T) in the slots of rows with these lengths (B,), -1 where there is none."""
        slots = np.arange(min(lengths.max(), self.max_size))
        last = lengths[:, None] - 1
        turns = np.where(slots < self.keep, 0, (last - slots) // self.ring)
        return np.where(slots <= last, slots + turns * self.ring, -1)

    def sees(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Which positions (B, T) those of queries (B, L) attend to, (B, L, T)."""
        query, key = queries[:, :, None], keys[:, None, :]
        near = (key < self.keep) | (key > query - self.ring)
        return (key >= 0) & (key <= query) & near


class Quantized(NamedTuple):
    """Keys or values (B, H, T, Dh) in groups of few bits, as `mx.quantize` makes them."""

    weight: mx.array
    scales: mx.array
    biases: mx.array
    group_size: int
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the keys or values."""
        return (*self.scales.shape[:-1], self.scales.shape[-1] * self.group_size)


Held = mx.array | Quantized


class Dense:
    """Keys and values kept as they are."""

    names: ClassVar[tuple[str, ...]] = ("keys", "values")

    def pack(self, keys: mx.array, values: mx.array) -> Parts:
        """(B, H, T, Dh) to what is kept of them."""
        return keys, values

    def unpack(self, parts: Parts) -> tuple[Held, Held]:
        """What is kept as attention reads it."""
        keys, values = parts
        return keys, values


@dataclass(frozen=True)
class Quantization:
    """Keys and values kept in `bits` bits a number, with a scale and a bias for every group."""

    group_size: int = 64
    bits: int = 8
    names: ClassVar[tuple[str, ...]] = tuple(
        f"{name}.{part}" for name in ("keys", "values") for part in ("weight", "scales", "biases")
    )

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise OptionError(f"bits is {self.bits}; expected one of {_listed(BITS)}")
        if self.group_size not in GROUP_SIZES:
            raise OptionError(
                f"group_size is {self.group_size}; expected one of {_listed(GROUP_SIZES)}"
            )

    def pack(self, keys: mx.array, values: mx.array) -> Parts:
        """(B, H, T, Dh) to weights, scales and biases of both."""
        for x in (keys, values):
            kv_group_size(x.shape[-1], self.group_size)
        return (*self._quantize(keys), *self._quantize(values))

    def unpack(self, parts: Parts) -> tuple[Held, Held]:
        """What is kept as attention reads it."""
        return self._quantized(*parts[:3]), self._quantized(*parts[3:])

    def _quantize(self, x: mx.array) -> Parts:
        return tuple(mx.quantize(x, self.group_size, self.bits))

    def _quantized(self, weight: mx.array, scales: mx.array, biases: mx.array) -> Quantized:
        return Quantized(weight, scales, biases, self.group_size, self.bits)


Packing = Dense | Quantization
DENSE = Dense()


def kv_group_size(head_dim: int, wanted: int | None = None) -> int:
    """The group size to quantize heads of a width by: 64, or 32 where 64 does not divide it."""
    fitting = [size for size in GROUP_SIZES if head_dim % size == 0]
    if not fitting:
        raise OptionError(
            f"heads are {head_dim} wide, which none of the group sizes {_listed(GROUP_SIZES)} "
            "divides; use this decoder's cache without quantization"
        )
    chosen = wanted or (64 if 64 in fitting else 32)
    if chosen not in fitting:
        raise OptionError(
            f"group_size is {chosen}, which does not divide heads {head_dim} wide; "
            f"expected {_listed(fitting)}"
        )
    return chosen


def check_chosen(chosen: Sequence[int], count: int, name: str) -> None:
    """Raise `OptionError` unless there is something to keep, of what there is."""
    wrong = [index for index in chosen if not 0 <= index < count]
    if wrong or not chosen:
        raise OptionError(f"{name} to keep are {list(chosen)}; expected some of 0 to {count - 1}")


def check_alike(parts: Parts, others: Parts, axis: int) -> None:
    """Raise `OptionError` where parts differ in type, heads, or size from an axis on."""
    ours, theirs = ([(x.dtype, x.shape[1], *x.shape[axis:]) for x in p] for p in (parts, others))
    if ours != theirs:
        raise OptionError(f"the other cache holds {theirs}; expected {ours}, as this one does")


def _listed(sizes: Sequence[int]) -> str:
    return " or ".join(filter(None, (", ".join(map(str, sizes[:-1])), str(sizes[-1]))))
