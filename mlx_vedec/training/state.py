"""The state of a training on disk: its checkpoints, each whole or absent, and resuming from one.

`training_state/` holds a folder per checkpoint, named by its iteration: the weights in float32,
the optimizer's state, the average, and `state.json`. A folder gets its name when it is complete.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from ..checkpoints.config import read_json
from ..checkpoints.weights import Tensors, read_file
from ..errors import TrainingError, shortened
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
    loss_scale -- what the loss is multiplied by in float16; None in other types
    fitted, skipped -- updates in a row that did not overflow at that scale, and all that did
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    tokens: int = 0
    window: list[float] = field(default_factory=lambda: [0.0] * 4)
    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    loss_scale: float | None = None
    fitted: int = 0
    skipped: int = 0


DEFAULTS = asdict(TrainingState())
NEW = {name: DEFAULTS[name] for name in ("loss_scale", "fitted", "skipped")}  # may be absent


class OtherTraining(TrainingError):
    """A checkpoint of a training that had other options, or other data."""


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
            arguments = asdict(self.arguments)
            record = {"progress": asdict(state), "arguments": arguments, "data": self.data}
            write_json(temporary / STATE, record)
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
        found, reason = checkpoints(self.path), ""
        if not found:
            raise TrainingError(f"{self.path} holds no checkpoint to resume; begin without resume")
        for number, path in reversed([*enumerate(found)]):
            try:
                state = read_json(path / STATE)
                progress = _progress(state, path)
                self._check(state, path)
                trees = [
                    _filled(getattr(weights, part), path / f"{part}.safetensors") for part in PARTS
                ]
            except OtherTraining:
                raise
            except (OSError, ValueError, RuntimeError) as error:
                reason = shortened(str(error), 500)
                LOG.warning("%s cannot be read (%s); going on with the one before", path, reason)
                continue
            for damaged in found[number + 1 :]:  # their iterations come again
                shutil.rmtree(damaged)
            return Weights(*trees), progress
        raise TrainingError(
            f"none of the checkpoints in {self.path} can be read ({reason}); begin again"
        )

    def _check(self, state: dict[str, Any], path: Path) -> None:
        """Raise one error that names all that differs from the training of a checkpoint."""
        before = state["data"]
        differs = self.arguments.differences(state["arguments"]) + [
            f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in self.data.items()
            if before.get(name) != value
        ]
        if differs:
            raise OtherTraining(
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


def _filled(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """A tree of the same form with the tensors of a file, which have to be numbers that fit."""
    tensors = _read(path)
    expected = {name: (array.shape, array.dtype) for name, array in _flat(tree).items()}
    found = {name: (array.shape, array.dtype) for name, array in tensors.items()}
    odd = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if odd:
        raise TrainingError(
            f"{path} is of another model: {len(odd)} tensors differ in name, shape or type, such "
            f"as {odd[0]} ({found.get(odd[0])}, expected {expected.get(odd[0])})"
        )
    floats = {name: x for name, x in tensors.items() if mx.issubdtype(x.dtype, mx.floating)}
    wrong = [name for name, x in floats.items() if not mx.isfinite(x).all()]
    if wrong:
        raise TrainingError(f"{path} has numbers that are not finite, such as in {wrong[0]}")
    return tree_map_with_path(lambda name, _: tensors[name], tree)


def _progress(state: Mapping[str, Any], path: Path) -> TrainingState:
    """The progress in a parsed `state.json`; an error where it is none that was written there."""
    parts = [state.get(name) for name in ("progress", "arguments", "data")]
    values, _, data = (part if isinstance(part, dict) else {} for part in parts)
    values = {**NEW, **values}
    if not all(isinstance(part, dict) for part in parts) or values.keys() != DEFAULTS.keys():
        raise TrainingError(f"{path / STATE} lacks progress, arguments or data")
    batches = data.get("batches in an epoch", -1)
    names = ("step", "epoch", "position", "tokens", "stale", "fitted", "skipped")
    counts = [values[name] for name in names]
    best, best_step, scale = values["best"], values["best_step"], values["loss_scale"]
    counts += [] if best_step is None else [best_step]
    numbers = values["window"] if isinstance(values["window"], list) else []
    own = [x for x in (best, scale) if x is not None]
    fits = (
        all(type(value) is int and 0 <= value < 2**63 for value in [*counts, batches])
        and len(numbers) == 4
        and all(type(x) in (int, float) and 0 <= x < math.inf for x in [*numbers, *own])
        and scale != 0
        and (best is None) == (best_step is None)
        and values["step"] == int(path.name)
        and values["position"] < max(batches, 1)
        and (best_step or 0) <= values["step"]
    )
    if not fits:
        raise TrainingError(f"{path / STATE} has progress that no training makes: {values}")
    return TrainingState(**values)
