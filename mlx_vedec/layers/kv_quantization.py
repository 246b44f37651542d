"""Keys and values of a cache as they are kept: in their own type, or quantized to few bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import mlx.core as mx

from ..errors import OptionError

Parts = tuple[mx.array, ...]  # (B, H, T, ·) each: what is kept of keys, then of values
GROUP_SIZES = (32, 64, 128)  # what MLX quantizes by
BITS = (2, 3, 4, 5, 6, 8)


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


def _listed(sizes: Sequence[int]) -> str:
    return " or ".join(filter(None, (", ".join(map(str, sizes[:-1])), str(sizes[-1]))))
