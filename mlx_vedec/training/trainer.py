"""`train`: fine-tune a model on batches, from the beginning or after the newest checkpoint.

An iteration is one update. What it draws at random follows from the seed and its number, so that a
run that goes on after a checkpoint has the weights of one that was never interrupted, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..data.batches import Batches
from ..errors import OptionError, TrainingError, as_path, check_function, check_type, shown
from ..measuring.processes import together
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from .arguments import TrainingArguments
from .loop import Loop
from .validation import Validation


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    iterations -- done in all. stopped_early -- whether `patience` ended it. best, best_iteration --
    the lowest CER, or loss where no texts were generated, and its iteration. validation -- the last
    """

    iterations: int
    stopped_early: bool
    best: float | None
    best_iteration: int | None
    validation: Validation | None


def train(
    model: VisionEncoderDecoderModel,
    batches: Batches,
    arguments: TrainingArguments | None = None,
    *,
    valid: Batches | None = None,
    processor: Processor | None = None,
    folder: str | Path | None = None,
    save: Callable[[Path], None] | None = None,
    resume: bool = False,
    callbacks: Sequence[object] = (),
    generation: Mapping[str, Any] | None = None,
    group: mx.distributed.Group | None = None,
) -> TrainingResult:
    """Train what of the model is trainable; it ends up with the best weights, in `eval()` mode.

    valid -- evaluated before the first iteration, every `steps_per_eval` and at the end; the best
    weights are those of the lowest CER (`generate`, which needs the processor), else loss. Without
    it they are the last. processor -- reads a few images of `valid` at each evaluation, to be
    shown. folder -- gets the checkpoints, `metrics.jsonl`, `samples.html`, and what `save` writes
    for users into the folder that it is called with: the best weights, or the newest at each
    checkpoint where nothing is validated. resume -- go on after the newest checkpoint there.
    callbacks -- as in `mlx_vedec.training.callbacks`. generation -- options for the texts. group --
    the processes that share each batch; by default those that `mlx.launch` started. The first one
    writes. MLX's global random state is another afterwards.
    """
    arguments = TrainingArguments() if arguments is None else arguments
    group = mx.distributed.init() if group is None else group
    _check_types(model, batches, arguments, valid, group, callbacks)
    check_function("save", save)
    _check(batches, arguments, valid, processor)
    _check_shares(group, batches, valid)
    if resume and folder is None:
        raise TrainingError("resume needs the folder of the training; give it")
    with _training(model, arguments.grad_checkpoint):
        loop = Loop(
            model,
            batches,
            arguments,
            group=group,
            folder=None if folder is None else as_path(folder, "folder"),
            save=save,
            valid=valid,
            processor=processor,
            generation=generation,
        )
        try:
            with together(group):
                loop.begin(resume, callbacks)
                loop.run()
        finally:
            loop.leave()
    done = loop.state
    return TrainingResult(done.step, loop.stale, done.best, done.best_step, loop.validation)


def _check_types(
    model: object,
    batches: object,
    arguments: object,
    valid: object,
    group: object,
    callbacks: object,
) -> None:
    check_type("model", model, VisionEncoderDecoderModel)
    check_type("arguments", arguments, TrainingArguments)
    check_type("group", group, mx.distributed.Group)
    check_type("callbacks", callbacks, (list, tuple), "a list of callbacks")
    for name, value in {"batches": batches, **({} if valid is None else {"valid": valid})}.items():
        if not all(hasattr(value, needed) for needed in ("epoch", "rank", "world", "__len__")):
            raise OptionError(f"{name} is {shown(value)}; expected Batches")


def _check(
    batches: Batches,
    arguments: TrainingArguments,
    valid: Batches | None,
    processor: Processor | None,
) -> None:
    if not len(batches):
        raise TrainingError("there are no batches to train on; give it data")
    if arguments.generate and (valid is None or processor is None):
        lacking = "validation batches" if valid is None else "a processor"
        raise TrainingError(f"generate needs {lacking}; give it, or leave generate out")


def _check_shares(group: mx.distributed.Group, *given: Batches | None) -> None:
    """Raise where batches are not this process's share."""
    for batches in given:
        own = group.rank(), group.size()
        if batches is not None and (batches.rank, batches.world) != own:
            raise TrainingError(
                f"the batches are the share of process {batches.rank} of {batches.world}, and this "
                f"is {own[0]} of {own[1]}; make them with this rank and world"
            )


@contextmanager
def _training(model: VisionEncoderDecoderModel, again: bool) -> Iterator[None]:
    """Within it the model is in `train()` mode; again -- with gradient checkpointing."""
    parts = (model.encoder, model.decoder)
    before = [part.gradient_checkpointing for part in parts]
    model.gradient_checkpointing_enable(again)
    model.train()
    try:
        yield
    finally:
        model.eval()
        for part, value in zip(parts, before, strict=True):
            part.gradient_checkpointing = value
