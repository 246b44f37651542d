"""Everything at once: random weights, 16 rendered lines, and each of them read without an error."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.data.batches import Batches
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.images.image_processors import ImageProcessor
from mlx_vedec.reading.processor import Processor
from mlx_vedec.training.trainer import train
from tests.support import training_parts as parts
from tests.support.training import Keeper, quick

HEIGHT, WIDTH, LETTERS = 16, 48, "acehnorst"


def lines() -> list[tuple[Image.Image, str]]:
    """16 words of 3 to 6 letters in Pillow's own font."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 7, 16)
    words = ["".join(random.choice([*LETTERS], length)) for length in lengths]
    return [(picture(word), word) for word in words]


def picture(text: str) -> Image.Image:
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    ImageDraw.Draw(image).text((2, 2), text, fill=0, font=ImageFont.load_default(size=10))
    return image.convert("RGB")


@pytest.mark.slow
def test_lines_are_learned_by_heart():
    mx.random.seed(1)
    encoder = ViTConfig(
        image_size=(HEIGHT, WIDTH), patch_size=8, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, hidden_dropout_prob=0.0,
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=31, d_model=32, decoder_layers=2, decoder_attention_heads=2,
        decoder_ffn_dim=64, max_position_embeddings=16, dropout=0.0,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model, seen = VisionEncoderDecoderModel(config), Keeper()
    model.generation_config = GenerationConfig(**parts.IDS)
    size = {"height": HEIGHT, "width": WIDTH}
    processor = Processor(ImageProcessor(size=size), parts.tokenizer())
    batches = Batches(lines(), model, processor, batch_size=16, shuffle=False)
    arguments = quick(iters=240, learning_rate=5e-3, warmup=20, schedule="cosine", generate=True)
    result = train(model, batches, arguments, valid=batches, processor=processor, callbacks=[seen])
    rates = [info["cer"] for info in seen.val]
    assert rates[0] > 0.5
    assert result.best == 0, rates
    assert seen.val[-1]["samples"] == tuple((text, text) for _, text in lines()[:4])
