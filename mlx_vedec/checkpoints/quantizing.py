"""Models quantized in place, and back: which layers, to how many bits, and what that saved.

Linear layers and the table of tokens are quantized; norms, position tables, what biases attention
by position, and the convolution over patches never. A head that is tied is the table of tokens,
once. That table is always affine: what MLX's other modes give for a row is bfloat16, whatever the
rest computes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from ..errors import ConfigError, OptionError, WeightsError
from ..layers.lora import PARAMETERS, adapted_layers
from ..layers.quantization import Format, QuantizationConfig, inferred
from ..layers.recipes import TABLE, affine, ends, recipe_named

Quantized = nn.QuantizedLinear | nn.QuantizedEmbedding
NEVER = "attn_bias"  # Swin V2's network over offsets


@dataclass(frozen=True)
class Plan:
    """What quantizing does to a model, layers by their names on disk.

    formats -- of the layers that are quantized. smaller -- those whose rows only a smaller group
    than was asked for divides. left_out -- those that stay floats, with the reason.
    """

    formats: Mapping[str, Format]
    smaller: tuple[str, ...]
    left_out: Mapping[str, str]


def quantize(model: Any, settings: int | QuantizationConfig) -> Plan:
    """Quantize a model in place, from the floats it has.

    >>> from mlx_vedec import load
    >>> model, _ = load(dtype="float16")
    >>> plan = quantize(model, QuantizationConfig(4, recipe="uniform"))
    >>> len(plan.formats), round(bits_per_weight(model), 1)
    (51, 5.1)
    """
    plan = planned(model, settings)
    _apply(model, {path: plan.formats.get(name) for path, name in names_of(model).items()})
    return plan


def planned(model: Any, settings: int | QuantizationConfig) -> Plan:
    """What `quantize` would do, without doing it."""
    _check_bare(model)
    if is_quantized(model):
        raise OptionError("the model is quantized already; dequantize it first")
    config = QuantizationConfig.parse(settings)
    names = names_of(model)
    _check_overrides(config, names)
    wanted = _wanted(config, names)
    formats: dict[str, Format] = {}
    smaller, left_out = [], {}
    for path, leaf in layers_of(model).items():
        name, want, dims = names[path], wanted[path], leaf.weight.shape[-1]
        fitted = want and want.fitted(dims)
        if fitted:
            formats[name] = fitted
            smaller += [name] if fitted != want else []
        else:
            left_out[name] = f"no group divides its {dims} inputs" if want else "as asked"
    return Plan(formats, tuple(smaller), left_out)


def _check_bare(model: Any) -> None:
    if adapted_layers(model):
        raise OptionError("the model has adapters; fuse them, or remove_adapters before")


def _wanted(config: QuantizationConfig, names: Mapping[str, str]) -> dict[str, Format | None]:
    """The format of each layer by our name, before it is fitted."""
    recipe, outer = recipe_named(config.recipe), ends(names)
    wanted: dict[str, Format | None] = {}
    for path, name in names.items():
        base = config.of_half("encoder" if path.startswith("encoder.") else "decoder")
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


def _check_overrides(config: QuantizationConfig, names: Mapping[str, str]) -> None:
    known = {*names.values()}
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


def layers_of(model: nn.Module) -> dict[str, Any]:
    """The layers that are quantized, or may be, by our name."""
    found = {p: leaf for p, leaf in model.named_modules() if _may_be(p.split("."), leaf)}
    return dict(sorted(found.items()))


def _may_be(path: list[str], leaf: nn.Module) -> bool:
    if isinstance(leaf, nn.Embedding | nn.QuantizedEmbedding):
        return path[-1] == TABLE
    return isinstance(leaf, nn.Linear | nn.QuantizedLinear) and NEVER not in path


def names_of(model: Any) -> dict[str, str]:
    """Their names on disk, by ours."""
    return {
        path: model.renames.on_disk(f"{path}.weight").removesuffix(".weight")
        for path in layers_of(model)
    }


def is_quantized(model: nn.Module) -> bool:
    """Whether any layer is."""
    return any(isinstance(leaf, Quantized) for leaf in layers_of(model).values())


def _apply(model: Any, formats: Mapping[str, Format | None]) -> None:
    def arguments(path: str, _: nn.Module) -> bool | dict[str, Any]:
        found = formats.get(path)
        return found.to_dict() if found else False

    nn.quantize(model, class_predicate=arguments)
    model.train(model.training)


def prepare(model: Any, tensors: Mapping[str, mx.array], config: Mapping[str, Any]) -> None:
    """Give a new model the quantized layers that a file has tensors for.

    Which they are is what the block of its `config.json` says, or else the tensors' shapes.
    """
    settings = QuantizationConfig.from_config(config)
    ours = {model.renames.ours(name): name for name in tensors}
    formats: dict[str, Format | None] = {}
    for path, leaf in layers_of(model).items():
        scales = ours.get(f"{path}.scales")
        if scales is not None:
            name, dims = scales.removesuffix(".scales"), leaf.weight.shape[-1]
            _check_packed(name, tensors)
            found = _stored_format(name, dims, tensors, settings)
            if found and path.endswith(TABLE) and found.mode != "affine":
                raise WeightsError(f"{name} is in mode {found.mode}; a table has to be affine here")
            formats[path] = found
    _apply(model, formats)


def _stored_format(
    name: str, dims: int, tensors: Mapping[str, mx.array], settings: QuantizationConfig | None
) -> Format | None:
    if settings is None:
        return inferred(name, dims, tensors)
    override = settings.override(name)
    if isinstance(override, Mapping):
        return settings.base.changed(override)
    return None if override is False else settings.base


def _check_packed(name: str, tensors: Mapping[str, mx.array]) -> None:
    weight = tensors.get(f"{name}.weight")
    if weight is None or weight.dtype != mx.uint32 or weight.ndim != 2:
        got = "missing" if weight is None else f"{tuple(weight.shape)} of {weight.dtype}"
        raise WeightsError(
            f"{name}.scales has beside it a weight that is {got}; expected packed rows of uint32"
        )


def block(model: Any) -> dict[str, Any] | None:
    """The block of `config.json` that says how a model is quantized; None where it is not.

    The fewest bits that any layer has come first, and what differs from them is an override.
    """
    found = formats(model)
    packed = [own for own in found.values() if own is not None]
    if not packed:
        return None
    base = min(set(packed), key=lambda own: (own.bits, -packed.count(own), str(own)))
    others = {name: own.to_dict() if own else False for name, own in found.items() if own != base}
    return {**base.to_dict(), **dict(sorted(others.items()))}


def formats(model: Any) -> dict[str, Format | None]:
    """What every layer is quantized to, by names on disk; None where it is floats."""
    names = names_of(model)
    return {names[path]: _format_of(leaf) for path, leaf in layers_of(model).items()}


def _format_of(leaf: Any) -> Format | None:
    if not isinstance(leaf, Quantized):
        return None
    return Format(leaf.bits, leaf.group_size, leaf.mode)


def dequantize(model: Any) -> None:
    """Make the layers of a quantized model floats again, in place: of what is left of them."""
    _check_bare(model)
    if not is_quantized(model):
        raise OptionError("the model is not quantized; there is nothing to dequantize")
    dtype = float_type(model)
    layers = layers_of(model)
    floats = {path: floats_of(x, dtype) for path, x in layers.items() if isinstance(x, Quantized)}
    leaves = tree_map_with_path(
        lambda path, leaf: floats.get(path, leaf), model.leaf_modules(), is_leaf=nn.Module.is_module
    )
    model.update_modules(leaves)
    model.train(model.training)


def unfreeze(model: Any) -> None:
    """Unfreeze a model but for quantized layers, whose packed weights have no gradient."""
    model.unfreeze()
    for leaf in model.modules():
        if isinstance(leaf, Quantized):
            leaf.freeze(recurse=False)


def floats_of(leaf: Any, dtype: mx.Dtype) -> nn.Module:
    """A layer like a quantized one, of floats."""
    own = Format(leaf.bits, leaf.group_size, leaf.mode).to_dict()
    weight = mx.dequantize(leaf.weight, leaf.scales, leaf.get("biases"), **own, dtype=dtype)
    rows, dims = weight.shape
    if isinstance(leaf, nn.QuantizedEmbedding):
        table = nn.Embedding(rows, dims)
        table.weight = weight
        return table
    linear = nn.Linear(dims, rows, bias="bias" in leaf)
    linear.update({"weight": weight, **({"bias": leaf.bias} if "bias" in leaf else {})})
    return linear


def float_type(model: Any) -> mx.Dtype:
    """The type of a model's own parameters that are not packed; float32 where they differ."""
    types = {x.dtype for x in _arrays(model).values() if mx.issubdtype(x.dtype, mx.floating)}
    return types.pop() if len(types) == 1 else mx.float32


def bits_per_weight(model: Any) -> float:
    """Bits of all parameters to each weight, scales and offsets of groups not being weights.

    Adapters are left out, here and in `float_type`.
    """
    arrays = _arrays(model)
    count = sum(x.size for x in arrays.values())
    for path, leaf in layers_of(model).items():
        if isinstance(leaf, Quantized):
            extra = sum(arrays[f"{path}.{n}"].size for n in ("scales", "biases") if n in leaf)
            count += leaf.weight.size * 32 // leaf.bits - leaf.weight.size - extra
    return 8 * sum(x.nbytes for x in arrays.values()) / count


def _arrays(model: Any) -> dict[str, mx.array]:
    arrays: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # pyright: ignore
    adapters = {f"{path}.{name}" for path in adapted_layers(model) for name in PARAMETERS}
    return {name: array for name, array in arrays.items() if name not in adapters}
