"""Small random models: every part there, no number equal to another."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_vedec import DeiTConfig, TrOCRConfig, VisionEncoderDecoderConfig, ViTConfig
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel

VIT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 16,
    "patch_size": 4,
}
TROCR = {
    "vocab_size": 37,
    "d_model": 32,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 20,
}


def tiny_config(encoder: dict | None = None, decoder: dict | None = None, *, deit: bool = False):
    kind = DeiTConfig if deit else ViTConfig
    return VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        kind(**{**VIT, **(encoder or {})}), TrOCRConfig(**{**TROCR, **(decoder or {})})
    )


def tiny_model(encoder: dict | None = None, decoder: dict | None = None, *, deit: bool = False):
    """A model in eval mode whose weights are large enough for every part to matter."""
    mx.random.seed(0)
    model = VisionEncoderDecoderModel(tiny_config(encoder, decoder, deit=deit))
    model.apply(lambda x: mx.random.normal(x.shape, scale=0.2) + (x if x.ndim == 1 else 0))
    model.eval()
    return model


def pixels(rows: int = 2, height: int = 16, width: int = 16, channels: int = 3) -> mx.array:
    values = np.random.default_rng(0).normal(size=(rows, height, width, channels))
    return mx.array(values.astype(np.float32))
