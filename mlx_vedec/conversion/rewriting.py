"""Large layers changed by rows on their way from one file to another, never in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from ..checkpoints import quantizing, weights
from ..checkpoints.tensor_files import Place
from ..layers.packed import float_type
from ..layers.quantization_config import Format

if TYPE_CHECKING:
    from ..checkpoints.pretrained import Pretrained

PIECE = 2**21  # numbers of a layer that are in memory at a time
PARTS = ("weight", "scales", "biases")  # of a layer, as `mx.quantize` gives them


@dataclass(frozen=True)
class Layer:
    """A layer on its way: where it lies, what it was quantized to, and what it is to be.

    floats -- what is dequantized comes out as. dtype -- what floats are cast to then, if anything.
    """

    places: Mapping[str, Place]
    was: Format | None
    becomes: Format | None
    floats: mx.Dtype
    dtype: mx.Dtype | None

    @property
    def size(self) -> int:
        """How many weights there are."""
        rows, columns = self.places["weight"].shape
        return rows * columns * 32 // self.was.sizes[0] if self.was else rows * columns

    def pieces(self) -> Iterator[dict[str, mx.array]]:
        """The parts of the changed layer, some rows at a time."""
        rows = self.places["weight"].shape[0]
        step = max(1, PIECE * rows // self.size)
        for first in range(0, rows, step):
            yield self._changed({part: x.rows(first, step) for part, x in self.places.items()})

    def _changed(self, parts: dict[str, mx.array]) -> dict[str, mx.array]:
        changes = self.was != self.becomes
        if self.was and changes:
            packed = parts["weight"], parts["scales"], parts.get("biases")
            parts = {"weight": mx.dequantize(*packed, **self.was.to_dict(), dtype=self.floats)}
        if self.dtype is not None:
            parts = {part: _cast(x, self.dtype) for part, x in parts.items()}
        if self.becomes and changes:
            found = mx.quantize(parts["weight"], **self.becomes.to_dict())
            parts = dict(zip(PARTS, found, strict=False))  # no mode but affine has biases
        return parts


class Source:
    """What the layers of a model are in the folder that it was just loaded from."""

    def __init__(self, model: Pretrained, folder: Path) -> None:
        self._places = _places(model, folder)
        self._formats = quantizing.formats(model)
        self._floats = float_type(model)

    def pieces(
        self, model: Pretrained, dtype: mx.Dtype | None
    ) -> Callable[[str], Iterable[mx.array] | None]:
        """The large layers of the model as it has been changed, as `saving.Saving` takes them.

        dtype -- that it was cast to, if it was
        """
        layers: dict[str, Layer] = {}
        for name, becomes in quantizing.formats(model).items():
            places = {p: x for p in PARTS if (x := self._places.get(f"{name}.{p}")) is not None}
            if "weight" in places:
                layer = Layer(places, self._formats[name], becomes, self._floats, dtype)
                layers.update({name: layer} if layer.size > PIECE else {})
        return _Pieces(layers)


class _Pieces:
    """Gives floats as they are made; keeps a quantized layer, which is small, for all its parts."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self._layers = layers
        self._kept: tuple[str, list[dict[str, mx.array]]] = ("", [])

    def __call__(self, tensor: str) -> Iterable[mx.array] | None:
        name, _, part = tensor.rpartition(".")
        layer = self._layers.get(name)
        if layer is None or part not in PARTS:
            return None
        if layer.becomes is None:
            return (piece[part] for piece in layer.pieces())
        if self._kept[0] != name:
            self._kept = name, [_evaluated(piece) for piece in layer.pieces()]
        return [piece[part] for piece in self._kept[1]]


def fits(model: Pretrained, folder: Path, dtype: mx.Dtype) -> bool:
    """Whether a type holds every number of a folder that the model was just loaded from."""
    places = weights.places(folder).values()
    arrays = () if places else (*weights.parameters(model).values(), *model._carried.values())
    limit = mx.finfo(dtype).max
    return all(
        bool((mx.abs(x).max() <= limit).item())
        for x in chain(arrays, *(place.pieces(PIECE) for place in places))
        if x.size and mx.issubdtype(x.dtype, mx.floating)
    )


def _places(model: Pretrained, folder: Path) -> dict[str, Place]:
    """Where the parameters lie that are in the file as they are in the model, by names on disk."""
    renames, own = model.renames, weights.parameters(model)
    found: dict[str, Place] = {}
    for name, place in weights.places(folder).items():
        ours = renames.ours(name)
        if ours in own and not renames.transposes(ours.rpartition(".")[0]):
            on_disk, array = renames.on_disk(ours), own[ours]
            same = (array.dtype, tuple(array.shape)) == (place.dtype, place.shape)
            if same and (name == on_disk or on_disk not in found):
                found[on_disk] = place
    return found


def _cast(x: mx.array, dtype: mx.Dtype) -> mx.array:
    return x.astype(dtype) if mx.issubdtype(x.dtype, mx.floating) else x


def _evaluated(piece: dict[str, mx.array]) -> dict[str, mx.array]:
    mx.eval(piece)
    return piece
