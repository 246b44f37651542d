"""Each quantized layer's own error: what it makes of the same inputs as the layer it came from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..layers.packed import (
    Quantized,
    replace_layers,
    weight_shape,
)
from ..layers.quantization_recipes import quantizable_layers
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel


@dataclass(frozen=True)
class LayerError:
    """A layer by its name on disk, its bits, and |changed - original| / |original| of its output.

    Of a table that is the head as well it is the larger of the two errors.
    """

    name: str
    bits: int
    error: float


class ComparedLayer(nn.Module):
    """A layer that gives its own output, and sums up how far another layer's is from it."""

    def __init__(self, own: Any, other: Any) -> None:
        super().__init__()
        self.own, self._other, self.bits = own, other, other.bits
        self._sums: dict[str, tuple[mx.array, mx.array]] = {}

    def __call__(self, x: mx.array) -> mx.array:
        """The layer's own output."""
        return self._noted("call", self.own(x), self._other(x))

    def as_linear(self, x: mx.array) -> mx.array:
        """The layer's own logits, where a table of tokens is the head."""
        return self._noted("head", self.own.as_linear(x), self._other.as_linear(x))

    def _noted(self, use: str, own: mx.array, other: mx.array) -> mx.array:
        exact, zero = own.astype(mx.float32), mx.array(0.0)
        errors, squares = self._sums.get(use, (zero, zero))
        errors = errors + ((other.astype(mx.float32) - exact) ** 2).sum()
        self._sums = {**self._sums, use: (errors, squares + (exact**2).sum())}
        return own

    def settle(self) -> None:
        """Compute the sums, which frees what they are made of."""
        mx.eval(self._sums)

    @property
    def error(self) -> float | None:
        """The relative error; None where the layer was not used."""
        found = [math.sqrt(e.item() / max(s.item(), 1e-30)) for e, s in self._sums.values()]  # pyright: ignore[reportArgumentType]
        return max(found, default=None)


@contextmanager
def compared_layers(
    original: VisionEncoderDecoderModel, changed: VisionEncoderDecoderModel
) -> Iterator[Mapping[str, ComparedLayer]]:
    """Within the block, the original runs the quantized layers of the changed model beside its own.

    Layers of another shape, or that the original has not, are left out.
    """
    own, other = quantizable_layers(original), quantizable_layers(changed)
    quantized = {path: x for path, x in other.items() if isinstance(x, Quantized) and path in own}
    pairs = {
        path: ComparedLayer(own[path], layer)
        for path, layer in quantized.items()
        if weight_shape(own[path]) == weight_shape(layer)
    }
    try:
        replace_layers(original, pairs)
        yield pairs
    finally:
        replace_layers(original, {path: own[path] for path in pairs})


def layer_errors(
    changed: VisionEncoderDecoderModel, pairs: Mapping[str, ComparedLayer]
) -> tuple[LayerError, ...]:
    """The error of each compared layer, the largest first."""
    found = [
        LayerError(changed.renames.layer_on_disk(path), pair.bits, pair.error)
        for path, pair in pairs.items()
        if pair.error is not None
    ]
    return tuple(sorted(found, key=lambda layer: (-layer.error, layer.name)))
