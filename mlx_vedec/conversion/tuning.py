"""Scales and offsets of a quantized model, tuned to agree with a teacher."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import mlx.core as mx
from mlx.optimizers import Adam, cosine_decay, join_schedules, linear_schedule
from mlx.utils import tree_unflatten

from ..errors import OptionError
from ..measuring.likelihoods import divergence
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .calibration_data import Batch, Example, batches
from .student import Parameters, Student, floating

LOOKS = 10  # at the images held out, while scales are tuned
History = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class CalibrationConfig:
    """How a model is calibrated.

    rounding      -- choose the integers anew, from the teacher's weights
    iters         -- batches that scales and offsets are tuned on after that; 0 for none
    learning_rate -- the largest step in one of them, as part of the root mean square of a layer's
                     scales or offsets; it rises over the first tenth and falls to 0 on a cosine
    temperature   -- what logits are divided by in tuning; above 1 unlikely tokens count for more
    features      -- weight of the squared error of the encoder's output, relative to its variance
    small         -- tune vectors that are not quantized, too: norms, biases of layers
    held_out      -- part of the images that the model is judged by, and not calibrated on
    seed          -- of which those are, and of the order of the others
    """

    rounding: bool = True
    iters: int = 0
    learning_rate: float = 1e-4
    batch_size: int = 16
    temperature: float = 2.0
    features: float = 1.0
    small: bool = False
    held_out: float = 0.125
    seed: int = 0

    def __post_init__(self) -> None:
        self._check("iters", self.iters >= 0, "0 or more")
        self._check("batch_size", self.batch_size >= 1, "1 or more")
        self._check("learning_rate", 0 < self.learning_rate < math.inf, "a number above 0")
        self._check("temperature", 0 < self.temperature < math.inf, "a number above 0")
        self._check("features", 0 <= self.features < math.inf, "0 or more")
        self._check("held_out", 0 < self.held_out < 1, "a part between 0 and 1")
        if not (self.rounding or self.iters):
            raise OptionError("rounding is off and iters is 0; expected at least one of the two")

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise OptionError(f"{name} is {getattr(self, name)}; expected {expected}")


class Tuning:
    """A model that is tuned, and judged by the images held out. head -- the teacher's."""

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        head: Callable[[mx.array], mx.array],
        processor: Processor,
        config: CalibrationConfig,
        held: Sequence[Example],
    ) -> None:
        self.model, self._head, self._processor = model, head, processor
        self._config, self._held = config, held

    def divergence(self) -> float:
        """From the teacher on the images held out, nats per token."""
        with floating(self.model):
            return self._judged()

    def run(
        self, tuned: Sequence[Example], order: random.Random, step: Callable[[], object]
    ) -> History:
        """Tune the model and leave it with what was best; (iteration, divergence) of each look."""
        history: list[tuple[int, float]] = []
        best: Parameters = {}
        iters = self._config.iters
        with floating(self.model, small=self._config.small) as student:
            for number, steps in self._steps(student, tuned, order):
                if number % max(1, iters // LOOKS) == 0 or number == iters:
                    stored = student.stored(steps)
                    student.put(stored)
                    history.append((number, self._judged()))
                    if history[-1][1] <= min(found for _, found in history):
                        best = stored
                        mx.eval(best)
                if number:
                    step()
        self.model.update(tree_unflatten(list(best.items())))
        return tuple(history)

    def _steps(
        self, student: Student, tuned: Sequence[Example], order: random.Random
    ) -> Iterator[tuple[int, Parameters]]:
        """Iterations, and how far from its start the student is after each; nan is the end."""
        steps, optimizer = student.steps, Adam(_schedule(self._config))
        optimizer.init(steps)
        gradient = mx.value_and_grad(lambda steps, batch: self.loss(student, steps, batch))
        endless = (batch for _ in count() for batch in self._batches(tuned, order))
        yield 0, steps
        for number in range(1, self._config.iters + 1):
            loss, gradients = gradient(steps, next(endless))
            steps = optimizer.apply_gradients(gradients, steps)
            mx.eval(loss, steps, optimizer.state)
            if not mx.isfinite(loss).item():
                return
            yield number, steps

    def loss(self, student: Student, steps: Parameters, batch: Batch) -> mx.array:
        """What is made small: the divergence per token, and the features' part."""
        student.put(student.values(steps))
        logits, features = self._outputs(batch)
        heat = self._config.temperature
        loss = self._divergence(logits, batch, heat) / batch.counted.sum()
        loss = loss * heat**2  # as large a gradient at any temperature
        if not self._config.features:
            return loss
        exact = batch.features.astype(mx.float32)
        return loss + self._config.features * mx.mean((features - exact) ** 2) / mx.var(exact)

    def _judged(self) -> float:
        found, counted = mx.array(0.0), mx.array(0.0)
        for batch in self._batches(self._held):
            logits, _ = self._outputs(batch)
            found = found + self._divergence(logits, batch)
            counted = counted + batch.counted.sum()
            mx.eval(found, counted)
        return float((found / counted).item())  # pyright: ignore[reportArgumentType]

    def _batches(
        self, found: Sequence[Example], order: random.Random | None = None
    ) -> Iterator[Batch]:
        return batches(found, self._processor, self._config.batch_size, order)

    def _outputs(self, batch: Batch) -> tuple[mx.array, mx.array]:
        """The model's logits (B, N, V), and its features (B, S, D)."""
        model = self.model
        features = model.encode(batch.pixels)
        x = model.decoder.decode(batch.fed, model.memory(features))
        return model.decoder.head(x[:, -batch.counted.shape[1] :]), features

    def _divergence(self, logits: mx.array, batch: Batch, temperature: float = 1.0) -> mx.array:
        """From the teacher's distributions, summed over all tokens."""
        exact = self._head(batch.states)
        both = [_logprobs(x.astype(mx.float32) / temperature) for x in (exact, logits)]
        return (divergence(*both) * batch.counted).sum()


def _logprobs(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _schedule(config: CalibrationConfig) -> Callable[[mx.array], mx.array]:
    rising = max(1, config.iters // 10)
    first = linear_schedule(config.learning_rate / rising, config.learning_rate, rising)
    falling = cosine_decay(config.learning_rate, max(1, config.iters - rising))
    return join_schedules([first, falling], [rising])
