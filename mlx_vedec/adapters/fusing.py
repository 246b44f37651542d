"""Adapters merged into the weights that they change, as floats or quantized once more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from ..checkpoints import quantizing
from ..checkpoints.pretrained import Pretrained
from ..errors import OptionError
from ..layers.lora import Adapted, adapted_layers, bare
from ..layers.packed import (
    Quantized,
    float_layer,
    float_type,
    format_of,
    is_quantized,
    unfreeze,
    weight_of,
)
from ..layers.replacing import replace_layers


@dataclass(frozen=True)
class FusedLayer:
    """What merging did to one layer, by its name on disk; each is relative to the weight's norm.

    change -- by the adapter. rounding -- by quantizing the merged weight, None where it is a float.
    """

    name: str
    change: float
    rounding: float | None = None

    @property
    def lost(self) -> float:
        """The rounding relative to the adapter's change; 0 of floats."""
        return (self.rounding or 0.0) / self.change if self.change else 0.0


def fuse(model: Pretrained, *, dequantize: bool = False) -> tuple[FusedLayer, ...]:
    """Merge the adapters of a model into its weights, in place, and say what that did.

    Floats are merged in float32 and keep their type. A quantized layer is quantized again as it
    was, which rounds a second time; dequantize -- makes the whole model floats instead. The model
    is no longer frozen then.
    """
    layers = adapted_layers(model)
    if not layers:
        raise OptionError("the model has no adapters to fuse; load_adapters, or add_adapters first")
    if dequantize and not is_quantized(model):
        raise OptionError("the model is not quantized; there is nothing to dequantize")
    dtype = float_type(model)
    report = []
    for path, layer in layers.items():
        merged = layer.merged()
        fused = _fused(layer, merged, dtype, dequantize)
        report.append(_compared(model.renames.layer_on_disk(path), layer, merged, fused))
        mx.eval(fused.parameters())
        replace_layers(model, {path: fused})
    if dequantize and is_quantized(model):
        quantizing.dequantize(model)
    unfreeze(model)
    return tuple(report)


def _fused(layer: Adapted, merged: mx.array, dtype: mx.Dtype, dequantize: bool) -> Any:
    plain = bare(layer)
    form = format_of(plain)
    if form is None:
        plain.weight = merged.astype(plain.weight.dtype)
        return plain
    if dequantize:
        return float_layer(plain, merged.astype(dtype))
    scales = plain.scales.dtype  # no floats but in affine mode
    kept = scales if mx.issubdtype(scales, mx.floating) else dtype
    return float_layer(plain, merged.astype(kept)).to_quantized(**form.to_dict())


def _compared(name: str, layer: Adapted, merged: mx.array, fused: Any) -> FusedLayer:
    before = weight_of(layer)
    found = FusedLayer(name, _relative(merged - before, before))
    if not isinstance(fused, Quantized):
        return found
    return replace(found, rounding=_relative(weight_of(fused) - merged, merged))


def _relative(difference: mx.array, whole: mx.array) -> float:
    return (mx.linalg.norm(difference) / mx.linalg.norm(whole)).item()  # pyright: ignore
