"""An evaluation as text, as JSON, as a CSV file with a row per sample, and as a picture."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, counted
from ..files import write_file
from ..images.loading import load_image
from ..images.sheets import sheet
from ..measuring.confidences import calibration_error
from ..measuring.intervals import LEVEL, Difference, Estimate
from ..measuring.page_evaluation import OF_LINES
from ..measuring.page_scores import TRUE_LINES

if TYPE_CHECKING:
    from ..measuring.evaluation import Evaluation, Row

Evaluations = Sequence[tuple[str, "Evaluation"]]  # each with its model's name


def as_text(evaluations: Evaluations, gained: Mapping[str, Difference]) -> str:
    """A table for each model, and one of how the first differs from the second."""
    blocks = []
    for name, evaluation in evaluations:
        unread = len(evaluation.unread)
        missed = f", {unread} of them not read" if unread else ""
        samples = counted(len(evaluation.rows), "sample")
        title = f"{name}: {samples}{missed}, {evaluation.seconds:.1f} s"
        metrics = (_line(*pair) for pair in evaluation.metrics.items())
        blocks.append([title, *metrics, *_calibration(evaluation)])
    if gained:
        title = f"difference: {' - '.join(name for name, _ in evaluations)}"
        blocks.append([title, *(_line(*pair) + _verdict(pair[1]) for pair in gained.items())])
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _calibration(evaluation: Evaluation) -> list[str]:
    """Confidence against being right, a line for each group of samples."""
    bins = evaluation.calibration
    error = f"{100 * calibration_error(bins):.2f} %"
    lines = [f"  calibration: confidence and being right are {error} apart on average"]
    lines += [
        f"    confidence {one.low:.2f} to {one.high:.2f}: {counted(one.count, 'sample')}, mean "
        f"{one.confidence:.3f}, {100 * one.right:.1f} % without an error"
        for one in bins
    ]
    return lines if bins else []


def _line(name: str, estimate: Estimate) -> str:
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = f"   {LEVEL} %: {100 * estimate.low:.2f} to {100 * estimate.high:.2f}"
    return f"  {name:14}{100 * estimate.value:7.2f} %{bounds}"


def _verdict(difference: Difference) -> str:
    counts = f"   {counted(difference.better, 'sample')} better, {difference.worse} worse"
    if difference.low is None:
        return counts
    return f"{counts}   {'' if difference.significant else 'not '}significant"


def as_json(evaluations: Evaluations, gained: Mapping[str, Difference]) -> str:
    """All tables as one JSON object; rates are from 0 to 1, not in per cent."""
    found: dict[str, Any] = {"models": [_values(*pair) for pair in evaluations]}
    if gained:
        found["difference"] = {
            name: {**dataclasses.asdict(difference), "significant": difference.significant}
            for name, difference in gained.items()
        }
    return json.dumps(found, ensure_ascii=False)


def _values(name: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "model": name,
        "samples": len(evaluation.rows),
        "unread": [row.where for row in evaluation.unread],
        "seconds": round(evaluation.seconds, 3),
        "metrics": {m: dataclasses.asdict(e) for m, e in evaluation.metrics.items()},
        "calibration": [dataclasses.asdict(one) for one in evaluation.calibration],
        "calibration_error": calibration_error(evaluation.calibration),
    }


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a row per sample under the field names of `Row`; several references as a JSON list.

    Pages have more columns: what each scores in the metrics of lines.
    """
    of_lines = [name for name in (*OF_LINES, TRUE_LINES) if name in evaluation.shares]

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(
                ["where", "image", "reference", "prediction", "edits", "cer"]
                + ["confidence", "finish_reason", "error", *of_lines]
            )
            for place, row in enumerate(evaluation.rows):
                scores = (evaluation.shares[name][place].ratio for name in of_lines)
                rows.writerow([*_cells(row), *(f"{score:.6f}" for score in scores)])

    write_file(path, write)


def _cells(row: Row) -> list[Any]:
    several = len(row.references) > 1
    reference = json.dumps(row.references, ensure_ascii=False) if several else row.references[0]
    rates = [row.edits, f"{row.cer:.6f}", f"{row.confidence:.6f}"]
    texts = [row.where, row.image, reference, row.prediction]
    return [*texts, *rates, row.finish_reason or "", row.error or ""]


def write_worst(path: Path, evaluation: Evaluation, count: int) -> None:
    """Write an image of the samples with most edits: each picture, its text and what was read."""
    entries = (_entry(row) for row in evaluation.worst(count))
    write_file(path, sheet(entries).save)


def _entry(row: Row) -> tuple[Any, list[str]]:
    try:
        picture = load_image(row.image)
    except ImageError:
        picture = None
    head = f"{row.where}   {counted(row.edits, 'edit')}, confidence {row.confidence:.2f}"
    read = row.prediction if row.error is None else f"({row.error})"
    return picture, [head, *(f"says: {text}" for text in row.references), f"read: {read}"]
