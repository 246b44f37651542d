"""Models of well-known checkpoints' shapes with random weights, to measure without a download.

What such a model reads is noise, but every product, table and cache has its true size.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from ..decoders.bart import TrOCRConfig
from ..decoders.bert import BertConfig
from ..decoders.gpt2 import GPT2Config
from ..decoders.layer import DecoderConfig
from ..decoders.mbart import MBartConfig
from ..encoders.encoder import EncoderConfig
from ..encoders.swin import DonutSwinConfig
from ..encoders.vit import DeiTConfig, ViTConfig
from ..errors import OptionError, nearest
from ..generation.config import GenerationConfig
from ..model.config import VisionEncoderDecoderConfig
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel

Halves = tuple[EncoderConfig, DecoderConfig]


def _swin(image_size: tuple[int, int], window: int) -> DonutSwinConfig:
    return DonutSwinConfig(
        image_size=image_size,
        embed_dim=128,
        depths=(2, 2, 14, 2),
        num_heads=(4, 8, 16, 32),
        window_size=window,
    )


def _mbart(vocab_size: int, positions: int, *, tied: bool = True) -> MBartConfig:
    return MBartConfig(
        vocab_size=vocab_size,
        decoder_layers=4,
        max_position_embeddings=positions,
        scale_embedding=True,
        tie_word_embeddings=tied,
    )


SHAPES: dict[str, Callable[[], Halves]] = {  # configs are made anew, as they can be changed
    "trocr-base": lambda: (
        ViTConfig(image_size=384, qkv_bias=False),
        TrOCRConfig(cross_attention_hidden_size=768),
    ),
    "trocr-small": lambda: (
        DeiTConfig(image_size=384, hidden_size=384, num_attention_heads=6, intermediate_size=1536),
        TrOCRConfig(
            vocab_size=64044,
            d_model=256,
            decoder_layers=6,
            decoder_attention_heads=8,
            decoder_ffn_dim=1024,
            activation_function="relu",
            scale_embedding=True,
            tie_word_embeddings=False,
            cross_attention_hidden_size=384,
        ),
    ),
    "donut-base": lambda: (_swin((2560, 1920), 10), _mbart(57525, 1536)),
    "nougat-small": lambda: (_swin((896, 672), 7), _mbart(50000, 3584, tied=False)),
    "manga-ocr": lambda: (
        ViTConfig(),
        BertConfig(vocab_size=6144, num_hidden_layers=2, add_cross_attention=True),
    ),
    "vit-gpt2": lambda: (ViTConfig(), GPT2Config(add_cross_attention=True)),
}


def shape_config(
    name: str, image_size: int | tuple[int, int] | None = None
) -> VisionEncoderDecoderConfig:
    """The config of a shape by its name, perhaps for images of another size in pixels.

    >>> shape_config("donut-base", (640, 480)).encoder.image_size
    (640, 480)
    """
    if name not in SHAPES:
        raise OptionError(f"shape is {name!r}; {nearest(name, SHAPES)}")
    encoder, decoder = SHAPES[name]()
    if image_size is not None:
        encoder.image_size = image_size  # pyright: ignore[reportAttributeAccessIssue]
    return VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)


def random_model(
    name: str, image_size: int | tuple[int, int] | None = None, *, seed: int = 0
) -> VisionEncoderDecoderModel:
    """A model of a shape with random weights, in `eval()` mode and not computed yet.

    It has no end token, so that a text goes on until its length is reached.
    """
    mx.random.seed(seed)
    model = VisionEncoderDecoderModel(shape_config(name, image_size))
    model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
    model.eval()
    return model
