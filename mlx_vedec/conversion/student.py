"""A quantized model as one of floats for a while, its weights a function of what is tuned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from ..checkpoints.quantizing import dequantize
from ..layers.packed import Quantized
from ..layers.quantization_recipes import quantizable_layers
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from .rounding import affine_layers

Parameters = dict[str, mx.array]
SMALLEST = 1e-3  # of a unit: the biases of a layer may all be zero


class Student:
    """What is tuned of a model: named arrays, as steps of their root mean square from the start.

    layers -- those whose scales and offsets are tuned. own -- the model's parameters. small --
    vectors such as norms and the biases of layers are tuned, too.
    """

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        layers: Mapping[str, Any],
        own: Parameters,
        small: bool,
    ) -> None:
        self.model, self._layers = model, layers
        names = [f"{path}.{part}" for path in layers for part in ("scales", "biases")]
        self._vectors = [name for name, x in own.items() if x.ndim == 1] if small else []
        self._own = {name: own[name] for name in (*names, *self._vectors)}
        self._units = {name: _unit(x) for name, x in self._own.items()}
        self.steps = {name: mx.zeros(x.shape) for name, x in self._own.items()}

    def values(self, steps: Parameters) -> Parameters:
        """Where steps lead, float32."""
        return {
            name: self._own[name].astype(mx.float32) + self._units[name] * x
            for name, x in steps.items()
        }

    def stored(self, steps: Parameters) -> Parameters:
        """Where steps lead, in the types of the model."""
        values = self.values(steps)
        return {name: x.astype(self._own[name].dtype) for name, x in values.items()}

    def put(self, values: Parameters) -> None:
        """Give the model of floats the weights that these values make."""
        values = {name: x.astype(mx.float32) for name, x in values.items()}
        weights = {
            f"{path}.weight": mx.dequantize(
                leaf.weight,
                values[f"{path}.scales"],
                values[f"{path}.biases"],
                leaf.group_size,
                leaf.bits,
            )
            for path, leaf in self._layers.items()
        }
        vectors = {name: values[name] for name in self._vectors}
        self.model.update(tree_unflatten([*weights.items(), *vectors.items()]))


def _unit(x: mx.array) -> mx.array:
    return mx.maximum(mx.sqrt(mx.mean(x.astype(mx.float32) ** 2)), SMALLEST)


@contextmanager
def floating(model: VisionEncoderDecoderModel, *, small: bool = False) -> Iterator[Student]:
    """The model as one of float32, in `eval()` mode; outside it is as it was."""
    own: Parameters = dict(tree_flatten(model.parameters()))  # pyright: ignore
    layers = {path: x for path, x in quantizable_layers(model).items() if isinstance(x, Quantized)}
    student, training = Student(model, affine_layers(model), own, small), model.training
    try:
        model.set_dtype(mx.float32)
        dequantize(model)
        model.eval()
        yield student
    finally:
        model.update_modules(tree_unflatten(list(layers.items())))
        model.update(tree_unflatten(list(own.items())))
        model.train(training)
