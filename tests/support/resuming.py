"""A training in a process of its own, which ends it as asked.

`python -m tests.support.resuming JSON`, where JSON has

folder, and of these what is given: kill_at -- the iteration after which it kills itself; kill_write
-- the tensor file, counted from 1, before which it does; bytes -- the largest file it may write;
resume; losses -- a file for the losses of the iterations; world -- of so many processes it is one;
changes -- other arguments of the training.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import tests.support.blas  # noqa: F401  (before MLX is imported)

# isort: split
import mlx.core as mx

from mlx_vedec.errors import ProcessError, TrainingError
from mlx_vedec.training import state
from mlx_vedec.training.trainer import train
from tests.support.training import ON, Keeper, RandomBatches, fresh, quick

ARGUMENTS = quick(
    iters=11,
    grad_accumulation_steps=2,
    schedule="cosine",
    warmup=3,
    ema=0.9,
    steps_per_report=4,
    steps_per_eval=3,
    save_every=2,
)


class Killed:
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, info) -> None:
        if info["iteration"] == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_at_write(number: int) -> None:
    """End the process half-way through the writing of a file."""
    write, left = state.write_tensors, [number]

    def killing(path: Path, tensors) -> None:
        left[0] -= 1
        write(path, tensors)
        if not left[0]:
            path.write_bytes(path.read_bytes()[:-20])
            os.kill(os.getpid(), signal.SIGKILL)

    state.write_tensors = killing


def run(
    folder, *, kill_at=0, kill_write=0, bytes=None, resume=False, losses=None, world=1, changes=None
):
    """One training, with all that has a state switched on."""
    group = mx.distributed.init(strict=world > 1)
    assert group.size() == world
    model = fresh(ON)
    share = {"rank": group.rank(), "world": world}
    if kill_write:
        kill_at_write(kill_write)
    if bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
    seen = Keeper()
    train(
        model,
        RandomBatches(5, empty=(1,), **share),
        replace(ARGUMENTS, **(changes or {})),
        valid=RandomBatches(2, seed=9, **share),
        folder=folder,
        save=lambda path: mx.save_safetensors(
            str(path / "model.safetensors"), state._flat(model.trainable_parameters())
        ),
        resume=resume,
        callbacks=[Killed(kill_at), seen],
    )
    if losses is not None and group.rank() == 0:
        Path(losses).write_text(json.dumps([seen.losses, seen.val[-1]["val_loss"]]))


if __name__ == "__main__":
    try:
        run(**json.loads(sys.argv[1]))
    except (TrainingError, ProcessError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
