"""The loop over iterations, and what is done between two: reporting, validating, saving."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..data.batches import Batches, TrainingBatch
from ..errors import TrainingError
from ..layers.lora import adapted_layers
from ..layers.token_ids import IGNORED
from ..measuring.processes import broadcast, from_first, gather
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .advice import Advice
from .arguments import TrainingArguments
from .callbacks import MetricsFile, notify
from .optimizers import Tree, learning_rate
from .samples_page import SamplesPage
from .state import Store, TrainingState, publish, saving
from .steps import LEAST, Outcome, Stepper, Weights, rescaled
from .validation import Validation, validate

METRICS, PAGE = "metrics.jsonl", "samples.html"


class Loop:
    """A training that runs; its arguments are those of `train`."""

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        batches: Batches,
        arguments: TrainingArguments,
        *,
        group: mx.distributed.Group,
        folder: Path | None,
        save: Callable[[Path], None] | None,
        valid: Batches | None,
        processor: Processor | None,
        generation: Mapping[str, Any] | None,
    ) -> None:
        self.batches, self.arguments, self.group = batches, arguments, group
        self.folder, self.save = folder, save
        self.valid = valid if arguments.val_batches else None
        self.processor, self.generation = processor, generation
        self.stepper = Stepper(model, arguments, group)
        self.total = arguments.updates(len(batches))
        self.state = TrainingState()
        data = self._data() if folder or group.size() > 1 else {}  # which all have to compute
        self.store = folder and Store(folder, arguments, data)
        self.callbacks: list[object] = []
        self.validation: Validation | None = None
        self.best: Tree | None = None  # weights, where there is no folder to keep them in
        self.final: Tree | None = None

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.group.rank() == 0

    @property
    def stale(self) -> bool:
        """Whether as many evaluations as `patience` allows have not been better than the best."""
        patience = self.arguments.patience
        return patience is not None and self.state.stale >= patience

    @property
    def over(self) -> bool:
        """Whether no iteration is left to do."""
        return self.state.step >= self.total or self.stale

    @property
    def weights(self) -> Tree:
        """The weights that are validated and published: the average, if there is one."""
        return self.stepper.weights.average or self.stepper.weights.trained

    def _data(self) -> dict[str, Any]:
        """Facts about the data that have to be the same in a run that is resumed.

        They do not depend on how many processes share a batch.
        """
        with closing(self.batches.epoch(0)) as stream:
            first = next(stream)
        own = np.concatenate([np.array(first.decoder_input_ids), np.array(first.labels)], 1)
        shares = gather(own.tolist(), self.group)
        rows = np.array([row for rows in zip(*shares, strict=True) for row in rows], np.int32)
        learned = (rows[:, rows.shape[1] // 2 :] != IGNORED).any(1)  # else they fill up a share
        digest = hashlib.blake2b(rows[learned].tobytes(), digest_size=8)
        return {"batches in an epoch": len(self.batches), "first batch": digest.hexdigest()}

    # the beginning and the end

    def begin(self, resume: bool, callbacks: Sequence[object]) -> None:
        """Start anew, or after the newest checkpoint, with the same state in all processes."""
        self.state = TrainingState(**from_first(lambda: self._restored(resume), self.group))
        if self.stepper.scaled and self.state.loss_scale is None:
            self.state.loss_scale = self.arguments.loss_scale
        own = self.stepper.weights
        trees = [own.trained, own.optimizer, own.average]
        self.stepper.weights = Weights(*broadcast(trees, self.group))
        self.stepper.place(self.stepper.weights.trained)
        if self.writes:
            self.callbacks = [*self._own_callbacks(), *callbacks]

    def _own_callbacks(self) -> list[object]:
        """Callbacks that every training has: what it leaves in its folder, and what it warns of."""
        advice = Advice(
            self.arguments,
            adapted=bool(adapted_layers(self.stepper.model)),
            start=self.state.step,
            skipped=self.state.skipped,
        )
        if self.folder is None:
            return [advice]
        metrics = MetricsFile(self.folder / METRICS, self.state.step)
        return [metrics, SamplesPage(self.folder / PAGE, metrics.path), advice]

    def _restored(self, resume: bool) -> dict[str, Any]:
        if self.store is None:
            return asdict(TrainingState())
        with saving(self.store.path):
            if not resume:
                self.store.begin()
                return asdict(TrainingState())
            self.stepper.weights, state = self.store.resume(self.stepper.weights)
            return asdict(state)

    def run(self) -> None:
        """Iterate to the end."""
        if not self.state.step and not self.over:
            self._validate()
        while not self.over:
            place = self.state.epoch, self.state.position
            with closing(self.batches.epoch(*place)) as stream:
                self._iterate(stream)
                while self.state.position and not self.over:
                    self._iterate(stream)
        self._checkpoint()
        self.final = self._best()
        if self.state.best_step is None:
            self._publish(self.final)

    def leave(self) -> None:
        """Give the model the best weights, or after an error the newest, in its own types."""
        self.stepper.place(self.final or self.stepper.weights.trained, self.stepper.types)
        notify(self.callbacks, "on_end", {"iteration": self.state.step})

    def _best(self) -> Tree:
        """The best weights, or without validation the newest, in all processes."""
        if self.state.best_step is None:
            return self.weights
        if self.store is None:
            assert self.best is not None
            return self.best
        return broadcast(self.store.read_best() if self.writes else self.weights, self.group)

    # an iteration and what is due after it

    def _iterate(self, stream: Iterator[TrainingBatch]) -> None:
        state, start = self.state, time.perf_counter()
        left = len(self.batches) - state.position
        count = min(self.arguments.grad_accumulation_steps, left)
        rate = learning_rate(self.arguments, state.step, self.total)
        scale = state.loss_scale
        outcome = self.stepper.update(islice(stream, count), state.step, rate, scale or 1.0)
        if not outcome.finite and (scale is None or scale <= LEAST):
            self._stop(outcome)
        if scale is not None:
            state.loss_scale, state.fitted = rescaled(scale, state.fitted, outcome.finite)
            state.skipped += not outcome.finite
        self._count(outcome, count, time.perf_counter() - start)
        step = {"iteration": state.step, "iterations": self.total, "loss": outcome.loss}
        notify(self.callbacks, "on_step", step)
        if self._due(self.arguments.steps_per_report) and state.window[1]:
            self._report(rate, outcome.norm)
        better = self._due(self.arguments.steps_per_eval) and self._judge()
        if better or self._due(self.arguments.save_every):
            self._checkpoint()
            if self.valid is None:
                self._publish(self.weights)

    def _due(self, every: int) -> bool:
        step = self.state.step
        return step == self.total or bool(every and step % every == 0)

    def _count(self, outcome: Outcome, count: int, seconds: float) -> None:
        state = self.state
        state.step += 1
        state.position += count
        if state.position == len(self.batches):
            state.epoch, state.position = state.epoch + 1, 0
        state.tokens += outcome.tokens if outcome.finite else 0
        told = math.isfinite(outcome.loss)
        sums = (outcome.loss * outcome.tokens, outcome.tokens) if told else (0.0, 0)
        added = (*sums, 1, seconds)
        state.window = [a + b for a, b in zip(state.window, added, strict=True)]

    def _stop(self, outcome: Outcome) -> None:
        """Save the weights from before an iteration that went wrong, and raise an error."""
        self._checkpoint()
        kept = f"; {self.store.path} has the weights before it" if self.store else ""
        scaled = "" if self.state.loss_scale is None else " in float16, at the least loss scale too"
        raise TrainingError(
            f"iteration {self.state.step + 1}: the loss is {outcome.loss}, the gradients' norm "
            f"{outcome.norm}{scaled}, expected finite ones{kept}; begin again with a lower "
            'learning_rate, a warmup or dtype="float32", and check the data'
        )

    def _report(self, rate: float, norm: float) -> None:
        loss, tokens, steps, seconds = self.state.window
        info = {
            "iteration": self.state.step,
            "epoch": self.state.epoch,
            "train_loss": loss / max(tokens, 1),
            "learning_rate": rate,
            "grad_norm": norm if math.isfinite(norm) else None,
            "iterations_per_second": steps / seconds,
            "tokens_per_second": tokens / seconds,
            "seconds_left": (self.total - self.state.step) * seconds / steps,
            "trained_tokens": self.state.tokens,
            "peak_memory": mx.get_peak_memory() / 1e9,
        }
        if self.state.loss_scale is not None:
            info |= {"loss_scale": self.state.loss_scale, "skipped": self.state.skipped}
        self.state.window = [0.0] * 4
        notify(self.callbacks, "on_train_loss_report", info)

    # validating and keeping

    def _validate(self) -> Validation | None:
        """Evaluate and report; None without validation batches."""
        if self.valid is None:
            return None
        found = validate(
            self.stepper,
            self.valid,
            self.weights,
            limit=self.arguments.val_batches,
            processor=self.processor,
            options=self.generation,
            shown=self.arguments.show_samples,
            rates=self.arguments.generate,
        )
        info = {
            "iteration": self.state.step,
            "val_loss": found.loss,
            "val_time": found.seconds,
            **({} if found.cer is None else {"cer": found.cer, "wer": found.wer}),
            **({"samples": found.samples, "images": found.images} if found.samples else {}),
        }
        notify(self.callbacks, "on_val_loss_report", info)
        self.validation = found
        return found

    def _judge(self) -> bool:
        """Evaluate, and keep the weights if they are the best so far; whether they are."""
        found, state = self._validate(), self.state
        if found is None:
            return False
        better = found.score < (float("inf") if state.best is None else state.best)
        state.stale = 0 if better else state.stale + 1
        if better:
            state.best, state.best_step = found.score, state.step
            self._keep_best()
        return better

    def _keep_best(self) -> None:
        if self.store is None:
            self.best = {name: x * 1 for name, x in self.weights.items()}
            mx.eval(self.best)
        elif self.writes:
            with saving(self.store.path):
                self.store.save_best(self.weights)
            self._publish(self.weights)

    def _checkpoint(self) -> None:
        if self.store is not None and self.writes:
            with saving(self.store.path):
                path = self.store.save(self.stepper.weights, self.state)
            if path is not None:
                said = {"iteration": self.state.step, "path": str(path)}
                notify(self.callbacks, "on_save", said)

    def _publish(self, weights: Tree) -> None:
        """Let the caller's `save` write the model with these weights."""
        if self.folder is None or self.save is None or not self.writes:
            return
        self.stepper.place(weights, self.stepper.types)
        with saving(self.folder):
            publish(self.save, self.folder)
        self.stepper.place(self.stepper.weights.trained)
