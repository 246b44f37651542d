"""Files with a row per image: JSON lines, tab-separated, comma-separated."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..images.loading import irregular
from .samples import IMAGE, TEXT, CollectedErrors, Sample, placed, samples_of

# A line's number, and what makes a row of it or raises
Rows = Iterator[tuple[int, Callable[[], Mapping[Any, Any]]]]


def read_table(path: Path, added_vocab: Container[str] = ()) -> list[Sample]:
    """The samples of a table; a `DataError` lists the lines that cannot be read.

    Images are as seen from the file's folder.
    """
    errors, samples = CollectedErrors(), []
    for line, row in PARSERS[path.suffix.lower()](read_text(path)):
        where = f"{path}:{line}"
        with errors.at(where):
            found = samples_of(row(), added_vocab)
            samples += [placed(sample, path.parent, where) for sample in found]
    errors.raise_any()
    if not samples:
        raise DataError(f"{path} has no samples; expected a line for each image")
    return samples


def read_text(path: Path) -> str:
    """The content of a UTF-8 file; an error names the line that is not UTF-8."""
    if kind := irregular(path):
        raise DataError(f"{path} is {kind}; expected a regular file; save what it gives")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 ({error.reason}); convert it") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; only line feeds end a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _of_json_lines(text: str) -> Rows:
    for number, line in _lines(text):
        yield number, partial(_object, line)


def _object(line: str) -> Mapping[Any, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"is no JSON ({str(error)[:200]}); expected an object on each line"
        ) from error
    if not isinstance(values, dict):
        raise DataError(f"is {line[:60]}; expected an object with image and text")
    return values


def _of_tabs(text: str) -> Rows:
    header: Sequence[str] = ()
    for number, line in _lines(text):
        cells = line.split("\t")
        if not header and set(cells) & set(IMAGE) and set(cells) & set(TEXT):
            header = cells
            continue
        if not header:
            header = ("file", "text", *(f"column {n}" for n in range(3, len(cells) + 1)))
        yield number, partial(_columns, header, cells)


def _of_commas(text: str) -> Rows:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] | None = None
    start = 1
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield start, partial(_fail, f"is no CSV ({error})")
            return
        if cells is None:
            return
        if header is None:
            header = cells
        elif cells:
            yield start, partial(_columns, header, cells)
        start = rows.line_num + 1


def _columns(header: Sequence[str], cells: Sequence[str]) -> Mapping[Any, Any]:
    if len(cells) != len(header):
        raise DataError(
            f"has {len(cells)} columns; expected {len(header)}: {', '.join(header)[:200]}; a first "
            "line may name other columns"
        )
    return dict(zip(header, cells, strict=True))


def _fail(message: str) -> Mapping[Any, Any]:
    raise DataError(message)


PARSERS: dict[str, Callable[[str], Rows]] = {
    ".jsonl": _of_json_lines,
    ".tsv": _of_tabs,
    ".csv": _of_commas,
}
