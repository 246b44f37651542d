"""Which tokens are special: the files beside a vocabulary name them, in several dialects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoints.config import read_json
from .added_tokens import NUMBERED

CONFIG_FILE = "tokenizer_config.json"
OLDER_FILE = "special_tokens_map.json"


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `tokenizer_config.json`, with what an older save has in a file of its own."""
    config, older = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in (CONFIG_FILE, OLDER_FILE)
    )
    if NUMBERED in config:  # since transformers 4.34 it says all by itself
        return config
    return {**config, **{key: _typed(token) for key, token in older.items()}}


def _typed(token: Any) -> Any:
    """A token of the older file as the config writes it, where its flags are to count."""
    if isinstance(token, list):
        return [*map(_typed, token)]
    flagged = isinstance(token, dict) and "content" in token
    return {"__type": "AddedToken", **token} if flagged else token
