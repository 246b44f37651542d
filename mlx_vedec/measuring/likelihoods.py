"""How likely two models find the same texts, token by token, with the layers of both beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .layer_errors import LayerError, beside, layer_errors
from .teacher import Forced, Written, divergence, forced, logprobs, total


class Likelihoods(NamedTuple):
    """The three figures of the same names in a `Verification`."""

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
    """How alike the two are along the original's texts, and the layers' errors."""
    same = 0.0
    sums: list[float] = []
    counts: list[int] = []
    with beside(original, changed) as pairs:
        for batch in forced(texts, processor, batch_size):
            diverged = mx.zeros(len(batch.tokens))
            for teacher, other in _both(original, changed, batch):
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
    """The mean of what has these sums (N,) over these counts (N,), and its standard error."""
    mean, number = float(sums.sum() / counts.sum()), len(sums)
    if number < 2:
        return mean, None
    squares = ((sums - mean * counts) ** 2).sum() * number / (number - 1)
    return mean, float(np.sqrt(squares) / counts.sum())


def _both(
    original: VisionEncoderDecoderModel, changed: VisionEncoderDecoderModel, batch: Forced
) -> Iterator[tuple[mx.array, mx.array]]:
    return zip(
        logprobs(original, original.features(batch.pixels), batch),
        logprobs(changed, changed.features(batch.pixels), batch),
        strict=True,
    )
