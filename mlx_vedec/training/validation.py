"""How good a model is on batches that it is not trained on: its loss, and the texts it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from ..errors import TrainingError
from ..measuring.processes import gather
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from ..text.error_rates import characters, words
from .optimizers import Tree
from .steps import IGNORED, Batch, Stepper


class Batches(Protocol):
    """What is trained on: some number of batches in each epoch, the same in all processes."""

    def __len__(self) -> int: ...
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]: ...  # noqa: D102


@contextmanager
def epoch(batches: Batches, number: int, start: int = 0) -> Iterator[Iterator[Batch]]:
    """The batches of an epoch; what prepares them ends with the context."""
    stream = batches.epoch(number, start)
    try:
        yield stream
    finally:
        getattr(stream, "close", lambda: None)()


class Sample(NamedTuple):
    """A text as the model writes it and as it should be."""

    prediction: str
    reference: str


@dataclass(frozen=True)
class Validation:
    """The mean loss of a token, and where texts were generated, their error rates and a few."""

    loss: float
    seconds: float
    cer: float | None = None
    wer: float | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def score(self) -> float:
        """What makes one evaluation better than another: the lower CER, or loss without texts."""
        return self.loss if self.cer is None else self.cer


def validate(
    stepper: Stepper,
    batches: Batches,
    weights: Tree,
    *,
    limit: int = -1,
    processor: Processor | None = None,
    options: Mapping[str, Any] | None = None,
    shown: int = 3,
) -> Validation:
    """Evaluate weights on the first `limit` batches, with texts if there is a processor.

    Texts are read greedily, to twice the longest label of their batch, unless the generation
    options say otherwise. Afterwards the model has its own weights again and trains on.
    """
    start = time.perf_counter()
    stepper.model.eval()
    totals, samples = [0.0] * 6, []
    try:
        with epoch(batches, 0) as stream:
            for batch in islice(stream, limit if limit >= 0 else None):
                part = [float(value.item()) for value in stepper.compare(batch, weights)]  # pyright: ignore
                stepper.place(weights, stepper.computed)
                texts = read(stepper.model, batch, processor, options) if processor else []
                samples += texts[: shown - len(samples)]
                totals = [a + b for a, b in zip(totals, part + _errors(texts), strict=True)]
    finally:
        stepper.model.train()
        stepper.place(stepper.weights.trained)
        mx.clear_cache()  # generation leaves buffers of many sizes
    totals = [float(sum(column)) for column in zip(*gather(totals, stepper.group), strict=True)]
    return _validation(totals, samples, processor is not None, time.perf_counter() - start)


def _validation(
    totals: list[float], samples: list[Sample], read: bool, seconds: float
) -> Validation:
    loss, tokens, edits, chars, word_edits, words = totals
    if not tokens:
        raise TrainingError("no label counts in the validation batches; give it more, or others")
    rates = (edits / max(chars, 1), word_edits / max(words, 1)) if read else (None, None)
    return Validation(loss / tokens, seconds, *rates, samples=tuple(samples))


def _errors(texts: list[Sample]) -> list[float]:
    """Edits and characters, edits and words, each summed."""
    totals = [0.0] * 4
    for sample in texts:
        shares = *characters(*sample), *words(*sample)
        totals = [a + b for a, b in zip(totals, shares, strict=True)]
    return totals


def read(
    model: VisionEncoderDecoderModel,
    batch: Batch,
    processor: Processor,
    options: Mapping[str, Any] | None = None,
) -> list[Sample]:
    """The texts of a batch: what is generated after the ids before the first label that counts."""
    ids, labels = _rows(batch.decoder_input_ids), _rows(batch.labels)
    by_prompt: dict[int, list[int]] = {}
    for row, wanted in enumerate(labels):
        first = next((place for place, label in enumerate(wanted) if label != IGNORED), None)
        if first is not None:
            by_prompt.setdefault(first + 1, []).append(row)
    found: dict[int, Sample] = {}
    for length, rows in by_prompt.items():
        settings = {**_defaults(model, processor, len(labels[0]), length), **(options or {})}
        prompts = mx.array([ids[row][:length] for row in rows], mx.int32)
        pixels = batch.pixel_values[mx.array(rows)]
        written: Any = model.generate(pixels, decoder_input_ids=prompts, **settings)
        for row, tokens in zip(rows, _rows(written), strict=True):
            wanted = [label for label in labels[row] if label != IGNORED]
            answers = tokens[length:], wanted
            found[row] = Sample(*(processor.read(ids[row][:length], a).text for a in answers))
    return [found[row] for row in sorted(found)]


def _rows(tokens: mx.array) -> list[list[int]]:
    return tokens.tolist()  # pyright: ignore[reportReturnType]


def _defaults(
    model: VisionEncoderDecoderModel, processor: Processor, width: int, prompt: int
) -> dict[str, Any]:
    """Greedy, and no longer than twice the labels or what there are positions for."""
    room = model.decoder.max_positions
    longest = 2 * width if room is None else min(2 * width, room - prompt)
    task = processor.task_options()
    return {**task, "num_beams": 1, "do_sample": False, "max_new_tokens": max(1, longest)}
