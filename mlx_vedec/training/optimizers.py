"""The learning rate of an iteration, and the optimizers, which update weights by gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map

from .arguments import TrainingArguments

Tree = dict[str, Any]  # of arrays


def learning_rate(arguments: TrainingArguments, step: int, total: int) -> float:
    """The rate of iteration `step`, of those from 0 to `total` - 1.

    >>> arguments = TrainingArguments(learning_rate=1.0, schedule="linear", warmup=2)
    >>> [learning_rate(arguments, step, 6) for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    top, end = arguments.learning_rate, arguments.final_rate
    if step < arguments.warmup:
        return arguments.warmup_init + (top - arguments.warmup_init) * step / arguments.warmup
    if arguments.schedule == "constant":
        return top
    done = min(1.0, (step - arguments.warmup) / max(1, total - arguments.warmup))
    left = 1 - done if arguments.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return end + (top - end) * left


@dataclass
class Optimizer:
    """MLX's optimizers, each for some of the weights, which are all in one flat dict by name."""

    parts: list[tuple[optim.Optimizer, list[str]]]

    @property
    def state(self) -> Tree:
        """The state of MLX's optimizers, by the number of the part."""
        return {str(number): part.state for number, (part, _) in enumerate(self.parts)}

    def updated(
        self, state: Tree, rate: mx.array, gradients: Tree, weights: Tree
    ) -> tuple[Tree, Tree]:
        """The weights after one update, and the state; neither is changed in place."""
        new = {}
        for number, (part, names) in enumerate(self.parts):
            part.state = {**tree_map(lambda x: x, state[str(number)]), "learning_rate": rate}
            new |= part.apply_gradients({name: gradients[name] for name in names}, weights)
        return {name: new[name] for name in weights}, self.state


def make_optimizer(arguments: TrainingArguments, weights: Tree) -> Optimizer:
    """The optimizer for these weights; its rate is given with each update."""
    kinds: dict[tuple[str, float], list[str]] = {}
    for name, weight in weights.items():
        matrix = weight.ndim > 1
        decay = arguments.weight_decay if matrix or arguments.decay_all else 0.0
        kinds.setdefault((_kind(arguments.optimizer, name, matrix), decay), []).append(name)
    parts = [(_make(*kind, arguments), names) for kind, names in kinds.items()]
    for part, names in parts:
        part.init({name: weights[name] for name in names})
    return Optimizer(parts)


def _kind(optimizer: str, name: str, matrix: bool) -> str:
    """The optimizer by name; Muon is for matrices between hidden states, not tables or heads."""
    end = any(word in name for word in ("embed", "head", "token", "position"))
    return "adamw" if optimizer == "muon" and (end or not matrix) else optimizer


def _make(name: str, decay: float, arguments: TrainingArguments) -> optim.Optimizer:
    kinds: dict[str, Callable[..., optim.Optimizer]] = {
        "adamw": partial(optim.AdamW, weight_decay=decay, bias_correction=True),
        "adam": partial(optim.Adam, bias_correction=True),
        "adafactor": partial(
            optim.Adafactor, weight_decay=decay, scale_parameter=False, relative_step=False
        ),
        "muon": partial(optim.Muon, weight_decay=decay),
        "lion": partial(optim.Lion, weight_decay=decay),
        "sgd": partial(optim.SGD, momentum=arguments.momentum, weight_decay=decay),
    }
    return kinds[name](arguments.learning_rate)
