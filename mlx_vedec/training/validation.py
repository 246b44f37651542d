"""How good a model is on batches that it is not trained on: its loss, and the texts it writes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import mlx.core as mx

from ..data.batches import Batches
from ..errors import TrainingError
from ..measuring.evaluation import Evaluation, evaluate
from ..measuring.processes import gather
from ..reading.processor import Processor
from .optimizers import Tree
from .steps import Stepper


@dataclass(frozen=True)
class Validation:
    """The mean loss of a token, in `seconds`; where texts were read, error rates and a few texts.

    cer, wer -- of characters and of words, as `evaluate` has them. samples -- a few pairs of what
    was read and what should have been
    """

    loss: float
    seconds: float
    cer: float | None = None
    wer: float | None = None
    samples: tuple[tuple[str, str], ...] = ()

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

    Texts are read greedily, to twice the longest labels, unless the generation options say
    otherwise. Afterwards the model has its own weights again and trains on.
    """
    start, limit = time.perf_counter(), len(batches) if limit < 0 else limit
    stepper.model.eval()
    found = None
    try:
        loss = _loss(stepper, batches, weights, limit)
        if processor is not None:
            stepper.place(weights, stepper.computed)
            found = _read(stepper, batches, processor, limit, options or {})
    finally:
        stepper.model.train()
        stepper.place(stepper.weights.trained)
        mx.clear_cache()  # generation leaves buffers of many sizes
    seconds = time.perf_counter() - start
    if found is None:
        return Validation(loss, seconds)
    cer, wer = (found.metrics[name].value for name in ("cer", "wer"))
    samples = tuple((row.prediction, row.references[0]) for row in found.rows[:shown])
    return Validation(loss, seconds, cer, wer, samples)


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


def _read(
    stepper: Stepper,
    batches: Batches,
    processor: Processor,
    limit: int,
    options: Mapping[str, Any],
) -> Evaluation:
    """What the model reads in the images of the batches, which all processes share."""
    samples = sorted(int(index) for part in batches.indices(0)[:limit] for index in part)
    longest = 2 * int(batches.widths[samples].max())
    greedy = {"num_beams": 1, "do_sample": False, "max_new_tokens": longest}
    with warnings.catch_warnings():  # no caller asked for this length, which may be past the table
        warnings.filterwarnings("ignore", ".* past the end of the position table")
        return evaluate(
            stepper.model,
            processor,
            [batches.dataset[index] for index in samples],
            batch_size=batches.rows,
            metrics=("cer", "wer"),
            bootstrap=0,
            group=stepper.group,
            **{"generation_config": greedy, **options},
        )
