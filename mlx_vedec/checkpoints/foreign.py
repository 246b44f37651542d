"""Weights that another library has quantized: bitsandbytes' int8 made floats, the rest refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mlx.core as mx

from ..errors import WeightsError

Tensors = dict[str, mx.array]
KEY = "quantization_config"  # of config.json
SCALES, LAYOUT = ".SCB", ".weight_format"  # beside the int8 weight of a layer
HALF_TYPES = {"float16": mx.float16, "bfloat16": mx.bfloat16}
MARKS = (  # the end of a tensor's name that only one method's files have, and the method
    (".quant_state.bitsandbytes__nf4", "bitsandbytes nf4"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes fp4"),
    (".absmax", "bitsandbytes 4-bit"),
    (".g_idx", "gptq"),
    (".qweight", "gptq or awq"),
    (".codebooks", "aqlm"),
    (".W_q", "hqq"),
    (".weight_packed", "compressed-tensors"),
    (".weight_scale_inv", "fp8"),
    (".weight_scale", "fp8 or compressed-tensors"),
    (".weight._data", "quanto"),
)


def refuse(names: Iterable[str], config: Mapping[str, Any], source: str) -> None:
    """Raise `WeightsError` for a quantization that is not read here, by its name.

    The tensors' names say it, or the config. bitsandbytes in the config alone is no reason: it
    quantizes floats as it loads them.
    """
    known = list(names)
    found = [method for mark, method in MARKS if any(name.endswith(mark) for name in known)]
    given = method_of(config)
    if given not in (None, "bitsandbytes"):
        found.append(str(given)[:40])
    if found:
        raise WeightsError(
            f"the weights of {source} are quantized with {found[0]}; expected floats, or "
            "bitsandbytes' int8: take the checkpoint that they were made of, or write floats "
            "where they can be read: model.dequantize(), then model.save_pretrained(folder)"
        )


def method_of(config: Mapping[str, Any]) -> object:
    """The method of quantization that a config names, or None: MLX's own names none."""
    given = config.get(KEY)
    return given.get("quant_method") if isinstance(given, Mapping) else None


def forget_method(config: dict[str, Any]) -> None:
    """Take another library's quantization out of the config of a model that is floats now."""
    if method_of(config) is not None:
        del config[KEY]


def to_floats(
    tensors: Tensors, config: Mapping[str, Any], transposes: Callable[[str], bool], source: str
) -> Tensors:
    """The tensors with bitsandbytes' int8 weights multiplied out: weight · scale of its row / 127.

    They are of the type that the config gives. transposes -- whether a layer is stored as (in, out)
    by the models that have it, and so not as bitsandbytes has it.
    """
    dtype = HALF_TYPES.get(str(config.get("dtype") or config.get("torch_dtype")), mx.float32)
    layers = [name.removesuffix(SCALES) for name in tensors if name.endswith(SCALES)]
    floats: Tensors = {}
    for layer in layers:
        name = f"{layer}.weight"
        _check(layer, tensors, source)
        weight = tensors[name].astype(mx.float32) * (tensors[layer + SCALES][:, None] / 127)
        floats[name] = (weight.T if transposes(layer) else weight).astype(dtype)
    gone = {layer + end for layer in layers for end in (SCALES, LAYOUT)}
    return {name: floats.get(name, x) for name, x in tensors.items() if name not in gone}


def _check(layer: str, tensors: Tensors, source: str) -> None:
    weight, scales = tensors.get(f"{layer}.weight"), tensors[layer + SCALES]
    layout = tensors.get(layer + LAYOUT)
    rows = weight.shape[:1] if weight is not None and weight.ndim == 2 else None
    if weight is None or weight.dtype != mx.int8 or scales.shape != rows:
        raise WeightsError(
            f"{layer}{SCALES} of {source} is {tuple(scales.shape)}; expected a scale for each row "
            "of an int8 weight beside it: download the file again"
        )
    if layout is not None and (layout.size != 1 or layout.item() != 0):
        raise WeightsError(
            f"{layer}.weight of {source} is int8 in the order of one kind of GPU; expected rows: "
            "load it with bitsandbytes 0.43 or later and save it again"
        )
