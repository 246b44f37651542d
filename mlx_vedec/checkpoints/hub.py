"""A checkpoint's folder: one that is there, or one fetched from the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError
from ..files import finish, path_of
from . import folders

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")  # whole, and in shards
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
TEXTS = ["README.md", "*.json", "*.txt", "*.model"]  # card, configs, vocabularies, SentencePiece
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def fetch(
    path_or_hf_repo: str | Path, revision: str | None = None, *, weights: bool = True
) -> Path:
    """The folder of a checkpoint; a name that is no folder but could be a Hub id is downloaded.

    Of a Hub id those files come that are read here: card, configs, vocabularies, and the weights as
    safetensors, or as pickles where the revision has no others. What the cache has of them is not
    downloaded again, and serves without a network. revision -- a branch, a tag, a commit, or a
    pull request such as "refs/pr/4". weights -- without them, which the cache may have though.
    """
    path = path_of(path_or_hf_repo).expanduser()
    try:
        if not path.exists():
            folders.settle(path)  # a process that died may have left what was here beside it
    except OSError as error:  # of names that are too long
        raise CheckpointError(f"{path} is no path ({error.strerror}); give a folder") from error
    if path.is_dir():
        finish(path)
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file; expected a checkpoint's folder or a Hub id")
    if not HUB_ID.fullmatch(str(path_or_hf_repo)):
        raise CheckpointError(f"{path} is neither a folder nor a Hub id such as owner/name")
    if not weights:
        return _snapshot(str(path_or_hf_repo), revision, [])
    return _download(str(path_or_hf_repo), revision)


def headers(repo: str, commit: str) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """Types and shapes of a Hub id's tensors, from the heads of its files; None of pickles."""
    from huggingface_hub import HfApi, errors

    try:
        found = HfApi().get_safetensors_metadata(repo, revision=commit)
    except errors.NotASafetensorsRepoError:
        return None
    except Exception as error:  # as in `_snapshot`
        raise CheckpointError(_reason(repo, commit, error)) from error
    files = found.files_metadata.values()
    return {n: (x.dtype, tuple(x.shape)) for file in files for n, x in file.tensors.items()}


def _download(repo: str, revision: str | None) -> Path:
    folder = _snapshot(repo, revision, ["model.safetensors", "model-*-of-*.safetensors"])
    if any((folder / name).is_file() for name in SAFETENSORS):
        return folder
    # by the commit, which is the folder's name: the branch may have moved meanwhile
    return _snapshot(repo, folder.name, ["pytorch_model.bin", "pytorch_model-*-of-*.bin"])


def _snapshot(repo: str, revision: str | None, weights: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=[*TEXTS, *weights], ignore_patterns=["*/*"]
        )
    except Exception as error:  # of requests, httpx or httpx2, as the Hub's library goes
        raise CheckpointError(_reason(repo, revision, error)) from error
    return Path(folder)


def _reason(repo: str, revision: str | None, error: Exception) -> str:
    """What went wrong, and what to do about it."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, errors.GatedRepoError):  # a kind of the next one
        return f"{repo} is gated: accept its conditions at {page}, and log in with hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"the Hub has no {repo}, or it is private: check the name, and log in with hf auth "
            "login to what is yours"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repo} has no revision {revision}; its branches and tags are at {page}/tree/main, "
            "its pull requests are refs/pr/1, refs/pr/2 and so on"
        )
    if not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{repo} is not a folder here and could not be had from the Hub: {_line(error)}"
    if constants.HF_HUB_OFFLINE:
        return (
            f"{repo} is not whole in the cache, {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
            "forbids to download it: unset that, or give a folder"
        )
    return (
        f"{repo} is not whole in the cache, {constants.HF_HUB_CACHE}, and the Hub cannot be "
        f"reached ({_line(error)}): try again with a network, or give a folder"
    )


def _line(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("Got: ") if lines else repr(error)


def required(folder: Path, *names: str) -> Path:
    """A file of the folder; a `CheckpointError` lists what the folder holds where it is missing.

    names -- of the file, then of others that would have served, for the message.
    """
    path = folder / names[0]
    finish(folder)
    if path.is_file():
        return path
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}; give the one that has {names[0]}")
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
    raise CheckpointError(f"{folder} has no {' or '.join(names)}; it holds {found}")
