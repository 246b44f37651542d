"""Adapters: put on a model to be trained, saved and loaded, merged into it, or taken off.

>>> import mlx_vedec
>>> from mlx_vedec.adapters.wrapping import LoraConfig, add_adapters, fuse
>>> model, processor = mlx_vedec.load()
>>> add_adapters(model, LoraConfig(rank=4, targets=("decoder", "attention")))
>>> report = fuse(model)  # after training
>>> len(report)
16
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints import quantizing
from ..checkpoints.config import read_json
from ..checkpoints.hub import required
from ..checkpoints.pretrained import Pretrained
from ..errors import OptionError, as_path, check_type
from ..layers.lora import Adapted, adapted_layers, bare, check_no_adapters
from ..layers.packed import (
    Quantized,
    float_layer,
    float_type,
    format_of,
    is_quantized,
    replace_layers,
    unfreeze,
    weight_of,
    weight_shape,
)
from ..layers.quantization_recipes import quantizable_layers
from .config import LoraConfig as LoraConfig
from .files import CONFIG, attach, put, read_adapters, save_adapters as save_adapters
from .peft import import_peft as import_peft
from .peft_export import export_peft as export_peft
from .targets import targets_of


def add_adapters(model: Pretrained, config: LoraConfig | None = None) -> None:
    """Put adapters on a model, which change nothing yet, and freeze all that is not to be trained.

    What is trained then is `model.trainable_parameters()`. A model that has adapters is used as any
    other; it cannot be quantized, nor saved as a checkpoint, before they are fused or removed.
    """
    config = LoraConfig() if config is None else config
    check_type("config", config, LoraConfig)
    check_no_adapters(model, "others are put on it")
    targets = targets_of(model, config)
    _check_rank(model, targets.layers, config.rank)
    attach(model, dict.fromkeys(targets.layers, config.settings), targets.trained)


def _check_rank(model: Pretrained, paths: Iterable[str], rank: int) -> None:
    """Raise `OptionError` for a rank that adds nothing to the layers but memory."""
    layers = quantizable_layers(model)
    most = max((min(weight_shape(layers[path])) for path in paths), default=rank)
    if rank > most:
        raise OptionError(
            f"rank is {rank}; expected {most} or less, the shorter side of the largest weight of "
            "the layers, whose changes that rank can all express"
        )


def remove_adapters(model: nn.Module) -> None:
    """Take the adapters off and unfreeze the model; what else was trained stays as it is."""
    replace_layers(model, {path: bare(layer) for path, layer in adapted_layers(model).items()})
    unfreeze(model)


def load_adapters(model: Pretrained, folder: str | Path, *, requantized: bool = False) -> None:
    """Put the adapters of a folder on a model: of `save_adapters`, or of PEFT.

    They have to be for a model of these types and shapes, quantized as this one; requantized --
    which may be quantized otherwise.
    """
    check_type("model", model, Pretrained, "a model, as load gives it")
    folder = as_path(folder, "folder")
    if "peft_type" in read_json(required(folder, CONFIG)):
        import_peft(model, folder)
    else:
        put(model, read_adapters(model, folder, requantized=requantized), str(folder))


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
