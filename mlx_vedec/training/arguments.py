"""How a model is trained: the options, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checkpoints.config import check_options, option
from ..errors import TrainingError

OPTIMIZERS = ("adamw", "adam", "adafactor", "muon", "sgd", "lion")
SCHEDULES = ("constant", "linear", "cosine")
# What a resumed run may change: none of it changes how a step goes from the one before.
MAY_DIFFER = (
    *("iters", "epochs", "val_batches", "steps_per_report", "steps_per_eval", "save_every"),
    *("keep_checkpoints", "patience", "generate", "show_samples"),
)


@dataclass(frozen=True)
class TrainingArguments:
    """Options of a training, by mlx-lm's names where it has them; an iteration is an update.

    Of iters and epochs one is given; neither is 1000 iterations. What each option does stands
    beside it, in the `help` of the field's metadata.

    >>> TrainingArguments(iters=100, learning_rate=1e-4, schedule="cosine", warmup=10).optimizer
    'adamw'
    """

    iters: int | None = option(None, "Updates of the weights in all.", least=1)
    epochs: int | None = option(None, "Passes over the data, instead of iters.", least=1)
    learning_rate: float = option(1e-5, "The learning rate.")
    optimizer: str = option(
        "adamw",
        "The optimizer; muon is for matrices and leaves the rest to adamw.",
        choices=OPTIMIZERS,
    )
    weight_decay: float = option(0.01, "Weight decay of matrices, for all optimizers but adam.")
    decay_all: bool = option(False, "Decay norms and biases too, as torch does by default.")
    momentum: float = option(0.9, "The momentum of sgd.", below=1)
    schedule: str = option(
        "constant",
        "What the learning rate does after the warmup: linear and cosine end at final_rate.",
        choices=SCHEDULES,
    )
    final_rate: float = option(0.0, "The learning rate of the last update, unless constant.")
    warmup: int = option(0, "Updates in which the learning rate rises to its value.", least=0)
    warmup_init: float = option(0.0, "The learning rate that the warmup begins with.")
    grad_accumulation_steps: int = option(
        1, "Batches whose gradients make one update; each token counts alike.", least=1
    )
    max_grad_norm: float | None = option(
        1.0, "Scale gradients down to this norm over all parameters; None, or 0 as a flag, never."
    )
    grad_checkpoint: bool = option(
        False, "Compute layers again in the backward pass: less memory, more time."
    )
    label_smoothing: float = option(
        0.0, "The part of a label that is spread over the vocabulary.", below=1
    )
    dtype: str | None = option(
        None,
        "The type to compute in; weights that are trained are kept in float32 in any case.",
        choices=("float32", "float16", "bfloat16"),
        unset="the model's",
    )
    loss_scale: float = option(
        256.0,
        "What the sum of a batch's losses is multiplied by at first, where the model computes in "
        "float16; halved where gradients overflow, doubled after 200 updates without.",
        above=0,
    )
    ema: float | None = option(
        None,
        "The decay of an average of the weights, which is then validated and kept.",
        below=1,
        unset="no average",
    )
    compile: bool | None = option(
        None,
        "Let MLX fuse the step, which takes a while for each new shape of a batch and gains little "
        "on a CPU.",
        unset="on a GPU",
    )
    val_batches: int = option(
        25, "Batches of the split valid in each evaluation; -1 is all, 0 no evaluation.", least=-1
    )
    generate: bool = option(
        False, "Read the split valid too: the weights of the lowest CER are kept, not of the loss."
    )
    show_samples: int = option(
        4,
        "Images of the split valid that are shown at each evaluation, with what is read in them.",
        least=0,
        most=32,
    )
    steps_per_report: int = option(10, "Updates between lines of the table.", least=1)
    steps_per_eval: int = option(200, "Updates between evaluations; 0 is one at the end.", least=0)
    save_every: int = option(100, "Updates between checkpoints; 0 is one at the end.", least=0)
    keep_checkpoints: int = option(2, "How many of the newest checkpoints stay.", least=1)
    patience: int | None = option(
        None, "Stop after this many evaluations without a better one.", least=1, unset="go on"
    )
    seed: int = option(
        0,
        "The seed of dropout; for the command, of adapters, order and changes too.",
        least=0,
        most=2**63 - 1,
    )

    def __post_init__(self) -> None:
        if self.iters is not None and self.epochs is not None:
            raise TrainingError(
                f"iters is {self.iters} and epochs is {self.epochs}; give one of the two"
            )
        if self.iters is None and self.epochs is None:
            object.__setattr__(self, "iters", 1000)
        check_options(self, TrainingError)

    def updates(self, batches: int) -> int:
        """How many iterations there are in all, with so many batches in an epoch."""
        if self.iters is not None:
            return self.iters
        assert self.epochs is not None
        return self.epochs * -(-batches // self.grad_accumulation_steps)

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """What a run that was begun with `before` cannot go on with, as lines of text."""
        now = asdict(self)
        was = {field.name: before.get(field.name, field.default) for field in fields(self)}
        return [
            f"{name} was {was[name]!r} and is {now[name]!r}"
            for name in now
            if name not in MAY_DIFFER and was[name] != now[name]
        ]
