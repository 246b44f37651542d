"""Special and added tokens: files beside a vocabulary give them an id, a role or a place in a list.

Those without an id get the next ones in transformers' order: by role, then as they are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from ..checkpoints.config import read_json
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
CONFIG_FILE = "tokenizer_config.json"
OLDER_FILE = "special_tokens_map.json"


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `tokenizer_config.json`, with what an older `special_tokens_map.json` adds."""
    config, older = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in (CONFIG_FILE, OLDER_FILE)
    )
    if NUMBERED in config:  # since transformers 4.34 it says all by itself
        return config
    return {**config, **{key: _flagged(token) for key, token in older.items()}}


def _flagged(token: Any) -> Any:
    """A token of `special_tokens_map.json` as the config writes it, so that its flags count."""
    if isinstance(token, list):
        return [*map(_flagged, token)]
    has_flags = isinstance(token, dict) and "content" in token
    return {"__type": "AddedToken", **token} if has_flags else token


def content_of(token: Any) -> str:
    """The text of a token in a JSON file: a string, or an object with the string; null is none."""
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
    """Added tokens by id: a config's `added_tokens_decoder`, else those of `added_tokens.json`."""
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
    """Add tokens that have ids, which they must get, and after them those of a config."""
    backend.add_tokens([numbered[id] for id in sorted(numbered)])
    for id, token in sorted(numbered.items()):
        _check(backend, id, token.content, folder)
    named, listed = _special(config)
    add_new(backend, [_token(token, special=True) for token in [*named, *listed]])


def add_new(backend: tokenizers.Tokenizer, tokens: Iterable[AddedToken]) -> None:
    """Add tokens that are not added yet, each where it comes first and with its flags there."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    new: dict[str, AddedToken] = {}
    for token in tokens:
        if token.content not in added:
            new.setdefault(token.content, token)
    backend.add_tokens([*new.values()])


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
    """A token of a JSON file, with its flags; without any it is matched as it is."""
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
