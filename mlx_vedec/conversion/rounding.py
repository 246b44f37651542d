"""Weights rounded such that a layer's output changes least, instead of each weight by itself.

The error of each column of weights is made up for in the columns after it, as far as their inputs
go together (GPTQ, arXiv:2210.17323). What goes together is seen from what the layers of the model
of floats are given while it reads images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..errors import OptionError
from ..layers.packed import Quantized, replace_layers, weight_shape
from ..layers.quantization_recipes import quantizable_layers
from ..measuring.likelihoods import Written, forced, logprobs
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor

DAMPING = 0.01  # part of the inputs' mean square that is added to the mean square of each input
LOOKUP = 0.3  # the same for the table of tokens, whose rows are also read as they are: embeddings


def round_weights(
    model: VisionEncoderDecoderModel,
    teacher: VisionEncoderDecoderModel,
    processor: Processor,
    texts: Sequence[Written],
    *,
    batch_size: int = 16,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Round the weights of a quantized model anew, in place; each layer keeps its format.

    teacher -- the model of floats that it came from. texts -- what the teacher wrote for images.
    progress -- is called after each layer with the number of layers done, and of all. Layers that
    are not in affine mode stay as they are, and so do those that were given no input but zeros; if
    anything fails, all do.
    """
    layers = affine_layers(model)
    floats = _floats(layers, teacher, model.renames.layer_on_disk)
    with _watched(teacher, floats) as watched:
        for batch in forced(texts, processor, batch_size):
            mx.eval([*logprobs(teacher, teacher.features(batch.pixels), batch)])
            mx.eval([layer.sum for layer in watched.values()])
    found = {}
    for done, (path, layer) in enumerate(layers.items(), 1):
        gram = watched[path].gram()
        if gram is not None:
            found[path] = quantized(np.array(floats[path].weight.astype(mx.float32)), gram, layer)
            mx.eval(found[path])
        if progress is not None:
            progress(done, len(layers))
    for path, arrays in found.items():
        layers[path].update(arrays)


def affine_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that are quantized in affine mode, by our name."""
    layers = quantizable_layers(model).items()
    return {path: x for path, x in layers if isinstance(x, Quantized) and x.mode == "affine"}


def _floats(
    layers: Mapping[str, Any], teacher: VisionEncoderDecoderModel, on_disk: Callable[[str], str]
) -> dict[str, Any]:
    """The teacher's layers in place of these, by our name; it has to have floats for all."""
    theirs = quantizable_layers(teacher)
    found = {path: theirs[path] for path in layers if path in theirs}
    strange = [
        on_disk(path)
        for path, layer in layers.items()
        if path not in found
        or isinstance(found[path], Quantized)
        or weight_shape(found[path]) != weight_shape(layer)
    ]
    if strange:
        raise OptionError(
            f"the teacher has no floats for {len(strange)} of the layers, such as {strange[0]}; "
            "expected the model that was quantized"
        )
    return found


# --- what the layers are given


class Watched(nn.Module):
    """A layer that computes what it always did, and sums up x xᵀ of its inputs x."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own = own
        self.sum = mx.array(0.0)

    def __call__(self, x: mx.array) -> mx.array:
        """As the layer itself; a table of tokens is given ids here, which are not summed."""
        if isinstance(self.own, nn.Linear):
            self._note(x)
        return self.own(x)

    def as_linear(self, x: mx.array) -> mx.array:
        """As the table of tokens itself where it is the head."""
        self._note(x)
        return self.own.as_linear(x)

    def _note(self, x: mx.array) -> None:
        x = x.astype(mx.float32).reshape(-1, x.shape[-1])
        self.sum = self.sum + x.T @ x

    def gram(self) -> np.ndarray | None:
        """The sum (D, D), float64, scaled to a mean of 1 on its diagonal and damped.

        It is None where there were no inputs but zeros.
        """
        found = np.array(self.sum).astype(np.float64)
        scale = found.diagonal().mean() if found.ndim else 0.0
        if not scale > 0:
            return None
        damping = DAMPING if isinstance(self.own, nn.Linear) else LOOKUP
        return found / scale + damping * np.eye(len(found))


@contextmanager
def _watched(model: nn.Module, layers: Mapping[str, Any]) -> Iterator[dict[str, Watched]]:
    """Within it these layers of the model are replaced by watched ones, by our name."""
    watched = {path: Watched(layer) for path, layer in layers.items()}
    try:
        replace_layers(model, watched)
        yield watched
    finally:
        replace_layers(model, layers)


# --- rounding


def quantized(weight: np.ndarray, gram: np.ndarray, layer: Any) -> dict[str, mx.array]:
    """Weights (R, D) as the arrays of a quantized layer, in its format.

    gram (D, D) -- the sum of x xᵀ over the layer's inputs x, from which follows what errors cost.
    """
    rest, size = weight.astype(np.float64), layer.group_size
    spread = np.linalg.cholesky(np.linalg.inv(gram)).T  # of a column's error, on those after it
    integers, scales, biases = [], [], []
    for first in range(0, rest.shape[1], size):
        own, after = slice(first, first + size), slice(first + size, None)
        group = mx.array(rest[:, own].astype(np.float32)).astype(layer.scales.dtype)
        _, scale, bias = mx.quantize(group, size, layer.bits)
        nearest, errors = _rounded(rest[:, own], scale, bias, spread[own, own], layer.bits)
        rest[:, after] -= errors @ spread[own, after]
        integers.append(nearest)
        scales.append(scale)
        biases.append(bias)
    return {
        "weight": packed(np.concatenate(integers, axis=1), layer.bits),
        "scales": mx.concatenate(scales, axis=1),
        "biases": mx.concatenate(biases, axis=1),
    }


def _rounded(
    group: np.ndarray, scales: mx.array, biases: mx.array, spread: np.ndarray, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """The integers (R, G) of a group of columns, and the errors (R, G) that later ones make up for.

    scales, biases (R, 1) -- of the group. spread (G, G) -- of a column's error over the others.
    """
    rest, errors = group.copy(), np.zeros_like(group)
    integers = np.zeros(group.shape, np.uint8)
    scale, bias = (
        np.array(x.astype(mx.float32)).astype(np.float64)[:, 0] for x in (scales, biases)
    )
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    for j in range(group.shape[1]):
        near = np.clip(np.rint((rest[:, j] - bias) * inverse), 0, 2**bits - 1)
        integers[:, j] = near
        errors[:, j] = (rest[:, j] - near * scale - bias) / spread[j, j]
        rest[:, j + 1 :] -= errors[:, j, None] * spread[j, j + 1 :]
    return integers, errors


def packed(integers: np.ndarray, bits: int) -> mx.array:
    """Integers (R, D) of so many bits each, packed as MLX does: a stream of bits, lowest first."""
    rows, columns = integers.shape
    stream = np.unpackbits(integers[..., None], axis=-1, count=bits, bitorder="little")
    return mx.array(
        np.packbits(stream.reshape(rows, columns * bits), axis=-1, bitorder="little").view("<u4")
    )
