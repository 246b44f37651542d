"""Tokens that are added to a vocabulary: files give them an id, a role or a place in a list.

Those without an id get the next ones in transformers' order: by role, then as they are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from ..errors import CheckpointError, ConfigError

# Every role, and the names to look for among special tokens where the files give it to none.
ROLES = {
    "bos_token": ["<s>"],
    "eos_token": ["</s>"],
    "unk_token": ["<unk>", "[UNK]"],
    "sep_token": ["[SEP]"],
    "pad_token": ["<pad>", "[PAD]"],
    "cls_token": ["[CLS]"],
    "mask_token": ["<mask>", "[MASK]"],
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
NUMBERED = "added_tokens_decoder"


def content_of(token: Any) -> str:
    """A token in a JSON file is a string, or an object with the string in it; null is none."""
    return token.get("content", "") if isinstance(token, dict) else token or ""


def special_names(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The special tokens that have a role or a name, and those that are only listed."""
    named, listed = _special(config)
    return [*map(content_of, named)], [*map(content_of, listed)]


def _special(config: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    names = [*ROLES, *(key for key in config if key.endswith("_token") and key not in ROLES)]
    named = [config.get(name) for name in names]
    listed = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(listed, dict):
        named, listed = [*named, *listed.values()], []
    return [token for token in named if isinstance(token, (str, dict))], listed


def numbered_tokens(config: Mapping[str, Any], older: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Tokens by id: a config's `added_tokens_decoder`, else what an `added_tokens.json` holds."""
    if NUMBERED in config:
        return {_id(id): _token(token) for id, token in dict(config[NUMBERED]).items()}
    special = {name for names in special_names(config) for name in names}
    ids = {name: _id(id) for name, id in older.items()}
    tokens = {id: AddedToken(name, special=name in special) for name, id in ids.items()}
    clashing = [name for name, id in ids.items() if tokens[id].content != name]
    if clashing:
        raise CheckpointError(
            f"added_tokens.json gives {clashing[0]!r} and {tokens[ids[clashing[0]]].content!r} "
            f"one id, {ids[clashing[0]]}; expected an id of its own for each; correct the file"
        )
    return tokens


def add_tokens(
    backend: tokenizers.Tokenizer,
    numbered: Mapping[int, AddedToken],
    config: Mapping[str, Any],
    folder: Path,
) -> None:
    """Add tokens with ids, which have to come true, and after them those of a config."""
    backend.add_tokens([numbered[id] for id in sorted(numbered)])
    for id, token in sorted(numbered.items()):
        _check(backend, id, token.content, folder)
    named, listed = _special(config)
    add_new(backend, [_token(token, special=True) for token in [*named, *listed]])


def add_new(backend: tokenizers.Tokenizer, tokens: Iterable[AddedToken]) -> None:
    """Add tokens that are not among the added ones yet; the first of a name counts."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    new = {token.content: token for token in reversed([*tokens]) if token.content not in added}
    backend.add_tokens([*reversed(new.values())])


def _check(backend: tokenizers.Tokenizer, id: int, token: str, folder: Path) -> None:
    actual, other = backend.token_to_id(token), backend.id_to_token(id)
    if actual == id:
        return
    holder = f"which is that of {other!r}" if other else "and others below it have no token"
    raise CheckpointError(
        f"{folder} gives the added token {token!r} the id {id}, {holder}; expected {actual}, its "
        "place in or after the vocabulary; take all of the files from one checkpoint"
    )


def _token(token: Any, special: bool = False) -> AddedToken:
    """A token with the flags that the files give it; without any it is matched as it is."""
    if not isinstance(token, dict):
        return AddedToken(content_of(token), special=special)
    if not isinstance(token.get("content"), str):
        raise ConfigError(f"an added token is {token}; expected an object with its content")
    flags = {flag: bool(token[flag]) for flag in FLAGS if flag in token}
    return AddedToken(token["content"], special=special or bool(token.get("special")), **flags)


def _id(id: Any) -> int:
    try:
        number = int(id)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 2**31:
        raise ConfigError(f"an added token has the id {id!r}; expected 0 or more")
    return number
