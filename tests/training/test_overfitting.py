"""Everything at once: random weights, 16 rendered lines, and each of them read without an error."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.reading.processor import Reading
from mlx_vedec.training.trainer import train
from tests.support.training import Keeper, RandomBatch, quick

HEIGHT, WIDTH, LETTERS = 16, 48, "acehnorst"
START, END, FIRST = 2, 2, 3  # tokens; the last is that of the first letter


class Lines:
    """One batch: 16 words of 3 to 6 letters in Pillow's own font."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        lengths = random.integers(3, 7, 16)
        self.texts = ["".join(random.choice([*LETTERS], length)) for length in lengths]

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int, start: int = 0):
        ids = [[START, *(FIRST + LETTERS.index(c) for c in text), END] for text in self.texts]
        rows = np.array([row + [-100] * (8 - len(row)) for row in ids], np.int32)
        fed = np.where(rows == -100, 1, rows)[:, :-1]
        pixels = mx.array(np.stack([picture(text) for text in self.texts]))
        return iter([RandomBatch(pixels, mx.array(fed), mx.array(rows[:, 1:]))][start:])


class Words:
    def task_options(self):
        return {}

    def read(self, prompt, tokens):
        ended = tokens[: tokens.index(END)] if END in tokens else tokens
        return Reading("".join(LETTERS[token - FIRST] for token in ended if token >= FIRST))


def picture(text: str) -> np.ndarray:
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    ImageDraw.Draw(image).text((2, 2), text, fill=0, font=ImageFont.load_default(size=10))
    pixels = np.array(image, np.float32)[..., None] / 127.5 - 1
    return np.repeat(pixels, 3, axis=-1)


@pytest.mark.slow
def test_lines_are_learned_by_heart():
    mx.random.seed(0)
    encoder = ViTConfig(
        image_size=(HEIGHT, WIDTH), patch_size=8, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, hidden_dropout_prob=0.0,
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=FIRST + len(LETTERS), d_model=32, decoder_layers=2, decoder_attention_heads=2,
        decoder_ffn_dim=64, max_position_embeddings=16, dropout=0.0,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model, lines, seen = VisionEncoderDecoderModel(config), Lines(), Keeper()
    arguments = quick(iters=140, learning_rate=1e-2, warmup=20, schedule="cosine", generate=True)
    result = train(
        model, lines, arguments, valid=lines, processor=Words(), callbacks=[seen],
        generation={"eos_token_id": END},
    )  # fmt: skip
    rates = [info["cer"] for info in seen.val]
    assert rates[0] > 0.5
    assert result.best == 0, rates
    assert [sample.prediction for sample in seen.val[-1]["samples"]] == lines.texts[:3]
