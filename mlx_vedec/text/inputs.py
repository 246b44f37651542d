"""What a processor takes for text: strings, or what is already split into words or into ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..errors import OptionError
from .tokenizer import TokenIds, Tokenizer

Text = str | Sequence[str] | Sequence[Sequence[str]] | TokenIds | Sequence[TokenIds]
HALF = re.compile("[\ud800-\udfff]")
TEXT_OPTIONS = {"add_special_tokens", "is_split_into_words", "max_length", "padding", "truncation"}


def has_half_character(text: str) -> bool:
    """Whether a text has half of a surrogate pair, as JSON can hold: it cannot be encoded."""
    return HALF.search(text) is not None


def rows_of(
    tokenizer: Tokenizer, text: Text, *, is_split_into_words: bool = False, **options: Any
) -> list[list[int]]:
    """Token ids, a row for each text.

    One string or several; one row of ids or several, which are padded and cut but otherwise stay as
    they are; and with `is_split_into_words`, as in transformers, one list of words or several: what
    stands between words is then up to the tokenizer, and with most that read bytes it is nothing.
    """
    given = _listed(text)
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, (list, tuple)):
        raise _wrong(given, is_split_into_words)
    if not is_split_into_words and all(isinstance(one, str) for one in given):
        return tokenizer(given, **options).input_ids
    tokenizer([], **options)  # it knows which options go together
    rows = [_listed(row) for row in given]
    rows = rows if rows and isinstance(rows[0], (list, tuple)) else [rows]
    cut = options.get("max_length") if options.get("truncation") else None
    special = options.get("add_special_tokens", True)
    ids = [_ids(tokenizer, row, is_split_into_words, special, cut) for row in rows]
    return tokenizer.padded(ids, options.get("padding", False), options.get("max_length")).input_ids


def _ids(
    tokenizer: Tokenizer, row: Sequence[Any], words: bool, special: bool, cut: int | None
) -> list[int]:
    """The ids of one row of words or ids, at most so many."""
    if not isinstance(row, (list, tuple)) or {isinstance(part, str) for part in row} - {words}:
        raise _wrong(row, words)
    return tokenizer.cut(row, special, cut) if words else tokenizer.checked(row)[:cut]


def _listed(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def _wrong(value: Any, words: bool) -> OptionError:
    return OptionError(
        f"text holds {repr(value)[:80]} and is_split_into_words is {words}; expected strings, rows "
        "of token ids, or lists of words with is_split_into_words=True"
    )
