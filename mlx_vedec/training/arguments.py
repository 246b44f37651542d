"""How a model is trained: the options, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import TrainingError

OPTIMIZERS = ("adamw", "adam", "adafactor", "muon", "sgd", "lion")
SCHEDULES = ("constant", "linear", "cosine")
# What a resumed run may change: none of it changes how a step goes from the one before.
MAY_DIFFER = (
    *("iters", "epochs", "val_batches", "steps_per_report", "steps_per_eval", "save_every"),
    *("keep_checkpoints", "patience", "generate"),
)


def _option(default: Any, help: str, **limits: Any) -> Any:
    """A field with what its flag and its check need to know.

    limits -- choices: the values there are; least: of whole numbers; below: of numbers from 0 on
    """
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class TrainingArguments:
    """Options of a training, by mlx-lm's names where it has them; an iteration is an update.

    Of iters and epochs one is given; neither is 1000 iterations. What each option does stands
    beside it, in the `help` of the field's metadata.

    >>> TrainingArguments(iters=100, learning_rate=1e-4, schedule="cosine", warmup=10).optimizer
    'adamw'
    """

    iters: int | None = _option(None, "Updates of the weights in all.", least=1)
    epochs: int | None = _option(None, "Passes over the data, instead of iters.", least=1)
    learning_rate: float = _option(1e-5, "The learning rate.")
    optimizer: str = _option(
        "adamw",
        "The optimizer; muon is for matrices and leaves the rest to adamw.",
        choices=OPTIMIZERS,
    )
    weight_decay: float = _option(0.01, "Weight decay of matrices, for all optimizers but adam.")
    decay_all: bool = _option(False, "Decay norms and biases too, as torch does by default.")
    momentum: float = _option(0.9, "The momentum of sgd.", below=1)
    schedule: str = _option(
        "constant",
        "What the learning rate does after the warmup: linear and cosine end at final_rate.",
        choices=SCHEDULES,
    )
    final_rate: float = _option(0.0, "The learning rate of the last update, unless constant.")
    warmup: int = _option(0, "Updates in which the learning rate rises to its value.", least=0)
    warmup_init: float = _option(0.0, "The learning rate that the warmup begins with.")
    grad_accumulation_steps: int = _option(
        1, "Batches whose gradients make one update; each token counts alike.", least=1
    )
    max_grad_norm: float | None = _option(
        1.0, "Scale gradients down to this norm over all parameters; None, or 0 as a flag, never."
    )
    grad_checkpoint: bool = _option(
        False, "Compute layers again in the backward pass: less memory, more time."
    )
    label_smoothing: float = _option(
        0.0, "The part of a label that is spread over the vocabulary.", below=1
    )
    dtype: str | None = _option(
        None,
        "The type to compute in; weights that are trained are kept in float32 in any case.",
        choices=("float32", "float16", "bfloat16"),
        unset="the model's",
    )
    ema: float | None = _option(
        None,
        "The decay of an average of the weights, which is then validated and kept.",
        below=1,
        unset="no average",
    )
    compile: bool | None = _option(
        None,
        "Let MLX fuse the step, which takes a while for each new shape of a batch and gains little "
        "on a CPU.",
        unset="on a GPU",
    )
    val_batches: int = _option(
        25, "Batches of the split valid in each evaluation; -1 is all, 0 no evaluation.", least=-1
    )
    generate: bool = _option(
        False, "Read the split valid too: the weights of the lowest CER are kept, not of the loss."
    )
    steps_per_report: int = _option(10, "Updates between lines of the table.", least=1)
    steps_per_eval: int = _option(200, "Updates between evaluations; 0 is one at the end.", least=0)
    save_every: int = _option(100, "Updates between checkpoints; 0 is one at the end.", least=0)
    keep_checkpoints: int = _option(2, "How many of the newest checkpoints stay.", least=1)
    patience: int | None = _option(
        None,
        "Stop after this many evaluations without a better one.",
        least=1,
        unset="go on",
    )
    seed: int = _option(
        0, "The seed of dropout; for the command, of adapters, order and changes too.", least=0
    )

    def __post_init__(self) -> None:
        if self.iters is not None and self.epochs is not None:
            raise TrainingError(
                f"iters is {self.iters} and epochs is {self.epochs}; give one of the two"
            )
        if self.iters is None and self.epochs is None:
            object.__setattr__(self, "iters", 1000)
        for f in fields(self):
            value, (kind, *none) = getattr(self, f.name), str(f.type).split(" | ")
            fits, expected = _fits(value, kind, f.metadata)
            if not (fits or (value is None and none)):
                raise TrainingError(f"{f.name} is {value!r}; expected {expected}")

    def updates(self, batches: int) -> int:
        """How many iterations there are in all, with so many batches in an epoch."""
        if self.iters is not None:
            return self.iters
        assert self.epochs is not None
        return self.epochs * -(-batches // self.grad_accumulation_steps)

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """What a run that was begun with `before` cannot go on with, as lines of text."""
        now = asdict(self)
        names = [field.name for field in fields(self) if field.name not in MAY_DIFFER]
        return [
            f"{name} was {before.get(name)!r} and is {now[name]!r}"
            for name in names
            if before.get(name) != now[name]
        ]


def _fits(value: Any, kind: str, limits: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a value is of its field's type and within its limits, and what would be, in words."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if "choices" in limits:
        return value in limits["choices"], f"one of {', '.join(limits['choices'])}"
    if kind == "int":
        least = limits["least"]
        fits = number and isinstance(value, int) and value >= least
        return fits, f"a whole number, {least} or more"
    if kind == "float":
        below = limits.get("below", math.inf)
        bound = "" if below == math.inf else f" and below {below}"
        return number and 0 <= value < below, f"a number from 0 on{bound}"
    return isinstance(value, bool), "True or False"
