"""Image encoders by Hugging Face's model type."""

from __future__ import annotations

from typing import Any

from .encoder import Encoder
from .vit import DeiTModel, ViTModel

ENCODERS: dict[str, type[Encoder[Any]]] = {"vit": ViTModel, "deit": DeiTModel}
