"""Preparing batches beside training steps: how long the bundled model waits for its data.

python -m tests.benchmarks.loading [--short] [--rounds N] [--blas openblas|blis|none]

A round is a step on 16 lines of tests/data: forward, backward, AdamW over all weights. "waits" is
the time in the iterator; without threads that is all of the preparing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from mlx_vedec import load
from mlx_vedec.data.augmentation import parse_augment
from mlx_vedec.data.batches import Batches, TrainingBatch

from . import clock
from .measure import arguments, in_turn, show_ratio, show_times

LINES = Path("tests/data/lines")
ALL = "rotate=2,scale=0.05,shift=0.02,blur=0.5,contrast=0.3,brightness=0.3,noise=8,jpeg=30"
CASES = {
    "plain, no threads": {"workers": 0},
    "plain": {},
    "all augmentations, no threads": {"augment": parse_augment(ALL), "workers": 0},
    "all augmentations": {"augment": parse_augment(ALL)},
}


def epochs(batches: Batches) -> Iterator[TrainingBatch]:
    for number in itertools.count():
        yield from batches.epoch(number)


def main() -> None:
    """Print for each case what a step takes and waits, and the ratio."""
    chosen = arguments(__doc__, rounds=(40, 4))
    model, processor = load()
    model.train()
    rows = json.loads((LINES / "reference.json").read_text())
    data = [(str(LINES / row["file"]), row["label"]) for row in rows] * 20
    optimizer = optim.AdamW(1e-6)
    gradients = nn.value_and_grad(
        model, lambda b: model(b.pixel_values, b.decoder_input_ids, labels=b.labels).loss
    )

    def step(batch: TrainingBatch) -> None:
        _, found = gradients(batch)
        optimizer.update(model, found)
        mx.eval(model.parameters(), optimizer.state)

    for name, options in CASES.items():
        batches = Batches(data, model, processor, batch_size=16, leading=(), **options)
        with closing(epochs(batches)) as stream:
            held: list[TrainingBatch] = []

            def wait(
                stream: Iterator[TrainingBatch] = stream, held: list[TrainingBatch] = held
            ) -> float:
                start = clock()
                held[:] = [next(stream)]
                return clock() - start

            def work(held: list[TrainingBatch] = held) -> float:
                start = clock()
                step(held[0])
                return clock() - start

            times = in_turn({"waits": wait, "step": work}, chosen.rounds)
        print(f"{name}; {chosen.rounds} steps of 16 lines, {len(data)} in an epoch")
        show_times(times)
        show_ratio(times, "waits", "step", 0.1)
        mean = sum(times["waits"]) / sum(times["step"])
        print(f"  {'all waiting / all steps':52} {mean:.3f}", flush=True)


if __name__ == "__main__":
    main()
