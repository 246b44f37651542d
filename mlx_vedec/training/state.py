"""The state of a training on disk: its checkpoints, each whole or absent, and resuming from one.

`training_state/` holds a folder per checkpoint, named by its iteration: the weights in float32,
the optimizer's state, the average, and `state.json`. A folder gets its name when it is complete.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from ..checkpoints.config import read_json
from ..checkpoints.weights import Tensors, read_file
from ..errors import TrainingError
from ..files import staged, write_json, write_tensors
from .arguments import TrainingArguments
from .steps import Weights

LOG = logging.getLogger("mlx_vedec")
FOLDER, BEST, STATE = "training_state", "best.safetensors", "state.json"
PARTS = ("trained", "optimizer", "average")


@dataclass
class TrainingState:
    """How far a training has come.

    step -- iterations done
    epoch, position -- the epoch that is under way, and how many of its batches are done
    tokens -- labels trained on so far
    window -- loss times tokens, tokens, iterations and seconds since the last report
    best, best_step -- the lowest CER, or loss, of an evaluation, and its iteration
    stale -- evaluations since then
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    tokens: int = 0
    window: list[float] = field(default_factory=lambda: [0.0] * 4)
    best: float | None = None
    best_step: int | None = None
    stale: int = 0


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder `training_state` that are whole, the newest last."""
    return sorted(path for path in folder.glob("[0-9]*") if (path / STATE).is_file())


class Store:
    """The checkpoints of one training, in `folder / "training_state"`."""

    def __init__(self, folder: Path, arguments: TrainingArguments, data: dict[str, Any]) -> None:
        self.path = folder / FOLDER
        self.arguments, self.data = arguments, data

    def begin(self) -> None:
        """Make the folder; an error where an earlier training is in it."""
        found = checkpoints(self.path)
        if found:
            raise TrainingError(
                f"{self.path} holds a training at iteration {int(found[-1].name)}; go on with it "
                "(resume), or give another folder, or delete that one"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._clear()

    def save(self, weights: Weights, state: TrainingState) -> Path | None:
        """Add a checkpoint and take the oldest away; its folder, if it was not there already."""
        final = self.path / f"{state.step:07}"
        if (final / STATE).is_file():
            return None
        self._clear()
        temporary = self.path / f".{final.name}.{os.getpid()}"
        try:
            temporary.mkdir()
            for part in PARTS:
                write_tensors(temporary / f"{part}.safetensors", _flat(getattr(weights, part)))
            write_json(temporary / STATE, self._record(state))
            _flush(temporary)
            os.replace(temporary, final)
            _flush(self.path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in checkpoints(self.path)[: -self.arguments.keep_checkpoints]:
            shutil.rmtree(path)
        return final

    def save_best(self, weights: Tensors) -> None:
        """Keep these weights as the best so far."""
        write_tensors(self.path / BEST, weights)

    def read_best(self) -> Tensors:
        """The best weights so far, evaluated."""
        return _read(self.path / BEST)

    def resume(self, weights: Weights) -> tuple[Weights, TrainingState]:
        """The newest whole checkpoint, for a training that begins with `weights`."""
        self._clear()
        found = checkpoints(self.path)
        if not found:
            raise TrainingError(f"{self.path} holds no checkpoint to resume; begin without resume")
        for number, path in reversed([*enumerate(found)]):
            try:
                state = read_json(path / STATE)
                tensors = {part: _read(path / f"{part}.safetensors") for part in PARTS}
            except (OSError, ValueError) as error:
                LOG.warning("%s cannot be read (%s); going on with the one before", path, error)
                continue
            self._check(state, path)
            trees = [_filled(getattr(weights, part), tensors[part], path) for part in PARTS]
            for damaged in found[number + 1 :]:  # their iterations come again
                shutil.rmtree(damaged)
            return Weights(*trees), TrainingState(**state["progress"])
        raise TrainingError(f"none of the checkpoints in {self.path} can be read; begin again")

    def _record(self, state: TrainingState) -> dict[str, Any]:
        return {
            "progress": asdict(state),
            "arguments": asdict(self.arguments),
            "data": self.data,
        }

    def _check(self, state: dict[str, Any], path: Path) -> None:
        """Raise one error that names all that differs from the training of a checkpoint."""
        before = state["data"]
        differs = self.arguments.differences(state["arguments"]) + [
            f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in self.data.items()
            if before.get(name) != value
        ]
        if differs:
            raise TrainingError(
                f"{path} is of another training: {'; '.join(differs)}; resume with what it had, or "
                "begin another training in another folder"
            )

    def _clear(self) -> None:
        """Remove files that a training that was killed has left half written."""
        for path in self.path.glob(".[0-9]*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.path.glob(f".{Path(BEST).stem}.*"):
            path.unlink(missing_ok=True)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turn a failure to write into a `TrainingError` that says what is still there."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # MLX raises the second
        raise TrainingError(
            f"{folder} cannot be written ({error}); what was saved before is whole; make room, and "
            "resume"
        ) from error


def publish(save: Callable[[Path], None], folder: Path) -> None:
    """Let `save` fill a folder, then put its files into `folder`, each in one piece."""
    temporary = folder / f".publishing.{os.getpid()}"
    for left in folder.glob(".publishing.*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        save(temporary)
        with staged(folder) as beside:
            for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
                place = folder / path.relative_to(temporary)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, beside(path.name) if place.parent == folder else place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make sure that what was created and renamed in a folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flat(tree: dict[str, Any]) -> Tensors:
    return dict(tree_flatten(tree))  # pyright: ignore[reportReturnType, reportArgumentType]


def _read(path: Path) -> Tensors:
    """The tensors of a file, evaluated: one that MLX has yet to read must not be replaced."""
    tensors = read_file(path)
    mx.eval(tensors)
    return tensors


def _filled(tree: dict[str, Any], tensors: Tensors, path: Path) -> dict[str, Any]:
    """A tree of the same form with the tensors of these names."""
    expected = {name: array.shape for name, array in _flat(tree).items()}
    found = {name: array.shape for name, array in tensors.items()}
    odd = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if odd:
        raise TrainingError(
            f"{path} is of another model: {len(odd)} tensors differ in name or shape, such as "
            f"{odd[0]} ({found.get(odd[0])}, expected {expected.get(odd[0])})"
        )
    return tree_map_with_path(lambda name, _: tensors[name], tree)
