"""What the tests of training share: random batches, and a small model that has dropout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_vedec.training.arguments import TrainingArguments
from tests.support.tiny import tiny_model

OFF = {"hidden_dropout_prob": 0.0}, {"dropout": 0.0}
ON = {"hidden_dropout_prob": 0.1}, {"dropout": 0.1, "attention_dropout": 0.1}


@dataclass(frozen=True)
class RandomBatch:
    pixel_values: mx.array
    decoder_input_ids: mx.array
    labels: mx.array


class RandomBatches:
    """Random pixels and labels of unequal length, as `Batches` would give them.

    empty -- the batches of each epoch whose labels all do not count
    """

    def __init__(
        self, count: int = 5, rows: int = 4, *, seed: int = 0, rank=0, world=1, empty=(), pad=0
    ) -> None:
        self.count, self.rows, self.seed, self.pad = count, rows, seed, pad
        self.rank, self.world, self.empty, self.opened = rank, world, empty, 0

    def __len__(self) -> int:
        return self.count

    def epoch(self, number: int, start: int = 0) -> Iterator[RandomBatch]:
        self.opened += 1
        try:
            for index in range(start, self.count):
                yield self.batch(number, index)
        finally:
            self.opened -= 1

    def batch(self, number: int, index: int) -> RandomBatch:
        random = np.random.default_rng([self.seed, number, index])
        pixels = random.normal(size=(self.rows, 16, 16, 3)).astype(np.float32)
        ids = random.integers(3, 37, (self.rows, 7))
        ids[:, 0] = 2
        lengths = random.integers(1, 7, self.rows)
        labels = np.where(np.arange(6) < lengths[:, None], ids[:, 1:], -100)
        labels = labels if index not in self.empty else np.full_like(labels, -100)
        labels = np.pad(labels, [(0, 0), (0, self.pad)], constant_values=-100)
        ids = np.pad(ids[:, :-1], [(0, 0), (0, self.pad)], constant_values=1)
        return RandomBatch(
            mx.array(self._share(pixels, 0)),
            mx.array(self._share(ids, 1).astype(np.int32)),
            mx.array(self._share(labels, -100).astype(np.int32)),
        )

    def _share(self, rows: np.ndarray, filler: int) -> np.ndarray:
        """This process's rows, as many as the others have."""
        own = rows[self.rank :: self.world]
        lacking = -(-len(rows) // self.world) - len(own)
        padding = [(0, lacking), *[(0, 0)] * (rows.ndim - 1)]
        return np.pad(own, padding, constant_values=filler)


class Keeper:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.train: list[dict] = []
        self.val: list[dict] = []
        self.losses: list[float] = []
        self.saved: list[int] = []

    def on_train_loss_report(self, info) -> None:
        self.train.append(dict(info))

    def on_val_loss_report(self, info) -> None:
        self.val.append(dict(info))

    def on_save(self, info) -> None:
        assert Path(info["path"]).name == f"{info['iteration']:07}"
        self.saved.append(info["iteration"])

    def on_step(self, info) -> None:
        self.losses.append(info["loss"])


def fresh(settings: tuple[dict, dict] = OFF):
    """A small random model of a layer on each side, the same each time."""
    encoder, decoder = settings
    return tiny_model({"num_hidden_layers": 1, **encoder}, {"decoder_layers": 1, **decoder})


def quick(**changes) -> TrainingArguments:
    """Arguments that move a tiny model, uncompiled: MLX's CPU calls a compiler for each kernel."""
    return TrainingArguments(**{"learning_rate": 1e-3, "compile": False, **changes})


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
