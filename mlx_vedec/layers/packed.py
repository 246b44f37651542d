"""Layers whose weights are packed: what they stand for, and what that comes to in a model.

A packed weight has a row of 32-bit words for each row of floats, with the bits of one number after
those of another; scales, and in affine mode biases, have a number for each group of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..errors import ConfigError
from .quantization_config import POSSIBLE, Format

Quantized = nn.QuantizedLinear | nn.QuantizedEmbedding
WORD = 32  # bits
PIECE = 2**18  # numbers that are unpacked at a time
ADAPTER = ("lora_a", "lora_b", "m")  # the arrays that an adapter adds to a layer, mlx-lm's names


def format_of(layer: Any) -> Format | None:
    """What a layer is quantized to; None where it is floats."""
    if not isinstance(layer, Quantized):
        return None
    return Format(layer.bits, layer.group_size, layer.mode)


def stored_format(
    dims: int, weight: mx.array, scales: mx.array, *, has_biases: bool
) -> Format | None:
    """What rows of `dims` numbers were quantized to, from the shapes of a packed weight and scales.

    The mode is the one whose scales are of this type, with biases or without. None where no format
    has such shapes.
    """
    columns, groups = weight.shape[-1], scales.shape[-1]
    if not groups or columns * WORD % dims or dims % groups:
        return None
    for mode in POSSIBLE:
        affine = mode == "affine"
        if affine == has_biases == (scales.dtype != mx.uint8):
            try:
                return Format(columns * WORD // dims, dims // groups, mode)
            except ConfigError:
                continue
    return None


def weight_shape(layer: Any) -> tuple[int, int]:
    """Rows and columns of a layer's weight; of a packed one, of the floats that it stands for."""
    rows, columns = layer.weight.shape
    return rows, columns * WORD // layer.bits if isinstance(layer, Quantized) else columns


def weight_of(layer: Any, dtype: mx.Dtype = mx.float32) -> mx.array:
    """A layer's weight (rows, columns) as floats of a type."""
    form = format_of(layer)
    if form is None:
        return layer.weight.astype(dtype)
    packed = layer.weight, layer.scales, layer.get("biases")
    return mx.dequantize(*packed, **form.to_dict(), dtype=dtype)


def weight_by_rows(layer: Any, dtype: mx.Dtype) -> mx.array:
    """The weight of a quantized layer as floats, which are evaluated some rows after others.

    On a CPU, where MLX unpacks in many steps, each an array of its own, the whole takes up to
    fifteen times the memory of the weight at once, and this little more than twice.
    """
    form, (rows, columns) = format_of(layer), weight_shape(layer)
    assert form is not None
    step, pieces = max(1, PIECE // columns), []
    for first in range(0, rows, step):
        names = (name for name in ("weight", "scales", "biases") if layer.get(name) is not None)
        packed = [layer[name][first : first + step] for name in names]
        if pieces:
            packed = mx.depends(packed, pieces[-1])
        pieces.append(mx.dequantize(*packed, **form.to_dict(), dtype=dtype))
    return mx.concatenate(pieces)


def float_layer(layer: Any, weight: mx.array) -> nn.Linear | nn.Embedding:
    """A layer like a quantized one, with a weight (rows, columns) of floats."""
    rows, columns = weight.shape
    if isinstance(layer, nn.QuantizedEmbedding):
        table = nn.Embedding(rows, columns)
        table.weight = weight
        return table
    linear = nn.Linear(columns, rows, bias="bias" in layer)
    linear.update({"weight": weight, **({"bias": layer.bias} if "bias" in layer else {})})
    return linear


def own_arrays(module: nn.Module) -> dict[str, mx.array]:
    """The parameters of a module itself, none of its children's and none of an adapter's."""
    return {
        name: array
        for name, array in module.items()
        if isinstance(array, mx.array) and name[0] != "_" and name not in ADAPTER
    }


def count_weights(module: nn.Module) -> int:
    """How many numbers a module has of its own; of a packed weight, those that it stands for.

    Scales and biases of groups are no weights; nor is what an adapter adds.
    """
    arrays = own_arrays(module)
    if not isinstance(module, Quantized):
        return sum(array.size for array in arrays.values())
    rows, columns = weight_shape(module)
    return rows * columns + (arrays["bias"].size if "bias" in arrays else 0)


def is_quantized(model: nn.Module) -> bool:
    """Whether any layer of a model is quantized."""
    return any(isinstance(module, Quantized) for module in model.modules())


def unfreeze(model: nn.Module) -> None:
    """Unfreeze a model but for quantized layers, whose packed weights have no gradient."""
    model.unfreeze()
    for module in model.modules():
        if isinstance(module, Quantized):
            module.freeze(recurse=False)


def float_type(model: nn.Module) -> mx.Dtype:
    """The type of a model's floats, adapters left out; float32 where they are of several types."""
    arrays = (array for module in model.modules() for array in own_arrays(module).values())
    types = {array.dtype for array in arrays if mx.issubdtype(array.dtype, mx.floating)}
    return types.pop() if len(types) == 1 else mx.float32


def type_name(dtype: mx.Dtype) -> str:
    """The name of a type of numbers, as in Hugging Face's configs.

    >>> type_name(mx.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("mlx.core.")


def bits_per_weight(model: nn.Module) -> float:
    """Bits in memory to each weight of a model, scales and biases of groups included.

    Adapters are left out.
    """
    modules = model.modules()
    size = sum(array.nbytes for module in modules for array in own_arrays(module).values())
    return 8 * size / sum(map(count_weights, modules))


def replace_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put each layer in the place that its path names; it trains if the model does."""
    model.update_modules(tree_unflatten([*layers.items()]))  # pyright: ignore[reportArgumentType]
    model.train(model.training)
