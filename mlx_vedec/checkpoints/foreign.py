"""Checkpoints of others that are near to ours: quantized weights read, the rest refused by name.

Of weights that another library has quantized, bitsandbytes' int8 are made floats. What else is near
and is something else is refused: an error says what the checkpoint is and what reads it, which a
list of missing tensors would not. Of a few the config is that of a supported family, and only the
tensors tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mlx.core as mx

from ..errors import ConfigError, WeightsError

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
RADIO = "C-RADIO, of which NVIDIA's Nemotron-Parse is made; transformers' RadioModel reads it"
MAP = (
    "a network whose features are a map (batch, channels, height, width), not a sequence, which "
    "transformers' VisionEncoderDecoderModel does not take either; transformers' AutoModel reads "
    "it alone"
)
WHOLE = (
    "a model of images and texts; take its vision part alone, as the class that transformers has "
    "for that writes it"
)
MODEL_TYPES = {  # what each is, and what reads it
    "my_hgnetv2": "the HGNetV2 of Texo, a small formula reader; the package `texo` reads it",
    "nemotron_parse": "NVIDIA's Nemotron-Parse, whose encoder is C-RADIO; transformers reads it "
    "with trust_remote_code=True",
    "radio": RADIO,
    "vit_mae": "MAE's encoder, which leaves patches out at random, in use too; transformers' "
    "ViTMAEModel reads it, and ViTModel its weights: take what that saves",
    **dict.fromkeys(("clip", "siglip", "chinese_clip", "aimv2", "tipsv2", "internvl"), WHOLE),
    **dict.fromkeys(("cvt", "convnext", "convnextv2", "resnet", "regnet", "bit"), MAP),
    **dict.fromkeys(("hgnet_v2", "poolformer", "segformer", "pvt_v2", "swiftformer"), MAP),
    **dict.fromkeys(("mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2"), MAP),
}
FOREIGN = (  # a part of a tensor's name, what it is the mark of, and what reads that
    (
        r"patch_embeddings\.projection\.conv\d+\.|\.blocks\.\d+\.ce\.\d+\.",
        "UniMERNet, a Donut-Swin with convolutions before and in its layers",
        "the package `unimernet` reads it",
    ),
    (
        r"embeddings\.(row|column)_embeddings$",
        "a Donut-Swin with positions of rows and columns (use_2d_embeddings), as texify made some",
        "the package `texify` reads it",
    ),
    (
        r"(^|\.)radio_model\.",
        "C-RADIO, of which NVIDIA's Nemotron-Parse is made",
        "transformers' RadioModel reads it",
    ),
    (
        r"\.(lora_[AB]|lora_embedding_[AB]|base_layer|original_module)(\.|$)",
        "a model with PEFT's adapters still on it",
        "save it after merge_and_unload(), or give the folder of adapters alone as adapter_path",
    ),
)


def refuse_config(values: Mapping[str, Any], part: str) -> None:
    """Raise `ConfigError` for a config whose model type or code is known to be of another kind.

    part -- what the config is of, for the error: "encoder", "decoder", "the checkpoint"
    """
    model_type, code = values.get("model_type"), values.get("auto_map")
    said = f"{part} model_type is {str(model_type)[:40]!r}"
    found = MODEL_TYPES.get(str(model_type), "")
    if "radio" in str(code).lower() and not found:
        found = RADIO
    if found:
        raise ConfigError(f"{said}: {found}; it is not supported here")
    if code:
        named = ", ".join(map(str, code.values())) if isinstance(code, Mapping) else str(code)
        raise ConfigError(
            f"{said}, and its code is in the checkpoint (auto_map: {named[:80]}), which is never "
            "run here; transformers reads it with trust_remote_code=True"
        )


def refuse_tensors(names: Iterable[str], source: str) -> None:
    """Raise `WeightsError` where a tensor's name is the mark of another architecture."""
    for name in names:
        for mark, what, reader in FOREIGN:
            if re.search(mark, name):
                raise WeightsError(
                    f"{source} is {what}, by its tensor {name[:80]}; it is not supported here; "
                    f"{reader}"
                )


def refuse_quantized(names: Iterable[str], config: Mapping[str, Any], source: str) -> None:
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
