"""Vocabularies as files: `merges.txt` and `vocab.txt` are lines, `vocab.json` tokens with ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

INSTEAD = (
    "or else a tokenizer.json, which transformers' "
    "AutoTokenizer.from_pretrained(name).save_pretrained(folder) writes"
)
LARGEST = 2**31 - 1


def read_lines(path: Path) -> list[str]:
    """A file's lines; other characters that Unicode counts as ends of lines are text."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 ({error}); download it again") from error
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def read_words(path: Path) -> dict[str, int]:
    """A `vocab.txt`: a token's id is the number of its line, from 0."""
    lines = [line.rstrip() or line for line in read_lines(path)]
    if not lines:
        raise CheckpointError(f"{path} is empty; expected a token in each line; download it again")
    vocabulary = {line: id for id, line in enumerate(lines)}
    if len(vocabulary) < len(lines):
        repeated = {line for id, line in enumerate(lines) if vocabulary[line] != id}
        raise CheckpointError(
            f"{path} has {_named(repeated)} in several lines; expected each token once, {INSTEAD}"
        )
    return vocabulary


def read_merges(path: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """A `merges.txt`: in each line two tokens that become one, the most frequent first."""
    merges = []
    for number, line in enumerate(read_lines(path), 1):
        if not line or number == 1 and line.startswith("#version"):
            continue
        left, space, right = line.partition(" ")
        unknown = [token for token in (left, right, left + right) if token not in vocabulary]
        if unknown or not space:
            raise CheckpointError(
                f"line {number} of {path} is {line[:80]!r}, and the vocabulary has no "
                f"{_named(unknown)}; expected two of its tokens that make up a third; "
                "take both files from one checkpoint"
            )
        merges.append((left, right))
    return merges


def check_ids(vocabulary: Mapping[str, Any], path: Path) -> None:
    """Raise a `CheckpointError` unless each token has an id of its own."""
    wrong = [
        token
        for token, id in vocabulary.items()
        if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id <= LARGEST
    ]
    if wrong or not vocabulary:
        raise CheckpointError(
            f"{path} has {_named(wrong) if wrong else 'no token'} without an id; expected tokens "
            "and whole numbers from 0 up; download it again"
        )
    tokens: dict[int, str] = {}
    for token, id in vocabulary.items():
        if tokens.setdefault(id, token) != token:
            raise CheckpointError(
                f"{path} gives the id {id} to {tokens[id]!r} and to {token!r}; expected an id of "
                f"its own for each, {INSTEAD}"
            )


def check_whole(ids: set[int], folder: Path) -> None:
    """Raise a `CheckpointError` where an id below the largest belongs to no token."""
    if len(ids) <= max(ids):
        missing = [id for id in range(len(ids)) if id not in ids]
        raise CheckpointError(
            f"{folder} has no token for the ids {str(missing[:8])[1:-1]} while the largest is "
            f"{max(ids)}; expected one for each, in the vocabulary, added_tokens.json or "
            f"tokenizer_config.json, {INSTEAD}"
        )


def _named(tokens: Any) -> str:
    return ", ".join(map(repr, sorted(tokens)[:8]))
