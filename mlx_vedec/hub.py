"""A checkpoint's folder: one that is there, or one fetched from the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import CheckpointError

PATTERNS = ["*.json", "model*.safetensors", "*.txt", "*.model"]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def fetch(path_or_hf_repo: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint; a name that is no folder but could be a Hub id is downloaded."""
    path = Path(path_or_hf_repo).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file; expected a checkpoint's folder or a Hub id")
    if not HUB_ID.fullmatch(str(path_or_hf_repo)):
        raise CheckpointError(f"{path} is neither a folder nor a Hub id such as owner/name")
    return _download(str(path_or_hf_repo), revision)


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(
            f"{repo} is not a folder here and could not be had from the Hub: {first_line}"
        ) from error


def required(folder: Path, name: str) -> Path:
    """A file of the folder; a `CheckpointError` lists what the folder holds where it is missing."""
    path = folder / name
    if path.is_file():
        return path
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
    raise CheckpointError(f"{folder} has no {name}; it holds {found}")
