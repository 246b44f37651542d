"""Run and fine-tune Hugging Face VisionEncoderDecoder checkpoints natively on Apple MLX."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .composite import VisionEncoderDecoderConfig as VisionEncoderDecoderConfig
    from .conversion import convert as convert
    from .decoders.bart import TrOCRConfig as TrOCRConfig
    from .decoders.bart import TrOCRForCausalLM as TrOCRForCausalLM
    from .encoders.vit import DeiTConfig as DeiTConfig
    from .encoders.vit import DeiTModel as DeiTModel
    from .encoders.vit import ViTConfig as ViTConfig
    from .encoders.vit import ViTModel as ViTModel
    from .images import ImageProcessor as ImageProcessor
    from .images import load_image as load_image
    from .model import VisionEncoderDecoderModel as VisionEncoderDecoderModel
    from .pipeline import GenerationResponse as GenerationResponse
    from .pipeline import GenerationResult as GenerationResult
    from .pipeline import batch_generate as batch_generate
    from .pipeline import generate as generate
    from .pipeline import load as load
    from .pipeline import read_lines as read_lines
    from .pipeline import stream_generate as stream_generate
    from .processor import Processor as Processor
    from .text import Tokenizer as Tokenizer

__version__ = "0.1.0"

# Imported when first asked for, so that `import mlx_vedec` costs nothing.
HOMES = {
    "composite": ("VisionEncoderDecoderConfig",),
    "conversion": ("convert",),
    "decoders.bart": ("TrOCRConfig", "TrOCRForCausalLM"),
    "encoders.vit": ("DeiTConfig", "DeiTModel", "ViTConfig", "ViTModel"),
    "images": ("ImageProcessor", "load_image"),
    "model": ("VisionEncoderDecoderModel",),
    "pipeline": (
        "GenerationResponse",
        "GenerationResult",
        "batch_generate",
        "generate",
        "load",
        "read_lines",
        "stream_generate",
    ),
    "processor": ("Processor",),
    "text": ("Tokenizer",),
}
_MODULES = {name: module for module, names in HOMES.items() for name in names}
__all__ = sorted([*_MODULES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
