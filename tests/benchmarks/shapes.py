"""The shapes that are measured, with random weights, and their decoding step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_vedec import MBartConfig, TrOCRConfig, VisionEncoderDecoderConfig, ViTConfig
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel

from . import clock


class Given(VisionEncoderDecoderModel):
    """A model whose encoder costs nothing: every image has the features it is given here."""

    given: mx.array

    def encode(self, pixel_values: mx.array, **kwargs: Any) -> mx.array:
        return mx.repeat(self.given, len(pixel_values), axis=0)


def trocr(layers: int = 12) -> Given:
    """TrOCR-base's decoder, and features (1, 577, 768) as of ViT-base at 384 pixels."""
    return decoder_model(
        TrOCRConfig(decoder_layers=layers, cross_attention_hidden_size=768), 577, 768
    )


def nougat(layers: int = 10) -> Given:
    """Nougat-base's decoder, and features (1, 588, 1024) as of its Swin at 896 by 672 pixels."""
    config = MBartConfig(
        vocab_size=50000,
        decoder_layers=layers,
        decoder_attention_heads=16,
        decoder_ffn_dim=4096,
        max_position_embeddings=4096,
        scale_embedding=True,
    )
    return decoder_model(config, 588, 1024)


def decoder_model(decoder: Any, features: int, dims: int) -> Given:
    """A decoder of any config, and random features (1, features, dims)."""
    encoder = ViTConfig(hidden_size=dims, num_attention_heads=16, num_hidden_layers=1)
    mx.random.seed(0)
    model = Given(VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    # no end token: every text goes on until its length is reached
    model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
    model.given = mx.random.normal((1, features, dims))
    model.eval()
    mx.eval(model.parameters(), model.given)
    return model


def stepper(
    model: Any,
    *rows: int,
    apart: int = 8,
    features: mx.array | None = None,
    logprobs: bool = True,
    **options: Any,
) -> Callable[[], None]:
    """A generation, as a function that takes its next step and waits for it.

    rows -- images that begin together; of several numbers, each `apart` steps after those before it
    features -- of one image, by default those that the model was given
    logprobs -- keep those of the tokens, as `batch_generate` does and `model.generate` does not
    """
    image = model.given if features is None else features
    flow = model.stepper(model.generation_options(**options)).flow()

    def step() -> None:
        flow.advance()
        mx.eval([cohort.state.arrays() for cohort in flow.cohorts])

    for count in rows or (1,):
        for _ in range(apart if len(flow) else 0):
            step()
        prompt, settled = model.prompt(count, None, model.generation_options(**options))
        images = mx.repeat(image, count, axis=0)
        flow.add(*model.begin(images, prompt, settled, logprobs=logprobs))
    return step


def graph_stepper(model: Given, rows: int) -> Callable[[], None]:
    """The decoder alone on so many rows of one image, fed the same tokens at every step."""
    cache = model.decoder.make_cache(model.memory(model.given), rows)
    tokens = mx.arange(5, 5 + rows)[:, None]
    return lambda: mx.eval(model.step(tokens, cache, None))


def per_step(model: Given, steps: int, rows: int = 1, **options: Any) -> Callable[[], float]:
    """A side that begins a generation anew and takes so many steps: seconds of the middle one."""

    def side() -> float:
        step, seconds = stepper(model, rows, **options), []
        for _ in range(steps):
            start = clock()
            step()
            seconds.append(clock() - start)
        return sorted(seconds)[steps // 2]

    return side
