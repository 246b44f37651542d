"""Callbacks that report a training while it runs: a table, a file of metrics, a picture of it.

A callback is any object with some of these methods; the first two are mlx-lm's, with its keys:

on_train_loss_report(info) -- iteration, train_loss, learning_rate, iterations_per_second,
    tokens_per_second, trained_tokens, peak_memory (GB); also epoch, grad_norm (None where it
    overflowed), seconds_left (of updates alone), and in float16 loss_scale, skipped (updates left
    out so far)
on_val_loss_report(info) -- iteration, val_loss, val_time (seconds); also cer, wer, samples, each a
    prediction and a reference, and images, those of the samples
on_step(info) -- after every iteration: iteration, iterations (of all), loss
on_save(info) -- iteration, path
on_end(info) -- when the training ends, also by an error: iteration
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from ..errors import TrainingError, shortened
from ..files import named_errors, utf8, write_file, write_text
from ..text.error_rates import characters

Info = Mapping[str, Any]
COLUMNS = ("Iter", "Train loss", "Val loss", "CER", "LR", "Tokens/s", "Iter/s", "Peak GB", "Left")
LONGEST = 200  # characters of a text that are shown


def notify(callbacks: Iterable[object], event: str, info: Info) -> None:
    """Call the method named `event` of the callbacks that have it."""
    for callback in callbacks:
        method = getattr(callback, event, None)
        if method is not None:
            method(info)


class LossTable:
    """Prints a line per report, and on a terminal each iteration in place, below the lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.begun = False

    def on_step(self, info: Info) -> None:
        """On a terminal, show the number of the iteration and its loss."""
        if self.stream.isatty():
            said = f"{info['iteration']}/{info['iterations']}  loss {info['loss']:.3f}"
            print(f"\r\033[K{said}", end="", file=self.stream, flush=True)

    def on_train_loss_report(self, info: Info) -> None:
        """Print a line of the table for a report of training."""
        self._line(
            info["iteration"],
            f"{info['train_loss']:.4f}",
            *("", ""),
            f"{info['learning_rate']:.2e}",
            f"{info['tokens_per_second']:.0f}",
            f"{info['iterations_per_second']:.2f}",
            f"{info['peak_memory']:.2f}",
            duration(info["seconds_left"]),
        )

    def on_val_loss_report(self, info: Info) -> None:
        """Print a line for an evaluation, and the texts read, each under what it should be."""
        cer = info.get("cer")
        self._line(
            info["iteration"],
            *("", f"{info['val_loss']:.4f}"),
            *("" if cer is None else f"{100 * cer:.2f}%", *[""] * 5),
        )
        for prediction, reference in info.get("samples", ()):
            rate = 100 * characters(prediction, reference).ratio
            wanted, found = (repr(shortened(text, LONGEST)) for text in (reference, prediction))
            print(f"    = {wanted}\n    > {found}   CER {rate:.1f}%", file=self.stream)

    def _line(self, *cells: object) -> None:
        if self.stream.isatty():
            print("\r\033[K", end="", file=self.stream)
        for row in (cells,) if self.begun else (COLUMNS, cells):
            line = " ".join(f"{cell!s:>10}" for cell in row).rstrip()
            print(line, file=self.stream, flush=True)
        self.begun = True


def duration(seconds: float) -> str:
    """A time as hours, minutes and seconds, the hours where there are some.

    >>> duration(59.6), duration(3700)
    ('1:00', '1:01:40')
    """
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class MetricsFile:
    """Writes `metrics.jsonl`: one report a line, without images; its "kind" is "train" or "val".

    step -- the iteration that the training goes on after; lines of later ones, which a run that was
    interrupted has left, are dropped.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["iteration"] <= step] if step else []
        write_text(path, "".join(map(_line, kept)))

    def on_train_loss_report(self, info: Info) -> None:
        """Add a line for a report of training."""
        self._add({"kind": "train", **info})

    def on_val_loss_report(self, info: Info) -> None:
        """Add a line for an evaluation."""
        self._add({"kind": "val", **info})

    def _add(self, record: dict[str, Any]) -> None:
        with named_errors(self.path), self.path.open("ab") as file:
            file.write(utf8(_line(record)))


def _line(record: Info) -> str:
    kept = {name: value for name, value in record.items() if name != "images"}
    return json.dumps(kept, ensure_ascii=False) + "\n"


class MetricsPicture:
    """Draws `metrics.png` of `metrics.jsonl`, at each evaluation and at the end."""

    def __init__(self, folder: Path) -> None:
        self.metrics, self.picture = folder / "metrics.jsonl", folder / "metrics.png"

    def on_val_loss_report(self, _: Info) -> None:
        """Draw what has been reported so far."""
        plot(self.metrics, self.picture)

    on_end = on_val_loss_report


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, up to a line that is none, as one cut short is."""
    records = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
            records.append({**record, "iteration": int(record["iteration"])})
        except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
            break
    return records


def plot(metrics: Path, picture: Path) -> None:
    """Draw the losses, and the CER where there is one, of a `metrics.jsonl` as a PNG file."""
    try:
        from matplotlib.backends.backend_agg import (  # pyright: ignore[reportMissingImports]
            FigureCanvasAgg,
        )
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise TrainingError(
            "a plot needs matplotlib; install it (pip install 'mlx-vedec[plot]')"
        ) from error
    records = read_metrics(metrics)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    for key in ("train_loss", "val_loss"):
        axes.plot(*_points(records, key), label=key.replace("_", " "))
    axes.set(xlabel="iteration", ylabel="loss of a token")
    steps, rates = _points(records, "cer")
    if steps:
        right = axes.twinx()
        right.plot(steps, rates, color="tab:green", label="CER")
        right.set(ylabel="CER", ylim=(0, None))
    figure.legend(loc="upper right")
    write_file(picture, lambda temporary: canvas.print_png(str(temporary)))


def _points(records: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    found = [record for record in records if record.get(key) is not None]
    return [record["iteration"] for record in found], [record[key] for record in found]
