"""Image encoders by Hugging Face's model type, a file for each family.

Imports layers and checkpoints, and reads no files.
"""

from __future__ import annotations

from typing import Any

from .aimv2 import Aimv2VisionModel
from .beit import BeitModel, Data2VecVisionModel
from .clip import ChineseCLIPVisionModel, CLIPVisionModel, SiglipVisionModel
from .dinov2 import Dinov2Model, Dinov2WithRegistersModel, Tipsv2VisionModel
from .dinov3 import DINOv3ViTModel
from .encoder import Encoder
from .hiera import HieraModel
from .internvl import InternVLVisionModel
from .mlcd import MLCDVisionModel
from .pixio import PixioModel
from .swin import DonutSwinModel, SwinModel
from .swinv2 import Swinv2Model
from .vit import DeiTModel, DPTModel, IJepaModel, ViTModel, ViTMSNModel
from .yolos import YolosModel

ENCODERS: dict[str, type[Encoder[Any]]] = {
    "vit": ViTModel,
    "deit": DeiTModel,
    "beit": BeitModel,
    "data2vec-vision": Data2VecVisionModel,
    "swin": SwinModel,
    "donut-swin": DonutSwinModel,
    "swinv2": Swinv2Model,
    "vit_msn": ViTMSNModel,
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
    "dinov3_vit": DINOv3ViTModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "chinese_clip_vision_model": ChineseCLIPVisionModel,
    "mlcd_vision_model": MLCDVisionModel,
    "mlcd": MLCDVisionModel,
    "aimv2_vision_model": Aimv2VisionModel,
    "internvl_vision": InternVLVisionModel,
    "hiera": HieraModel,
    "ijepa": IJepaModel,
    "dpt": DPTModel,
    "yolos": YolosModel,
    "pixio": PixioModel,
    "tipsv2_vision_model": Tipsv2VisionModel,
}
