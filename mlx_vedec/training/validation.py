"""How good a model is on batches that it is not trained on: its loss, and the texts it writes."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import mlx.core as mx

from ..data.batches import Batches
from ..data.samples import Sample
from ..errors import MetricError, OptionError, TokenError, TrainingError
from ..images.loading import ImageSource
from ..measuring.evaluation import Evaluation, evaluate
from ..measuring.processes import gather
from ..measuring.references import reading_tasks
from ..reading.processor import Processor
from .optimizers import Tree
from .steps import Stepper

LOG = logging.getLogger("mlx_vedec")


@dataclass(frozen=True)
class Validation:
    """The mean loss of a token, in `seconds`; where texts were read, error rates and a few texts.

    cer, wer -- of characters and of words, as `evaluate` has them; None where only a few images
    were read. samples -- a few pairs of what was read and what should have been. images -- those of
    the samples
    """

    loss: float
    seconds: float
    cer: float | None = None
    wer: float | None = None
    samples: tuple[tuple[str, str], ...] = ()
    images: tuple[ImageSource, ...] = ()

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
    shown: int = 4,
    rates: bool = True,
) -> Validation:
    """Evaluate weights on the first `limit` batches, with texts if there is a processor.

    shown -- how many texts are kept to be shown. rates -- read all images of the batches, for the
    error rates, not only those shown; without, texts that cannot be read are a warning. Texts are
    read greedily, to twice the longest labels, unless the generation options say otherwise.
    Afterwards the model has its own weights again and trains on.
    """
    start, limit = time.perf_counter(), len(batches) if limit < 0 else limit
    stepper.model.eval()
    texts: dict[str, Any] = {}
    try:
        loss = _loss(stepper, batches, weights, limit)
        if processor is not None and (rates or shown):
            stepper.place(weights, stepper.computed)
            texts = _texts(stepper, batches, processor, limit, shown, rates, options or {})
    finally:
        stepper.model.train()
        stepper.place(stepper.weights.trained)
        mx.clear_cache()  # generation leaves buffers of many sizes
    return Validation(loss, time.perf_counter() - start, **texts)


def _loss(stepper: Stepper, batches: Batches, weights: Tree, limit: int) -> float:
    """The mean loss of a label that counts, over the batches of all processes."""
    sums = [0.0, 0.0]
    with closing(batches.epoch(0)) as stream:
        for batch in islice(stream, limit):
            part = [float(value.item()) for value in stepper.compare(batch, weights)]  # pyright: ignore
            sums = [a + b for a, b in zip(sums, part, strict=True)]
    loss, tokens = (sum(column) for column in zip(*gather(sums, stepper.group), strict=True))
    if not tokens:
        raise TrainingError("no label counts in the validation batches; give it more, or others")
    return loss / tokens


def _texts(
    stepper: Stepper,
    batches: Batches,
    processor: Processor,
    limit: int,
    shown: int,
    rates: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of `Validation` that come from reading images: all, or those that are shown.

    All processes share the images, and each has the whole result.
    """
    most = None if rates else shown
    places = sorted(int(index) for part in batches.indices(0)[:limit] for index in part)[:most]
    samples = [batches.dataset[index] for index in places]
    longest = 2 * int(batches.widths[places].max())
    try:
        found = _read(stepper, samples, processor, batches.rows, longest, options)
    except (MetricError, OptionError, TokenError) as error:
        if rates:
            raise
        if not stepper.group.rank():
            LOG.warning("no samples are shown: %s", error)
        return {}
    rows = found.rows[:shown]
    tasks = reading_tasks(samples, processor)[: len(rows)]
    values = {name: found.metrics[name].value for name in ("cer", "wer") if rates}
    return {
        "samples": tuple((row.prediction, row.references[0]) for row in rows),
        "images": tuple(samples[task.index].image for task in tasks),
        **values,
    }


def _read(
    stepper: Stepper,
    samples: Sequence[Sample],
    processor: Processor,
    batch_size: int,
    longest: int,
    options: Mapping[str, Any],
) -> Evaluation:
    """What the model reads in images, to at most `longest` tokens."""
    greedy = {"num_beams": 1, "do_sample": False, "max_new_tokens": longest}
    with warnings.catch_warnings():  # no caller asked for this length, which may be past the table
        warnings.filterwarnings("ignore", ".* past the end of the position table")
        return evaluate(
            stepper.model,
            processor,
            samples,
            batch_size=batch_size,
            metrics=("cer", "wer"),
            bootstrap=0,
            group=stepper.group,
            **{"generation_config": greedy, **options},
        )
