"""Images with their texts, one by one or out of the rows of a table; errors in them, collected."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from ..errors import DataError, counted, listed, nearest, shown
from ..images.deferred import DeferredImage
from ..images.loading import ImageSource, is_url
from ..tasks.donut import json2token
from ..tasks.donut_prompts import ANSWER, QUESTION
from ..text.inputs import has_half_character

IMAGE = ("image", "file_name", "file")  # the names a column goes by
TEXT = ("text", "ground_truth")
ANY_IMAGE = "_file_name"  # and of a column of images, where it has none of these, the ending
PARSES = ("gt_parse", "gt_parses")
SHOWN = 20  # errors of a dataset that are listed


@dataclass(frozen=True)
class Sample:
    """An image and what is to be read in it.

    image -- whatever `load_image` takes. text -- for Donut, tags. prompt -- as in `generate`.
    where -- file and line. tags -- tokens that the text was made with and the vocabulary needs.
    page -- what the image was cut from, where that is known: its samples come into one split.
    """

    image: ImageSource
    text: str
    prompt: str | None = None
    where: str = ""
    tags: tuple[str, ...] = ()
    page: str = ""

    @property
    def origin(self) -> str:
        """The page, else the path of the image; empty where the image came without either."""
        if self.page or isinstance(self.image, DeferredImage):
            return self.page or str(self.image)
        return os.path.normpath(self.image) if isinstance(self.image, (str, os.PathLike)) else ""


@dataclass(frozen=True)
class RowOptions:
    """How rows become samples.

    image_column, text_column -- where the image and the text are; by default in a column of a name
    of `IMAGE` and `TEXT`. added_vocab -- `json2token`'s
    """

    image_column: str | None = None
    text_column: str | None = None
    added_vocab: Container[str] = ()


BY_NAMES = RowOptions()


def check_no_columns(options: RowOptions, what: str) -> None:
    """Raise `DataError` where a column is named for data that have none."""
    for name in ("image_column", "text_column"):
        if getattr(options, name) is not None:
            raise DataError(f"{name} is for tables, and {what} have no columns; leave it out")


class Dataset(Sequence[Sample]):
    """A sequence of samples, each made of its row when it is asked for; images are not opened.

    Rows are samples, pairs of image and text, or mappings with `image`, `text` and perhaps `prompt`
    or, as the Hub's document sets have it, `image` and `ground_truth`.

    >>> Dataset([("a.png", "tea"), {"image": "b.png", "text": "rice"}])[1].text
    'rice'
    """

    def __init__(self, rows: Sequence[Any], name: str = "sample") -> None:
        is_sequence = hasattr(rows, "__len__") and hasattr(rows, "__getitem__")
        if not is_sequence or isinstance(rows, (Mapping, type)):
            raise DataError(f"the dataset is {shown(rows)}; expected a sequence of samples or rows")
        self.rows, self.name = rows, name

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        if isinstance(index, slice):
            return Dataset([self[i] for i in range(*index.indices(len(self)))], self.name)
        row = self.rows[index]
        return row if isinstance(row, Sample) else _sample(row, f"{self.name} {index}")


def _sample(row: Any, where: str) -> Sample:
    if isinstance(row, (list, tuple)) and len(row) == 2:
        row = {"image": row[0], "text": row[1]}
    if not isinstance(row, Mapping):
        raise DataError(
            f"{where} is a {type(row).__name__}; expected a Sample, a pair of image and text, or a "
            "mapping with image and text"
        )
    try:
        found = samples_of(row)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if len(found) != 1:
        raise DataError(f"{where} has {len(found)} gt_parses; expected one; give each a row")
    return replace(found[0], where=where)


def samples_of(row: Mapping[Any, Any], options: RowOptions = BY_NAMES) -> list[Sample]:
    """The sample of a row, or those of its `gt_parses`."""
    image, text = columns_of([*row], options)
    sample = Sample(row[image], "", prompt=row.get("prompt") or None)
    if not isinstance(sample.prompt, str | None):
        raise DataError(f"prompt is {_shown(sample.prompt)}; expected a string")
    whole(sample.prompt or "", "prompt")
    if text == "ground_truth":
        return [_parsed(sample, parse, options.added_vocab) for parse in _parses(row[text])]
    if not isinstance(row[text], str):
        raise DataError(
            f"{text} is {_shown(row[text])}; expected a string; JSON that becomes tags goes under "
            '"ground_truth", as {"gt_parse": {…}}'
        )
    return [replace(sample, text=whole(row[text]))]


def columns_of(names: Sequence[Any], options: RowOptions = BY_NAMES) -> tuple[str, str]:
    """Which columns of these names are the image and the text; an error where that is not one."""
    image, text = options.image_column, options.text_column
    return _column(names, "image", image, IMAGE), _column(names, "text", text, TEXT)


def _column(names: Sequence[Any], kind: str, asked: str | None, known: Sequence[str]) -> str:
    expected = known if asked is None else (asked,)
    found = [name for name in expected if name in names]
    if not found and asked is None and kind == "image":
        found = [name for name in names if str(name).endswith(ANY_IMAGE)]
    if len(found) == 1:
        return found[0]
    has = listed((str(name)[:40] for name in names), 12) or "nothing"
    if asked is not None:
        hints, other = [nearest(asked, map(str, names), "")], ""
    else:
        hints = [] if found else [nearest(name, expected, "") for name in names[:100]]
        other = f", or {kind}_column to name another"
    hint = next((f"; {hint}" for hint in hints if hint), "")
    raise DataError(f"the row has {has}; expected one of {', '.join(expected)}{other}{hint}")


def _parses(truth: Any) -> list[Any]:
    """The documents under `gt_parse` or `gt_parses`."""
    try:
        values = json.loads(truth) if isinstance(truth, str) else truth
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"ground_truth is no JSON ({str(error)[:200]}); expected an object"
        ) from error
    found = [name for name in PARSES if isinstance(values, Mapping) and name in values]
    if len(found) != 1:
        raise DataError(
            f'ground_truth is {_shown(values)}; expected an object with "gt_parse", or with '
            '"gt_parses" and a list'
        )
    parses = values[found[0]] if found == ["gt_parses"] else [values["gt_parse"]]
    if not isinstance(parses, list) or not parses:
        raise DataError(f"gt_parses is {_shown(parses)}; expected a list of objects")
    return parses


def _parsed(sample: Sample, parse: Any, added_vocab: Container[str]) -> Sample:
    """A sample whose text is a document's tags; where it is a question's, that is the prompt."""
    text, _ = json2token(parse, added_vocab=added_vocab)
    _, tags = json2token(parse)
    prompt = sample.prompt
    asked = isinstance(parse, Mapping) and set(parse) == {QUESTION, ANSWER}
    if asked and prompt is None:
        prompt = str(parse[QUESTION])
        text = text.partition(f"<s_{ANSWER}>")[2]
    return replace(sample, text=whole(text), prompt=prompt, tags=tuple(tags))


def whole(text: str, name: str = "text") -> str:
    """The text; an error where JSON held half a surrogate pair, which cannot be encoded."""
    if has_half_character(text):
        raise DataError(
            f"{name} {_shown(text)} has half a surrogate pair; expected whole characters"
        )
    return text


def _shown(value: Any) -> str:
    return ascii(value)[:80]


def placed(sample: Sample, folder: Path, where: str) -> Sample:
    """A sample of a table with its image's path as seen from a folder, and its file and line."""
    image = sample.image
    if isinstance(image, DeferredImage):
        return replace(sample, where=where)
    if not isinstance(image, str) or not image:
        raise DataError(f"image is {_shown(image)}; expected a path")
    whole(image, "image")
    path = image if is_url(image) else str(folder / image)
    return replace(sample, image=path, where=where)


class CollectedErrors:
    """Errors by the place in the data that they are at, raised together.

    >>> errors = CollectedErrors()
    >>> with errors.at("train.jsonl:3"):
    ...     raise ValueError("text is empty")
    >>> errors.raise_any()
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: 1 problem in the data:
      train.jsonl:3: text is empty
    """

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in order, each once

    @contextmanager
    def at(self, where: str = "") -> Iterator[None]:
        """Collect a `ValueError` or `OSError` raised inside, instead of letting it through."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(f"{where}: {error}" if where else str(error))

    def add(self, error: str) -> None:
        """Collect an error; the same text a second time is not counted."""
        self.found[error] = None

    def raise_any(self) -> None:
        """Raise a `DataError` that lists the first 20 errors, if there are any."""
        if not self.found:
            return
        lines = [f"{counted(len(self.found), 'problem')} in the data:", *[*self.found][:SHOWN]]
        if len(self.found) > SHOWN:
            lines.append(f"and {len(self.found) - SHOWN} more")
        raise DataError("\n  ".join(lines))
