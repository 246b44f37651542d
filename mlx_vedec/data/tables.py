"""Files with a row per image: JSON lines, JSON, tab-separated, comma-separated."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..images.loading import is_url
from .listing import (
    DataLayout,
    Listing,
    Source,
    check_regular,
    folder_of_images,
    in_folders,
    is_image_name,
    split_of,
)
from .samples import (
    BY_NAMES,
    IMAGE,
    CollectedErrors,
    RowOptions,
    Sample,
    columns_of,
    placed,
    samples_of,
)

# Where a row is, a line's number mostly, and what makes it or raises
Rows = Iterator[tuple[int | str, Callable[[], Mapping[Any, Any]]]]

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DELIMITERS = ",;\t"
LISTS = ("data", "annotations", "samples", "labels", "images")  # in JSON that holds one list


def read_table(path: Path, options: RowOptions = BY_NAMES) -> list[Sample]:
    """The samples of a table; a `DataError` lists the lines that cannot be read.

    Images are as seen from the file's folder, see `folder_of_images`.
    """
    return read_rows(path, PARSERS[path.suffix.lower()](read_text(path), options), options)


def read_rows(path: Path, rows: Rows, options: RowOptions = BY_NAMES) -> list[Sample]:
    """The samples of the rows of a file, placed."""
    errors, samples = CollectedErrors(), []
    folder: Path | None = None
    for place, row in rows:
        where = f"{path}:{place}"
        with errors.at(where):
            for sample in samples_of(row(), options):
                if folder is None and isinstance(sample.image, str) and not is_url(sample.image):
                    folder = folder_of_images(path, sample.image)
                samples.append(placed(sample, folder or path.parent, where))
    errors.raise_any()
    if not samples:
        raise DataError(f"{path} has no samples; expected a line for each image")
    return samples


def read_text(path: Path) -> str:
    """The content of a file in UTF-8, or in UTF-16 that says so; an error names the wrong line."""
    content = read_bytes(path)
    encoding = "utf-16" if content.startswith(UTF16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        name = encoding.upper().removesuffix("-SIG")
        raise DataError(f"{path}:{line}: is not {name} ({error.reason}); convert it") from error


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; an error for a pipe, which might never end."""
    check_regular(path)
    return path.read_bytes()


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; only line feeds end a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _of_json_lines(text: str, options: RowOptions) -> Rows:
    for number, line in lines_of(text):
        yield number, partial(_object, line)


def _object(line: str) -> Mapping[Any, Any]:
    values = _json(line, "an object on each line", None)
    if not isinstance(values, dict):
        raise DataError(f"is {line[:60]}; expected an object with image and text")
    return values


def _json(text: str, expected: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no JSON ({str(error)[:200]}); expected {expected}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; an error where a name comes twice, of which Python would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DataError(f"{ascii(twice)[:80]} stands there twice")
    return found


def _of_json(text: str, options: RowOptions) -> Rows:
    """Rows of `{"a.png": "text"}`, of `{"a.png": {"text": …}}`, or of a list of objects."""
    try:
        values = _json(text, 'an object such as {"a.png": "text"}, or a list of objects', _once)
    except DataError as error:
        yield 1, partial(_fail, str(error))
        return
    lists = [name for name in LISTS if isinstance(values, dict) and type(values.get(name)) is list]
    if len(lists) == 1:
        values = values[lists[0]]
    if isinstance(values, list):
        for number, value in enumerate(values, 1):
            yield f"entry {number}", partial(_entry, value, {})
    elif isinstance(values, dict):
        image = options.image_column or "image"
        for name, value in values.items():
            given = {options.text_column or "text": value} if isinstance(value, str) else value
            yield f"{name[:200]}", partial(_entry, given, {image: name})
    else:
        yield 1, partial(_fail, f'is {text[:40]}; expected an object such as {{"a.png": "text"}}')


def _entry(value: Any, named: Mapping[str, str]) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise DataError(f"is {ascii(value)[:80]}; expected an object with image and text")
    return {**value, **({} if value.keys() & {*IMAGE} else named)}


def _of_tabs(text: str, options: RowOptions) -> Rows:
    rows = ((number, line.split("\t")) for number, line in lines_of(text))
    return _headed([*rows], options, bare=True)


def _of_commas(text: str, options: RowOptions) -> Rows:
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=lambda mark: _fitting(first, mark, options))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    found: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            found += [(start, cells)] * bool(cells)
            start = reader.line_num + 1
    except csv.Error as error:
        yield from _headed(found, options)
        yield start, partial(_fail, f"is no CSV ({error})")
        return
    yield from _headed(found, options)


def _fitting(line: str, delimiter: str, options: RowOptions) -> tuple[bool, int]:
    """How well a delimiter suits a header: whether the columns are there, and how many."""
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return False, 0
    return _has_columns(cells, options), len(cells)


def _has_columns(cells: Sequence[str], options: RowOptions) -> bool:
    try:
        return bool(columns_of(cells, options))
    except DataError:
        return False


def _headed(
    rows: Sequence[tuple[int, list[str]]], options: RowOptions, *, bare: bool = False
) -> Rows:
    """The rows under their header; without one the first two columns are file and text.

    bare -- whether a first line without the names of columns is a row, whatever is in it; else it
    is one if it begins with the name of an image
    """
    if not rows:
        return
    (place, header), rest = rows[0], rows[1:]
    starts = [is_image_name(cells[0]) for _, cells in rows[:2]]
    if not _has_columns(header, options):
        if starts[0] or (bare and not any(starts)):
            width = max(len(header), 2)
            header, rest = ["file", "text", *(f"column {n}" for n in range(3, width + 1))], rows
        else:
            yield place, partial(columns_of, header, options)  # pyright: ignore[reportReturnType]
            return
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        said = f"names the column {ascii(twice[0])[:60]} more than once; expected each name once"
        yield place, partial(_fail, said)
        return
    for number, cells in rest:
        yield number, partial(_columns, header, cells)


def _columns(header: Sequence[str], cells: Sequence[str]) -> Mapping[Any, Any]:
    if len(cells) != len(header):
        raise DataError(
            f"has {len(cells)} columns; expected {len(header)}: {', '.join(header)[:200]}; a first "
            "line may name other columns, and only in .csv do quotes hold a text together"
        )
    return dict(zip(header, cells, strict=True))


def _fail(message: str) -> Mapping[Any, Any]:
    raise DataError(message)


PARSERS: dict[str, Callable[[str, RowOptions], Rows]] = {
    ".jsonl": _of_json_lines,
    ".tsv": _of_tabs,
    ".csv": _of_commas,
    ".json": _of_json,
}
JSON_NAMES = ("labels", "label", "metadata", "annotations", "transcriptions", "data", "gt")


def _find(listing: Listing) -> list[Source]:
    paths = [path for path in listing.files if path.suffix.lower() in PARSERS]
    chosen = [path for path in paths if path.suffix.lower() != ".json" or _is_data(path)]
    return [source for path in chosen for source in _sources(listing, path)]


def _sources(listing: Listing, path: Path) -> list[Source]:
    return in_folders(listing, path, partial(read_table, path)) or [_of_file(path)]


def _is_data(path: Path) -> bool:
    """Whether a `.json` of a folder is named as a table; many others are about something else."""
    words = re.split("[^a-z]+", path.stem.lower())
    return any(word in JSON_NAMES for word in words) or split_of(path.stem) is not None


def _of_file(path: Path) -> Source:
    return Source(path.name, partial(read_table, path), split_of(path.stem))


TABLE = DataLayout(
    "table",
    "a table with a row per image: metadata.jsonl, metadata.csv, labels.json or another .jsonl, "
    ".tsv or .csv",
    _find,
    lambda path: _of_file(path) if path.suffix.lower() in PARSERS else None,
)
