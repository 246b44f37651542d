"""Checkpoints that are near to what is read here and are something else: refused by name.

An error says what the checkpoint is and what reads it, which a list of missing tensors would not.
Of a few the config is that of a supported family, and only the tensors tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError, WeightsError

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
TENSORS = (  # a part of a tensor's name, what it is the mark of, and what reads that
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
        for mark, what, reader in TENSORS:
            if re.search(mark, name):
                raise WeightsError(
                    f"{source} is {what}, by its tensor {name[:80]}; it is not supported here; "
                    f"{reader}"
                )
