"""Run and fine-tune Hugging Face VisionEncoderDecoder checkpoints natively on Apple MLX."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.wrapping import FusedLayer as FusedLayer
    from .adapters.wrapping import LoraConfig as LoraConfig
    from .adapters.wrapping import add_adapters as add_adapters
    from .adapters.wrapping import export_peft as export_peft
    from .adapters.wrapping import fuse as fuse
    from .adapters.wrapping import import_peft as import_peft
    from .adapters.wrapping import load_adapters as load_adapters
    from .adapters.wrapping import remove_adapters as remove_adapters
    from .adapters.wrapping import save_adapters as save_adapters
    from .conversion.calibration import Calibration as Calibration
    from .conversion.calibration import calibrate as calibrate
    from .conversion.convert import convert as convert
    from .conversion.fuse import fuse_checkpoint as fuse_checkpoint
    from .conversion.upload import upload as upload
    from .data.augmentation import Augment as Augment
    from .data.batches import Batches as Batches
    from .data.datasets import load_dataset as load_dataset
    from .data.datasets import load_splits as load_splits
    from .data.samples import Sample as Sample
    from .decoders.bart import BartConfig as BartConfig
    from .decoders.bart import BartForCausalLM as BartForCausalLM
    from .decoders.bart import MvpConfig as MvpConfig
    from .decoders.bart import MvpForCausalLM as MvpForCausalLM
    from .decoders.bart import PLBartConfig as PLBartConfig
    from .decoders.bart import PLBartForCausalLM as PLBartForCausalLM
    from .decoders.bart import TrOCRConfig as TrOCRConfig
    from .decoders.bart import TrOCRForCausalLM as TrOCRForCausalLM
    from .decoders.bert import BertConfig as BertConfig
    from .decoders.bert import BertGenerationConfig as BertGenerationConfig
    from .decoders.bert import BertGenerationDecoder as BertGenerationDecoder
    from .decoders.bert import BertLMHeadModel as BertLMHeadModel
    from .decoders.distilbert import DistilBertConfig as DistilBertConfig
    from .decoders.distilbert import DistilBertForCausalLM as DistilBertForCausalLM
    from .decoders.electra import ElectraConfig as ElectraConfig
    from .decoders.electra import ElectraForCausalLM as ElectraForCausalLM
    from .decoders.gpt2 import GPT2Config as GPT2Config
    from .decoders.gpt2 import GPT2LMHeadModel as GPT2LMHeadModel
    from .decoders.mbart import BlenderbotConfig as BlenderbotConfig
    from .decoders.mbart import BlenderbotForCausalLM as BlenderbotForCausalLM
    from .decoders.mbart import BlenderbotSmallConfig as BlenderbotSmallConfig
    from .decoders.mbart import BlenderbotSmallForCausalLM as BlenderbotSmallForCausalLM
    from .decoders.mbart import MarianConfig as MarianConfig
    from .decoders.mbart import MarianForCausalLM as MarianForCausalLM
    from .decoders.mbart import MBartConfig as MBartConfig
    from .decoders.mbart import MBartForCausalLM as MBartForCausalLM
    from .decoders.mbart import PegasusConfig as PegasusConfig
    from .decoders.mbart import PegasusForCausalLM as PegasusForCausalLM
    from .decoders.roberta import CamembertConfig as CamembertConfig
    from .decoders.roberta import CamembertForCausalLM as CamembertForCausalLM
    from .decoders.roberta import Data2VecTextConfig as Data2VecTextConfig
    from .decoders.roberta import Data2VecTextForCausalLM as Data2VecTextForCausalLM
    from .decoders.roberta import RobertaConfig as RobertaConfig
    from .decoders.roberta import RobertaForCausalLM as RobertaForCausalLM
    from .decoders.roberta import RobertaPreLayerNormConfig as RobertaPreLayerNormConfig
    from .decoders.roberta import RobertaPreLayerNormForCausalLM as RobertaPreLayerNormForCausalLM
    from .decoders.roberta import XLMRobertaConfig as XLMRobertaConfig
    from .decoders.roberta import XLMRobertaForCausalLM as XLMRobertaForCausalLM
    from .decoders.xglm import XGLMConfig as XGLMConfig
    from .decoders.xglm import XGLMForCausalLM as XGLMForCausalLM
    from .encoders.beit import BeitConfig as BeitConfig
    from .encoders.beit import BeitModel as BeitModel
    from .encoders.beit import Data2VecVisionConfig as Data2VecVisionConfig
    from .encoders.beit import Data2VecVisionModel as Data2VecVisionModel
    from .encoders.clip import CLIPVisionConfig as CLIPVisionConfig
    from .encoders.clip import CLIPVisionModel as CLIPVisionModel
    from .encoders.clip import SiglipVisionConfig as SiglipVisionConfig
    from .encoders.clip import SiglipVisionModel as SiglipVisionModel
    from .encoders.dinov2 import Dinov2Config as Dinov2Config
    from .encoders.dinov2 import Dinov2Model as Dinov2Model
    from .encoders.dinov2 import Dinov2WithRegistersConfig as Dinov2WithRegistersConfig
    from .encoders.dinov2 import Dinov2WithRegistersModel as Dinov2WithRegistersModel
    from .encoders.dinov3 import DINOv3ViTConfig as DINOv3ViTConfig
    from .encoders.dinov3 import DINOv3ViTModel as DINOv3ViTModel
    from .encoders.swin import DonutSwinConfig as DonutSwinConfig
    from .encoders.swin import DonutSwinModel as DonutSwinModel
    from .encoders.swin import SwinConfig as SwinConfig
    from .encoders.swin import SwinModel as SwinModel
    from .encoders.swinv2 import Swinv2Config as Swinv2Config
    from .encoders.swinv2 import Swinv2Model as Swinv2Model
    from .encoders.vit import DeiTConfig as DeiTConfig
    from .encoders.vit import DeiTModel as DeiTModel
    from .encoders.vit import ViTConfig as ViTConfig
    from .encoders.vit import ViTModel as ViTModel
    from .encoders.vit import ViTMSNConfig as ViTMSNConfig
    from .encoders.vit import ViTMSNModel as ViTMSNModel
    from .generation.config import GenerationConfig as GenerationConfig
    from .generation.options import Options as Options
    from .images.image_processors import AutoImageProcessor as AutoImageProcessor
    from .images.image_processors import BeitImageProcessor as BeitImageProcessor
    from .images.image_processors import BitImageProcessor as BitImageProcessor
    from .images.image_processors import CLIPImageProcessor as CLIPImageProcessor
    from .images.image_processors import DeiTImageProcessor as DeiTImageProcessor
    from .images.image_processors import DINOv3ViTImageProcessor as DINOv3ViTImageProcessor
    from .images.image_processors import DonutImageProcessor as DonutImageProcessor
    from .images.image_processors import ImageProcessor as ImageProcessor
    from .images.image_processors import NougatImageProcessor as NougatImageProcessor
    from .images.image_processors import SiglipImageProcessor as SiglipImageProcessor
    from .images.image_processors import ViTImageProcessor as ViTImageProcessor
    from .images.image_processors import load_image as load_image
    from .layers.decoder_cache import DecoderCache as DecoderCache
    from .layers.decoder_cache import KVCache as KVCache
    from .layers.decoder_cache import RotatingKVCache as RotatingKVCache
    from .layers.quantization import QuantizationConfig as QuantizationConfig
    from .measuring.benchmark import benchmark as benchmark
    from .measuring.benchmark_results import Benchmark as Benchmark
    from .measuring.evaluation import Evaluation as Evaluation
    from .measuring.evaluation import evaluate as evaluate
    from .measuring.verification import Verification as Verification
    from .measuring.verification import verify as verify
    from .model.config import VisionEncoderDecoderConfig as VisionEncoderDecoderConfig
    from .model.memory import MemoryEstimate as MemoryEstimate
    from .model.memory import estimate_memory as estimate_memory
    from .model.vision_encoder_decoder import VisionEncoderDecoderModel as VisionEncoderDecoderModel
    from .reading.pipeline import GenerationResponse as GenerationResponse
    from .reading.pipeline import GenerationResult as GenerationResult
    from .reading.pipeline import batch_generate as batch_generate
    from .reading.pipeline import generate as generate
    from .reading.pipeline import load as load
    from .reading.pipeline import read_lines as read_lines
    from .reading.pipeline import stream_generate as stream_generate
    from .reading.processor import DonutProcessor as DonutProcessor
    from .reading.processor import NougatProcessor as NougatProcessor
    from .reading.processor import Processor as Processor
    from .reading.processor import TrOCRProcessor as TrOCRProcessor
    from .reading.vocabulary import add_tokens as add_tokens
    from .reading.word_boxes import WordBox as WordBox
    from .text.error_rates import Normalization as Normalization
    from .text.error_rates import character_error_rate as character_error_rate
    from .text.error_rates import word_error_rate as word_error_rate
    from .text.tokenizer import Tokenizer as Tokenizer
    from .training.arguments import TrainingArguments as TrainingArguments
    from .training.trainer import TrainingResult as TrainingResult
    from .training.trainer import train as train

__version__ = "0.1.0"

# Imported when first asked for, so that `import mlx_vedec` costs nothing.
HOMES = {
    "adapters.wrapping": (
        "FusedLayer",
        "LoraConfig",
        "add_adapters",
        "export_peft",
        "fuse",
        "import_peft",
        "load_adapters",
        "remove_adapters",
        "save_adapters",
    ),
    "measuring.benchmark_results": ("Benchmark",),
    "measuring.benchmark": ("benchmark",),
    "reading.word_boxes": ("WordBox",),
    "layers.decoder_cache": ("DecoderCache", "KVCache", "RotatingKVCache"),
    "model.config": ("VisionEncoderDecoderConfig",),
    "conversion.convert": ("convert",),
    "decoders.bart": (
        "BartConfig",
        "BartForCausalLM",
        "MvpConfig",
        "MvpForCausalLM",
        "PLBartConfig",
        "PLBartForCausalLM",
        "TrOCRConfig",
        "TrOCRForCausalLM",
    ),
    "decoders.bert": (
        "BertConfig",
        "BertGenerationConfig",
        "BertGenerationDecoder",
        "BertLMHeadModel",
    ),
    "decoders.distilbert": ("DistilBertConfig", "DistilBertForCausalLM"),
    "decoders.electra": ("ElectraConfig", "ElectraForCausalLM"),
    "decoders.gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "decoders.mbart": (
        "BlenderbotConfig",
        "BlenderbotForCausalLM",
        "BlenderbotSmallConfig",
        "BlenderbotSmallForCausalLM",
        "MBartConfig",
        "MBartForCausalLM",
        "MarianConfig",
        "MarianForCausalLM",
        "PegasusConfig",
        "PegasusForCausalLM",
    ),
    "decoders.roberta": (
        "CamembertConfig",
        "CamembertForCausalLM",
        "Data2VecTextConfig",
        "Data2VecTextForCausalLM",
        "RobertaConfig",
        "RobertaForCausalLM",
        "RobertaPreLayerNormConfig",
        "RobertaPreLayerNormForCausalLM",
        "XLMRobertaConfig",
        "XLMRobertaForCausalLM",
    ),
    "decoders.xglm": ("XGLMConfig", "XGLMForCausalLM"),
    "encoders.beit": ("BeitConfig", "BeitModel", "Data2VecVisionConfig", "Data2VecVisionModel"),
    "encoders.clip": (
        "CLIPVisionConfig",
        "CLIPVisionModel",
        "SiglipVisionConfig",
        "SiglipVisionModel",
    ),
    "encoders.dinov2": (
        "Dinov2Config",
        "Dinov2Model",
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
    ),
    "encoders.dinov3": ("DINOv3ViTConfig", "DINOv3ViTModel"),
    "encoders.swin": ("DonutSwinConfig", "DonutSwinModel", "SwinConfig", "SwinModel"),
    "encoders.swinv2": ("Swinv2Config", "Swinv2Model"),
    "encoders.vit": (
        "DeiTConfig",
        "DeiTModel",
        "ViTConfig",
        "ViTMSNConfig",
        "ViTMSNModel",
        "ViTModel",
    ),
    "measuring.evaluation": ("Evaluation", "evaluate"),
    "conversion.fuse": ("fuse_checkpoint",),
    "generation.config": ("GenerationConfig",),
    "generation.options": ("Options",),
    "images.image_processors": (
        "AutoImageProcessor",
        "BeitImageProcessor",
        "BitImageProcessor",
        "CLIPImageProcessor",
        "DINOv3ViTImageProcessor",
        "DeiTImageProcessor",
        "DonutImageProcessor",
        "ImageProcessor",
        "NougatImageProcessor",
        "SiglipImageProcessor",
        "ViTImageProcessor",
        "load_image",
    ),
    "model.memory": ("MemoryEstimate", "estimate_memory"),
    "model.vision_encoder_decoder": ("VisionEncoderDecoderModel",),
    "text.error_rates": ("Normalization", "character_error_rate", "word_error_rate"),
    "reading.pipeline": (
        "GenerationResponse",
        "GenerationResult",
        "batch_generate",
        "generate",
        "load",
        "read_lines",
        "stream_generate",
    ),
    "reading.processor": ("DonutProcessor", "NougatProcessor", "Processor", "TrOCRProcessor"),
    "conversion.calibration": ("Calibration", "calibrate"),
    "measuring.verification": ("Verification", "verify"),
    "layers.quantization": ("QuantizationConfig",),
    "text.tokenizer": ("Tokenizer",),
    "training.arguments": ("TrainingArguments",),
    "data.augmentation": ("Augment",),
    "data.batches": ("Batches",),
    "data.datasets": ("load_dataset", "load_splits"),
    "data.samples": ("Sample",),
    "training.trainer": ("TrainingResult", "train"),
    "conversion.upload": ("upload",),
    "reading.vocabulary": ("add_tokens",),
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
