"""The texts that a model writes for images, and how likely models find them, token by token.

Every model is given the same tokens before each token, whatever it would have written itself
(teacher forcing). Beside it each quantized layer's own error is found: what it makes of the same
inputs as the layer that it came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..errors import ImageError, OptionError
from ..images.loading import ImageSource
from ..layers.packed import Quantized, replace_layers, weight_shape
from ..layers.quantization_recipes import quantizable_layers
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import batch_generate
from ..reading.processor import Processor

LOGITS = 2**26  # numbers in the logits that are computed at a time, 256 MB of float32


# --- texts


class Written(NamedTuple):
    """A text as ids: what the decoder was given, the start token first, and what it wrote."""

    image: ImageSource
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
    images: Sequence[ImageSource],
    *,
    prompt: str | None = None,
    batch_size: int = 16,
    step: Callable[[], object] = lambda: None,
    **options: Any,
) -> list[Written]:
    """The text that a model writes for each image, never drawn by chance.

    step -- is called after each image. An `ImageError` names all images that cannot be read.
    """
    if not images:
        raise OptionError("there are no images to read; give one or more")
    options = {"do_sample": False, **options}
    given: dict[str, Any] = {"batch_size": batch_size, "progress": lambda _: step(), **options}
    results = [*batch_generate(model, processor, images, prompt, **given)]
    failed = [str(result.error) for result in results if result.error is not None]
    if failed:
        raise ImageError(f"{len(failed)} of {len(images)} images failed: {'; '.join(failed)}")
    ids = processor.prompt_ids(prompt)
    whole = model.prompt(1, [ids] if ids else None, model.generation_options(**options))[0]
    start = tuple(whole[0].tolist())  # pyright: ignore[reportArgumentType]
    return [Written(i, start, r.tokens, r.text) for i, r in zip(images, results, strict=True)]


def forced(
    texts: Sequence[Written], processor: Processor, batch_size: int = 16
) -> Iterator[Forced]:
    """The texts in batches without padding, so that every position of a batch counts."""
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


# --- distributions


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
    """The sum of all numbers, one array computed after another."""
    return float(sum(part.sum().item() for part in parts))  # pyright: ignore[reportArgumentType]


# --- layers


@dataclass(frozen=True)
class LayerError:
    """A layer by its name on disk, its bits, and |changed - original| / |original| of its output.

    Of a table that is the head as well it is the larger of the two errors.
    """

    name: str
    bits: int
    error: float


class ComparedLayer(nn.Module):
    """A layer that gives its own output, and sums up how far another layer's is from it."""

    def __init__(self, own: Any, other: Any) -> None:
        super().__init__()
        self.own, self._other, self.bits = own, other, other.bits
        self._sums: dict[str, tuple[mx.array, mx.array]] = {}

    def __call__(self, x: mx.array) -> mx.array:
        """The layer's own output."""
        return self._noted("call", self.own(x), self._other(x))

    def as_linear(self, x: mx.array) -> mx.array:
        """The layer's own logits, where a table of tokens is the head."""
        return self._noted("head", self.own.as_linear(x), self._other.as_linear(x))

    def _noted(self, use: str, own: mx.array, other: mx.array) -> mx.array:
        exact, zero = own.astype(mx.float32), mx.array(0.0)
        errors, squares = self._sums.get(use, (zero, zero))
        errors = errors + ((other.astype(mx.float32) - exact) ** 2).sum()
        self._sums = {**self._sums, use: (errors, squares + (exact**2).sum())}
        return own

    def settle(self) -> None:
        """Compute the sums, which frees what they are made of."""
        mx.eval(self._sums)

    @property
    def error(self) -> float | None:
        """The relative error; None where the layer was not used."""
        found = [math.sqrt(e.item() / max(s.item(), 1e-30)) for e, s in self._sums.values()]  # pyright: ignore[reportArgumentType]
        return max(found, default=None)


@contextmanager
def compared_layers(
    original: VisionEncoderDecoderModel, changed: VisionEncoderDecoderModel
) -> Iterator[Mapping[str, ComparedLayer]]:
    """Within the block, the original runs the quantized layers of the changed model beside its own.

    Layers of another shape, or that the original has not, are left out.
    """
    own, other = quantizable_layers(original), quantizable_layers(changed)
    quantized = {path: x for path, x in other.items() if isinstance(x, Quantized) and path in own}
    pairs = {
        path: ComparedLayer(own[path], layer)
        for path, layer in quantized.items()
        if weight_shape(own[path]) == weight_shape(layer)
    }
    try:
        replace_layers(original, pairs)
        yield pairs
    finally:
        replace_layers(original, {path: own[path] for path in pairs})


def layer_errors(
    changed: VisionEncoderDecoderModel, pairs: Mapping[str, ComparedLayer]
) -> tuple[LayerError, ...]:
    """The error of each compared layer, the largest first."""
    found = [
        LayerError(changed.renames.layer_on_disk(path), pair.bits, pair.error)
        for path, pair in pairs.items()
        if pair.error is not None
    ]
    return tuple(sorted(found, key=lambda layer: (-layer.error, layer.name)))


# --- two models


class Likelihoods(NamedTuple):
    """The figures of the same names in a `Verification`."""

    token_agreement: float
    divergence: float
    divergence_error: float | None


def side_by_side(
    original: VisionEncoderDecoderModel,
    changed: VisionEncoderDecoderModel,
    processor: Processor,
    texts: Sequence[Written],
    batch_size: int,
    step: Callable[[], None],
) -> tuple[Likelihoods, tuple[LayerError, ...]]:
    """How alike two models are along the original's texts, and the errors of the changed layers.

    step -- is called after each text
    """
    same = 0.0
    sums: list[float] = []
    counts: list[int] = []
    with compared_layers(original, changed) as pairs:
        for batch in forced(texts, processor, batch_size):
            both = (logprobs(m, m.features(batch.pixels), batch) for m in (original, changed))
            diverged = mx.zeros(len(batch.tokens))
            for teacher, other in zip(*both, strict=True):
                same += total([teacher.argmax(axis=-1) == other.argmax(axis=-1)])
                diverged = diverged + divergence(teacher, other).sum(axis=-1)
                mx.eval(diverged)
            for pair in pairs.values():
                pair.settle()
            sums += np.array(diverged).tolist()
            counts += [batch.tokens.shape[1]] * len(batch.tokens)
            for _ in range(len(batch.tokens)):
                step()
        layers = layer_errors(changed, pairs)
    mean, deviation = _mean(np.array(sums), np.array(counts))
    return Likelihoods(same / sum(counts), mean, deviation), layers


def _mean(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float | None]:
    """The mean of N sums over N counts, both (N,), and its standard error."""
    mean, number = float(sums.sum() / counts.sum()), len(sums)
    if number < 2:
        return mean, None
    squares = ((sums - mean * counts) ** 2).sum() * number / (number - 1)
    return mean, float(np.sqrt(squares) / counts.sum())
