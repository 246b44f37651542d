"""How a model is trained: the options, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checkpoints.pretrained import DTYPES
from ..errors import TrainingError

OPTIMIZERS = ("adamw", "adam", "adafactor", "muon", "sgd", "lion")
SCHEDULES = ("constant", "linear", "cosine")
# What a resumed run may change: none of it changes how a step goes from the one before.
MAY_DIFFER = (
    *("iters", "epochs", "val_batches", "steps_per_report", "steps_per_eval", "save_every"),
    *("keep_checkpoints", "patience", "generate"),
)


@dataclass(frozen=True)
class TrainingArguments:
    """Options of a training, by mlx-lm's names where it has them.

    iters, epochs -- one of the two; an iteration is one update of the weights, of
        `grad_accumulation_steps` batches; neither is 1000 iterations

    learning_rate, optimizer -- "adamw" (decoupled weight decay, bias correction), "adam",
        "adafactor", "muon" (matrices; AdamW for the rest), "sgd" or "lion"
    weight_decay -- of matrices, in all but "adam"; with decay_all of norms and biases too, as torch
        does by default
    momentum -- of "sgd"
    schedule -- "constant", or "linear" or "cosine" down to `final_rate` at the last iteration
    warmup, warmup_init -- iterations from that rate up to `learning_rate`, in a line

    grad_accumulation_steps -- batches whose gradients make one update; each token counts alike
    max_grad_norm -- gradients are scaled down to this norm over all parameters; None never
    grad_checkpoint -- compute layers again in the backward pass: less memory, more time
    label_smoothing -- the part of a label that is spread over the vocabulary
    dtype -- compute in "bfloat16", "float16" or "float32"; None in the types the model has. The
        weights that are trained are kept in float32 in any case
    ema -- decay of a moving average of the weights, which is then validated and saved as the best
    compile -- let MLX fuse the step, which takes a while for each new shape of batch; None does so
        on a GPU: on a CPU little is gained, and a compiler called for each fused operation

    val_batches -- of the validation set in each evaluation; -1 is all, 0 no evaluation
    generate -- also generate the texts of these batches, for CER and WER
    steps_per_report, steps_per_eval, save_every -- iterations; 0 for the last two: only at the end
    keep_checkpoints -- how many of the newest stay
    patience -- stop after so many evaluations without a better one
    seed -- of dropout and the like; that of the batches' order is theirs

    >>> TrainingArguments(iters=100, learning_rate=1e-4, schedule="cosine", warmup=10).optimizer
    'adamw'
    """

    iters: int | None = None
    epochs: int | None = None
    learning_rate: float = 1e-5
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    decay_all: bool = False
    momentum: float = 0.9
    schedule: str = "constant"
    final_rate: float = 0.0
    warmup: int = 0
    warmup_init: float = 0.0
    grad_accumulation_steps: int = 1
    max_grad_norm: float | None = 1.0
    grad_checkpoint: bool = False
    label_smoothing: float = 0.0
    dtype: str | None = None
    ema: float | None = None
    compile: bool | None = None
    val_batches: int = 25
    generate: bool = False
    steps_per_report: int = 10
    steps_per_eval: int = 200
    save_every: int = 100
    keep_checkpoints: int = 2
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iters is not None and self.epochs is not None:
            raise TrainingError(
                f"iters is {self.iters} and epochs is {self.epochs}; give one of the two"
            )
        if self.iters is None and self.epochs is None:
            object.__setattr__(self, "iters", 1000)
        self._check_choices()
        for name in ("iters", "epochs", "patience"):
            if getattr(self, name) is not None:
                self._check_whole(name, 1)
        for name in ("grad_accumulation_steps", "steps_per_report", "keep_checkpoints"):
            self._check_whole(name, 1)
        for name in ("warmup", "steps_per_eval", "save_every", "seed"):
            self._check_whole(name, 0)
        self._check_whole("val_batches", -1)
        for name in ("learning_rate", "weight_decay", "final_rate", "warmup_init", "max_grad_norm"):
            self._check_number(name)
        for name in ("momentum", "label_smoothing", "ema"):
            self._check_number(name, below=1)

    def _check_choices(self) -> None:
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "dtype": (None, *DTYPES)}
        for name, possible in choices.items():
            if getattr(self, name) not in possible:
                known = ", ".join(str(choice) for choice in possible)
                raise TrainingError(f"{name} is {getattr(self, name)!r}; expected one of {known}")

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise TrainingError(f"{name} is {value!r}; expected a whole number, {least} or more")

    def _check_number(self, name: str, below: float = float("inf")) -> None:
        value = getattr(self, name)
        may_lack = name in ("max_grad_norm", "ema")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (may_lack if value is None else number and 0 <= value < below):
            bound = "" if below == float("inf") else f" and below {below}"
            raise TrainingError(f"{name} is {value!r}; expected a number from 0 on{bound}")

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
