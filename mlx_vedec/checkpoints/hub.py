"""A checkpoint's folder: one that is there, or one fetched from the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import CheckpointError, OptionError, as_path, nearest
from ..files import finish, near, seen
from . import folders

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")  # whole, and in shards
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
PICKLED = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")
TEXTS = ["README.md", "*.json", "*.txt", "*.model"]  # card, configs, vocabularies, SentencePiece
# Of subfolders only those come that may hold a processor or a tokenizer; `*` goes past a slash.
ELSEWHERE = ["[!pti]*/*", "p[!r]*/*", "t[!o]*/*", "i[!m]*/*"]
# What has no meaning on one device with unified memory, or for tokenizers of one kind alone.
HABITS = {
    *("device_map", "low_cpu_mem_usage", "use_fast", "use_safetensors", "attn_implementation"),
    "trust_remote_code",
}
KNOWN = sorted({"dtype", "quantize", "lazy", "revision", "subfolder", *HABITS})
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def fetch(
    path_or_hf_repo: str | Path,
    revision: str | None = None,
    *,
    weights: bool = True,
    subfolder: str | None = None,
) -> Path:
    """The folder of a checkpoint; a name that is no folder but could be a Hub id is downloaded.

    Of a Hub id those files come that are read here: card, configs, vocabularies, and the weights as
    safetensors, or as pickles where the revision has no others. What the cache has of them is not
    downloaded again, and serves without a network. revision -- a branch, a tag, a commit, or a
    pull request such as "refs/pr/4". weights -- without them, which the cache may have though.
    subfolder -- of the folder or the repository, where the checkpoint is.
    """
    if subfolder is not None:
        return _inside(path_or_hf_repo, revision, weights, PurePosixPath(subfolder))
    path = as_path(path_or_hf_repo, "path_or_hf_repo", CheckpointError)
    if not path.exists():
        folders.settle(path)  # a process that died may have left what was here beside it
    if path.is_dir():
        finish(path)
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file; expected a checkpoint's folder or a Hub id")
    if not HUB_ID.fullmatch(str(path_or_hf_repo)):
        raise CheckpointError(
            f"{path} is neither a folder nor a Hub id such as owner/name; {near(path)}"
        )
    if not weights:
        return _snapshot(str(path_or_hf_repo), revision, TEXTS)
    return _download(str(path_or_hf_repo), revision)


def check_habits(options: Mapping[str, Any]) -> None:
    """Take what transformers' `from_pretrained` is given out of habit and means nothing here.

    `OptionError` for `trust_remote_code`, since no code of a checkpoint is run, and for what nobody
    knows.
    """
    if options.get("trust_remote_code"):
        raise OptionError(
            "trust_remote_code is True, but no code of a checkpoint is run here; leave it out: "
            "checkpoints of the known families need none"
        )
    unknown = sorted(options.keys() - HABITS)
    if unknown:
        raise OptionError(
            f"{unknown[0]} is no option of from_pretrained; {nearest(unknown[0], KNOWN)}"
        )


def _inside(
    path_or_hf_repo: str | Path, revision: str | None, weights: bool, subfolder: PurePosixPath
) -> Path:
    """A folder within a checkpoint's folder or repository."""
    if subfolder.is_absolute() or ".." in subfolder.parts:
        raise CheckpointError(f"subfolder is {subfolder}; expected a path inside {path_or_hf_repo}")
    folder = Path(path_or_hf_repo).expanduser()
    if not folder.is_dir():
        fetch(path_or_hf_repo, revision, weights=False)  # which refuses what is no Hub id
        wanted = [*TEXTS, *(["*.safetensors", "pytorch_model*.bin"] if weights else [])]
        patterns = [f"{subfolder}/{pattern}" for pattern in wanted]
        folder = _snapshot(str(path_or_hf_repo), revision, patterns, [])
    if not (folder / subfolder).is_dir():
        found = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:12])
        raise CheckpointError(
            f"{path_or_hf_repo} has no subfolder {subfolder}; it has {found or 'none'}"
        )
    return folder / subfolder


def part_of(folder: Path, names: Iterable[str], files: Iterable[str]) -> Path:
    """The folder, or else the first subfolder of these names, that holds one of the files."""
    files, places = [*files], (folder, *(folder / name for name in names))
    holds = (place for place in places if any((place / file).is_file() for file in files))
    return next(holds, folder)


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
    folder = _snapshot(repo, revision, [*TEXTS, *WEIGHTS])
    if any((folder / name).is_file() for name in SAFETENSORS):
        return folder
    # by the commit, which is the folder's name: the branch may have moved meanwhile
    return _snapshot(repo, folder.name, [*TEXTS, *PICKLED])


def _snapshot(
    repo: str, revision: str | None, wanted: list[str], ignored: list[str] = ELSEWHERE
) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=wanted, ignore_patterns=ignored
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
        raise CheckpointError(
            f"there is no folder {folder}; give the one that has {names[0]}; {near(folder)}"
        )
    raise CheckpointError(f"{folder} has no {' or '.join(names)}; it holds {seen(folder)}")
