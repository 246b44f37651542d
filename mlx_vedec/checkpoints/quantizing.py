"""Models quantized in place, and back to floats; layers are named as they are on disk.

The table of tokens is always quantized in affine mode: what MLX's other modes give for a row is
bfloat16, whatever the rest computes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..errors import ConfigError, OptionError, WeightsError
from ..layers.lora import check_no_adapters
from ..layers.packed import (
    Quantized,
    float_layer,
    float_type,
    format_of,
    replace_layers,
    stored_format,
    weight_by_rows,
)
from ..layers.quantization_config import Format, QuantizationConfig
from ..layers.quantization_recipes import (
    TABLE,
    affine,
    ends,
    part_of,
    quantizable_layers,
    recipe_named,
)
from .renames import NamedModule


@dataclass(frozen=True)
class QuantizationPlan:
    """What quantizing does to a model, layers by their names on disk.

    formats -- of the layers that are quantized. smaller -- those whose rows only a smaller group
    than was asked for divides. left_out -- those that stay floats, with the reason.
    """

    formats: Mapping[str, Format]
    smaller: tuple[str, ...]
    left_out: Mapping[str, str]


def quantize(model: NamedModule, settings: int | QuantizationConfig) -> QuantizationPlan:
    """Quantize a model in place, from the floats it has.

    >>> from mlx_vedec import load
    >>> from mlx_vedec.layers.packed import bits_per_weight
    >>> model, _ = load(dtype="float16")
    >>> plan = quantize(model, QuantizationConfig(4, recipe="uniform"))
    >>> len(plan.formats), round(bits_per_weight(model), 1)
    (51, 5.1)
    """
    check_no_adapters(model, "it is quantized")
    layers = quantizable_layers(model)
    if any(isinstance(layer, Quantized) for layer in layers.values()):
        raise OptionError("the model is quantized already; dequantize it first")
    config = QuantizationConfig.parse(settings)
    names = {path: model.renames.layer_on_disk(path) for path in layers}
    _check_overrides(config, {*names.values()})
    formats: dict[str, Format] = {}
    smaller, left_out = [], {}
    for path, want in _wanted(config, names).items():
        dims = layers[path].weight.shape[-1]
        fitted = want and want.fitted(dims)
        if fitted:
            formats[path] = fitted
            smaller += [names[path]] if fitted != want else []
        else:
            left_out[names[path]] = f"no group divides its {dims} inputs" if want else "as asked"
    _pack(model, layers, formats)
    found = {names[path]: form for path, form in formats.items()}
    return QuantizationPlan(found, tuple(smaller), left_out)


def _wanted(config: QuantizationConfig, names: Mapping[str, str]) -> dict[str, Format | None]:
    """What each layer is to be quantized to, by path, whether its rows can be or not."""
    recipe, outer = recipe_named(config.recipe), ends(names)
    wanted: dict[str, Format | None] = {}
    for path, name in names.items():
        base = config.part_format(part_of(path))
        override = config.override(name)
        if isinstance(override, Mapping):
            base = (base or config.base).changed(override)
            if name in config.overrides and path.endswith(TABLE) and base.mode != "affine":
                raise ConfigError(f"{name} is the table of tokens; expected mode affine for it")
        elif override is False:
            base = None
        elif base is not None:
            base = recipe.format(path, base, outer)
        wanted[path] = affine(base) if base and path.endswith(TABLE) else base
    return wanted


def _check_overrides(config: QuantizationConfig, known: set[str]) -> None:
    unknown = [
        key
        for key in config.overrides
        if not any(name == key or name.startswith(f"{key}.") for name in known)
    ]
    if unknown:
        raise OptionError(
            f"no layer to quantize is called {', '.join(unknown)}; expected names as on disk, such "
            f"as {', '.join(sorted(known)[:2])}"
        )


def _pack(model: nn.Module, layers: Mapping[str, Any], formats: Mapping[str, Format]) -> None:
    packed = {path: layers[path].to_quantized(**f.to_dict()) for path, f in formats.items()}
    replace_layers(model, packed)


def quantize_as_stored(
    model: NamedModule, tensors: Mapping[str, mx.array], config: Mapping[str, Any]
) -> None:
    """Give a new model the quantized layers that a file has tensors for.

    Which they are is what the block of its `config.json` says, or else the tensors' shapes.
    """
    settings = QuantizationConfig.from_config(config)
    scales = {model.renames.ours(name): name for name in tensors if name.endswith(".scales")}
    layers = quantizable_layers(model) if scales else {}
    formats: dict[str, Format] = {}
    for path, layer in layers.items():
        if f"{path}.scales" in scales:
            name = scales[f"{path}.scales"].removesuffix(".scales")
            form = _stored_format(name, layer.weight.shape[-1], tensors, settings)
            if form and path.endswith(TABLE) and form.mode != "affine":
                raise WeightsError(f"{name} is in mode {form.mode}; a table has to be affine here")
            formats.update({path: form} if form else {})
    _pack(model, layers, formats)


def _stored_format(
    name: str, dims: int, tensors: Mapping[str, mx.array], settings: QuantizationConfig | None
) -> Format | None:
    """What a layer that has scales is quantized to; None where the config says that it is not."""
    weight, scales = tensors.get(f"{name}.weight"), tensors[f"{name}.scales"]
    if weight is None or weight.dtype != mx.uint32 or weight.ndim != 2:
        got = "missing" if weight is None else f"{tuple(weight.shape)} of {weight.dtype}"
        raise WeightsError(
            f"{name}.scales has beside it a weight that is {got}; expected packed rows of uint32"
        )
    if settings is not None:
        override = settings.override(name)
        if isinstance(override, Mapping):
            return settings.base.changed(override)
        return None if override is False else settings.base
    found = stored_format(dims, weight, scales, has_biases=f"{name}.biases" in tensors)
    if found is None:
        raise WeightsError(
            f"{name}.weight is {tuple(weight.shape)} and its scales {tuple(scales.shape)}, which "
            f"is no quantization of {dims} inputs known here; give config.json its quantization "
            "block"
        )
    return found


def quantization_block(model: NamedModule) -> dict[str, Any] | None:
    """The block of `config.json` that says how a model is quantized; None where it is not.

    The fewest bits that any layer has come first, and what differs from them is an override.
    """
    layers = quantizable_layers(model).items()
    formats = {model.renames.layer_on_disk(path): format_of(layer) for path, layer in layers}
    packed = [form for form in formats.values() if form is not None]
    if not packed:
        return None
    base = min(set(packed), key=lambda form: (form.bits, -packed.count(form), str(form)))
    others = {n: form.to_dict() if form else False for n, form in formats.items() if form != base}
    return {**base.to_dict(), **dict(sorted(others.items()))}


def dequantize(model: nn.Module) -> None:
    """Make the quantized layers of a model floats again, in place: of what is left of them."""
    check_no_adapters(model, "it is dequantized")
    quantized = {p: layer for p, layer in model.named_modules() if isinstance(layer, Quantized)}
    if not quantized:
        raise OptionError("the model is not quantized; there is nothing to dequantize")
    dtype = float_type(model)
    floats = {path: float_layer(x, weight_by_rows(x, dtype)) for path, x in quantized.items()}
    replace_layers(model, floats)
