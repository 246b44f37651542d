"""Reports sent to TensorBoard and to Weights & Biases, by their own packages.

What fails there is warned of, and ends nothing but the reports.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..checkpoints.config import read_json
from ..errors import TrainingError, nearest, shortened
from ..files import utf8, write_json
from ..images.loading import ImageSource, load_image
from .samples_page import LARGEST, as_jpeg, small

LOG = logging.getLogger("mlx_vedec")
TRACKERS = ("tensorboard", "wandb")  # by the names of their packages
RUN = "wandb.json"  # in the folder of a training: the run that it goes on with


class Tracker:
    """Base of callbacks that send numbers, samples and their pictures somewhere."""

    name = ""

    def __init__(self) -> None:
        self.lost = False

    def on_train_loss_report(self, info: Mapping[str, Any]) -> None:
        """Send the numbers of a report."""
        self._try(lambda: self.send(info["iteration"], numbers(info)))

    def on_val_loss_report(self, info: Mapping[str, Any]) -> None:
        """Send the numbers and the samples of an evaluation."""
        step, samples = info["iteration"], info.get("samples", ())
        self._try(lambda: self.send(step, numbers(info)))
        if samples:
            self._try(lambda: self.send_samples(step, samples, info["images"]))

    def on_end(self, _: Mapping[str, Any]) -> None:
        """Send what is still waiting, and say that this is all."""
        self._try(self.close)

    def send(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of an iteration."""
        raise NotImplementedError

    def send_samples(
        self, step: int, samples: Sequence[tuple[str, str]], images: Sequence[ImageSource]
    ) -> None:
        """Send pairs of what was read and what should have been, with their images."""
        raise NotImplementedError

    def close(self) -> None:
        """Send what is still waiting."""
        raise NotImplementedError

    def _try(self, act: Callable[[], object]) -> None:
        """Do something that may fail in ways of the package's own."""
        if self.lost:
            return
        try:
            act()
        except Exception as error:
            self.lost = True
            LOG.warning(
                "%s fails (%s); the training goes on without it",
                self.name,
                shortened(f"{type(error).__name__}: {error}", 500),
            )


class TensorBoard(Tracker):
    """Writes event files, which `tensorboard --logdir FOLDER` shows."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.writer = _tensorboard("summary.writer.event_file_writer").EventFileWriter(str(folder))
        self.begun = self.pictured = False

    def send(self, step: int, values: Mapping[str, float]) -> None:
        """Write a scalar for each number."""
        self._begin(step)
        self._add(step, [{"tag": tag, "simple_value": value} for tag, value in values.items()])

    def send_samples(
        self, step: int, samples: Sequence[tuple[str, str]], images: Sequence[ImageSource]
    ) -> None:
        """Write the texts as one table, and the pictures the first time."""
        rows = [f"| {_cell(wanted)} | {_cell(found)} |" for found, wanted in samples]
        table = "\n".join(["| reference | prediction |", "|---|---|", *rows])
        data = utf8(table)
        text = _tensorboard("util.tensor_util").make_tensor_proto(data)
        about = _tensorboard("plugins.text.metadata").create_summary_metadata("samples", "")
        self._add(step, [{"tag": "samples", "tensor": text, "metadata": about}])
        if self.pictured:
            return
        self.pictured = True
        for number, image in enumerate(images):
            picture = small(load_image(image), LARGEST)
            shape = {"height": picture.height, "width": picture.width, "colorspace": 3}
            data = {**shape, "encoded_image_string": as_jpeg(picture)}
            self._add(step, [{"tag": f"sample {number}", "image": data}])

    def close(self) -> None:
        """Write what is still waiting, and close the file."""
        self.writer.close()

    def _begin(self, step: int) -> None:
        """Say that what an interrupted run wrote of this and later iterations is void."""
        if not self.begun:
            self.begun = True
            self._write(step, session_log={"status": 1})  # START

    def _add(self, step: int, values: list[dict[str, Any]]) -> None:
        self._write(step, summary={"value": values})

    def _write(self, step: int, **what: Any) -> None:
        event = _tensorboard("compat.proto.event_pb2").Event
        self.writer.add_event(event(wall_time=time.time(), step=step, **what))
        self.writer.flush()


def _tensorboard(name: str) -> Any:
    """A module of the package, which has no types."""
    return import_module(f"tensorboard.{name}")


class WandB(Tracker):
    """Sends reports to a run of Weights & Biases, which a training that is resumed goes on with.

    folder -- of the training; the run is named after it. settings -- shown beside the run. The
    project is that of the variable WANDB_PROJECT, or mlx_vedec.
    """

    name = "wandb"

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        super().__init__()
        self.wandb: Any = import_module("wandb")
        known = folder / RUN
        before = {"id": read_json(known).get("id")} if resume and known.is_file() else {}
        try:
            self.run = self.wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "mlx_vedec",
                name=folder.resolve().name,
                dir=str(folder),
                config=dict(settings),
                resume="allow",
                **before,
            )
        except Exception as error:  # also of the network
            raise TrainingError(
                f"wandb begins no run ({error}); log in by `wandb login`, set WANDB_MODE=offline, "
                "or leave it out of --report-to"
            ) from error
        write_json(known, {"id": self.run.id})

    def send(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of an iteration."""
        self.run.log(dict(values), step=step)

    def send_samples(
        self, step: int, samples: Sequence[tuple[str, str]], images: Sequence[ImageSource]
    ) -> None:
        """Log a table of pictures, references and predictions."""
        pictures = [self.wandb.Image(small(load_image(image), LARGEST)) for image in images]
        rows = [
            [picture, wanted, found]
            for picture, (found, wanted) in zip(pictures, samples, strict=True)
        ]
        table = self.wandb.Table(columns=["image", "reference", "prediction"], data=rows)
        self.run.log({"samples": table}, step=step)

    def close(self) -> None:
        """Send what is still waiting, and end the run."""
        self.run.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Raise an error for a tracker that is not known, or whose package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise TrainingError(f"report_to names {name[:80]!r}; {nearest(name, TRACKERS)}")
        if find_spec(name) is None:
            raise TrainingError(
                f"report_to {name} needs the package {name}; install it (pip install "
                f"'mlx-vedec[{name}]'), or leave {name} out"
            )


def trackers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], *, resume: bool
) -> list[Tracker]:
    """The trackers of these names, for a training in a folder; events go to `folder/runs`."""
    check_trackers(names)
    makers: dict[str, Callable[[], Tracker]] = {
        TensorBoard.name: lambda: TensorBoard(folder / "runs"),
        WandB.name: lambda: WandB(folder, settings, resume=resume),
    }
    return [makers[name]() for name in dict.fromkeys(names)]


def numbers(info: Mapping[str, Any]) -> dict[str, float]:
    """What of a report can be drawn as a curve."""
    return {
        name: float(value)
        for name, value in info.items()
        if type(value) in (int, float) and name != "iteration"
    }


def _cell(text: str) -> str:
    """A text in a cell of a table in Markdown, where it stands for itself."""
    return shortened(text, 300).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
