"""Image encoders by Hugging Face's model type, a file for each family.

Imports layers and checkpoints, and reads no files.
"""

from __future__ import annotations

from typing import Any

from ..checkpoints.families import Families
from .encoder import Encoder

ENCODERS: Families[Encoder[Any]] = Families(
    __name__,
    {
        "vit": "vit.ViTModel",
        "deit": "vit.DeiTModel",
        "beit": "beit.BeitModel",
        "data2vec-vision": "beit.Data2VecVisionModel",
        "swin": "swin.SwinModel",
        "donut-swin": "swin.DonutSwinModel",
        "swinv2": "swinv2.Swinv2Model",
        "vit_msn": "vit.ViTMSNModel",
        "dinov2": "dinov2.Dinov2Model",
        "dinov2_with_registers": "dinov2.Dinov2WithRegistersModel",
        "dinov3_vit": "dinov3.DINOv3ViTModel",
        "clip_vision_model": "clip.CLIPVisionModel",
        "siglip_vision_model": "clip.SiglipVisionModel",
        "chinese_clip_vision_model": "clip.ChineseCLIPVisionModel",
        "mlcd_vision_model": "mlcd.MLCDVisionModel",
        "mlcd": "mlcd.MLCDVisionModel",
        "aimv2_vision_model": "aimv2.Aimv2VisionModel",
        "internvl_vision": "internvl.InternVLVisionModel",
        "hiera": "hiera.HieraModel",
        "ijepa": "vit.IJepaModel",
        "dpt": "vit.DPTModel",
        "yolos": "yolos.YolosModel",
        "pixio": "pixio.PixioModel",
        "tipsv2_vision_model": "dinov2.Tipsv2VisionModel",
    },
)
