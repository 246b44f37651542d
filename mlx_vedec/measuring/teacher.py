"""What a model writes for images, and how likely any model finds each token of what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from ..errors import ImageError, OptionError
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.pipeline import Source, batch_generate
from ..reading.processor import Processor

LOGITS = 2**26  # of one slice of positions, 256 MB


class Written(NamedTuple):
    """A text as ids: what the decoder was given, the start token first, and what it wrote."""

    image: Source
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str


class Forced(NamedTuple):
    """Texts of one length for images of one size.

    pixels (B, H, W, C); fed (B, P + n - 1), what the decoder is given; tokens (B, n), what follows
    its last n positions
    """

    pixels: mx.array
    fed: mx.array
    tokens: mx.array


def written(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[Source],
    *,
    prompt: str | None = None,
    batch_size: int = 16,
    step: Callable[[], object] = lambda: None,
    **options: Any,
) -> list[Written]:
    """What a model writes for each image, never drawn by chance.

    step -- is called after each. Images that cannot be read are named, all at once.
    """
    if not images:
        raise OptionError("there are no images to read; give one or more")
    options = {"do_sample": False, **options}
    results = [
        *batch_generate(
            model,
            processor,
            images,
            prompt,
            batch_size=batch_size,
            progress=lambda _: step(),
            **options,
        )
    ]
    failed = [str(result.error) for result in results if result.error is not None]
    if failed:
        raise ImageError(f"{len(failed)} of {len(images)} images failed: {'; '.join(failed)}")
    given = processor.prompt_ids(prompt)
    whole = model.prompt(1, [given] if given else None, model.generation_options(**options))[0]
    start = tuple(whole[0].tolist())  # pyright: ignore[reportArgumentType]
    return [Written(i, start, r.tokens, r.text) for i, r in zip(images, results, strict=True)]


def forced(
    texts: Sequence[Written], processor: Processor, batch_size: int = 16
) -> Iterator[Forced]:
    """The texts in batches without padding, so that whatever a batch gives counts."""
    by_length: dict[int, list[Written]] = {}
    for text in texts:
        by_length.setdefault(len(text.tokens), []).append(text)
    for length in sorted(by_length):
        waiting: dict[tuple[int, ...], list[tuple[mx.array, Written]]] = {}
        for text in by_length[length]:
            pixels = processor.pixels([text.image])
            same = waiting.setdefault(tuple(pixels.shape), [])
            same.append((pixels, text))
            if len(same) == batch_size:
                yield _batch(waiting.pop(tuple(pixels.shape)))
        yield from map(_batch, waiting.values())


def _batch(items: list[tuple[mx.array, Written]]) -> Forced:
    texts = [text for _, text in items]
    return Forced(
        mx.concatenate([pixels for pixels, _ in items]),
        mx.array([text.prompt + text.tokens[:-1] for text in texts], mx.int32),
        mx.array([text.tokens for text in texts], mx.int32),
    )


def logprobs(
    model: VisionEncoderDecoderModel, features: mx.array, batch: Forced, temperature: float = 1.0
) -> Iterator[mx.array]:
    """Log-probabilities (B, n, V) at the places of the tokens, float32, in slices of places."""
    x = model.decoder.decode(batch.fed, model.memory(features))
    x = x[:, -batch.tokens.shape[1] :]
    places = max(1, LOGITS // (len(x) * model.config.decoder.vocab_size))
    for first in range(0, x.shape[1], places):
        logits = model.decoder.head(x[:, first : first + places]).astype(mx.float32) / temperature
        yield logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def divergence(teacher: mx.array, other: mx.array) -> mx.array:
    """KL divergence (B, n) in nats of log-probabilities (B, n, V) from the teacher's."""
    return (mx.exp(teacher) * (teacher - other)).sum(axis=-1)


def total(parts: Iterable[mx.array]) -> float:
    """The sum of all numbers, each part computed in its turn."""
    return float(sum(part.sum().item() for part in parts))  # pyright: ignore[reportArgumentType]
