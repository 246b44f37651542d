"""Which tokens are special: the files beside a vocabulary name them, in several dialects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import read_json

CONFIG_FILE = "tokenizer_config.json"
OLDER_FILE = "special_tokens_map.json"
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


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `tokenizer_config.json`, with what an older save has in a file of its own."""
    config, older = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in (CONFIG_FILE, OLDER_FILE)
    )
    if "added_tokens_decoder" in config:  # since transformers 4.34 it says all by itself
        return config
    named = {
        key: [*map(content_of, token)] if isinstance(token, list) else content_of(token)
        for key, token in older.items()
    }
    return {**config, **named}


def special_names(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The special tokens that have a role or a name, and those that are only listed."""
    named = [config[key] for key in config if key.endswith("_token")]
    listed = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(listed, dict):
        named, listed = [*named, *listed.values()], []
    given = [token for token in named if isinstance(token, (str, dict))]
    return [*map(content_of, given)], [*map(content_of, listed)]


def content_of(token: Any) -> str:
    """A token in a JSON file is a string, or an object with the string in it; null is none."""
    return token.get("content", "") if isinstance(token, dict) else token or ""
