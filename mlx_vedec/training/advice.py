"""What a training warns of in words, each once: a rate far from the usual, a loss that rises."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from .arguments import TrainingArguments

LOG = logging.getLogger("mlx_vedec")
USUAL = {"adapters": (1e-4, 3e-3), "all weights": (1e-5, 3e-4)}  # learning rates of Adam
FAR = 10  # times above or below the usual
OPENING, WINDOW = 5, 10  # iterations whose mean is the least loss, and that all have to be above it
PATIENCE = 3  # evaluations without a better one, while the training loss falls


class Advice:
    """A callback that logs warnings, each at most once.

    adapted -- whether adapters are trained, not the weights themselves. start, skipped -- the
    iteration that a training goes on after, and the updates left out by then
    """

    def __init__(
        self, arguments: TrainingArguments, *, adapted: bool, start: int = 0, skipped: int = 0
    ) -> None:
        self.arguments = arguments
        self.said: set[str] = set()
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.least = math.inf  # the first training loss, or a lower mean of a few
        self.first: float | None = None  # validation loss, before the first update
        self.best: tuple[float, float] | None = None  # validation and training loss of the best
        self.worse = 0  # evaluations since then
        self.reported = start, skipped  # the iteration and the skipped updates of a report
        self._check_rate("adapters" if adapted else "all weights")

    def on_step(self, info: Mapping[str, Any]) -> None:
        """Look whether the training loss has risen, or overflows."""
        loss = info["loss"]
        if not math.isfinite(loss):
            self._say(
                "overflow",
                f"iteration {info['iteration']}: the loss is {loss} in float16, and the update was "
                "left out; if it happens often, give --dtype bfloat16 or float32, and check the "
                "data",
            )
            return
        if self.least == math.inf:
            self.least = loss
        self.losses.append(loss)
        latest = [*self.losses][-OPENING:]
        if len(latest) == OPENING:
            self.least = min(self.least, sum(latest) / OPENING)
        if len(self.losses) == WINDOW and min(self.losses) > 1.4 * self.least + 0.1:
            self._say(
                "rises",
                f"iteration {info['iteration']}: the training loss has risen, from {self.least:.3f}"
                f" to {sum(self.losses) / WINDOW:.3f}; {self._calmer()}",
            )

    def on_train_loss_report(self, info: Mapping[str, Any]) -> None:
        """Look whether float16 overflows in half of the updates since the last report."""
        now = info["iteration"], info.get("skipped", 0)
        before, self.reported = self.reported, now
        updates, skipped = (a - b for a, b in zip(now, before, strict=True))
        if updates and 2 * skipped >= updates:
            self._say(
                "skipped",
                f"iteration {now[0]}: {skipped} of {updates} updates overflowed in float16, and "
                "were left out; if that goes on, give --dtype bfloat16 or float32; a lower "
                "--loss-scale begins without",
            )

    def on_val_loss_report(self, info: Mapping[str, Any]) -> None:
        """Look whether the validation loss is above that of the beginning, or of the best."""
        loss, training = info["val_loss"], _mean(self.losses)
        if info["iteration"] == 0:
            self.first = loss
            return
        if self.first is not None and loss > 1.05 * self.first + 0.02:
            self._say(
                "rises",
                f"iteration {info['iteration']}: the validation loss is {loss:.3f}, and was "
                f"{self.first:.3f} before the first update; {self._calmer()}",
            )
        if self.best is None or loss <= self.best[0]:
            self.best, self.worse = (loss, training), 0
            return
        self.worse += 1
        if self.worse >= PATIENCE and loss > 1.1 * self.best[0] and training < self.best[1]:
            self._say(
                "by heart",
                f"iteration {info['iteration']}: the validation loss rises ({loss:.3f}, and was "
                f"{self.best[0]:.3f}) while the training loss falls: the data are learned by "
                "heart; give more of them, --augment, or end it with --patience",
            )

    def _check_rate(self, what: str) -> None:
        """Warn of a learning rate of Adam's that is far from the usual."""
        rate, (low, high) = self.arguments.learning_rate, USUAL[what]
        if self.arguments.optimizer not in ("adam", "adamw") or low / FAR <= rate <= high * FAR:
            return
        where = "above" if rate > high else "below"
        outcome = "the loss may rise" if rate > high else "little will be learned"
        self._say(
            "rate",
            f"the learning rate {rate:g} is far {where} the usual {low:g} to {high:g} of "
            f"{self.arguments.optimizer} for {what}; {outcome}",
        )

    def _calmer(self) -> str:
        """What to do about a loss that rises."""
        more = "" if self.arguments.warmup else ", or give a warmup"
        return f"begin again with a learning rate below {self.arguments.learning_rate:g}{more}"

    def _say(self, kind: str, text: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            LOG.warning("%s", text)


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else math.inf
