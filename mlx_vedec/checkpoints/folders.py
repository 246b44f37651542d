"""A folder that is written beside its place and comes there whole or not at all.

Beside `out` it is `.out.unfinished/new`; what was at `out` before goes to `.out.unfinished/old` for
the moment between two renames. A process that is killed leaves that folder, and the next one to
write there begins by undoing it. A lock, which ends with its process, says which of the two it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from ..files import make_folder


def settle(target: Path) -> None:
    """Undo what a killed process left beside a target, so that the target is what it was."""
    beside = _beside(target)
    if beside.is_dir():
        with _locked(beside, target):
            _undo(beside, _place(target))


def check_target(target: Path, overwrite: bool, mark: str = "config.json") -> None:
    """Raise `CheckpointError` where something is there; to overwrite, where it lacks `mark`."""
    if not overwrite and (target.exists() or target.is_symlink()):
        raise CheckpointError(
            f"{target} exists; give another path, or replace it (--overwrite, overwrite=True)"
        )
    if target.exists() and not (target / mark).is_file():
        raise CheckpointError(f"{target} is no model's folder to overwrite; give another path")


def check_apart(source: Path, target: Path) -> None:
    """Raise `CheckpointError` where writing the target would change the source."""
    read, written = _place(source), _place(target)
    if read == written or read in written.parents or written in read.parents:
        raise CheckpointError(
            f"{target} and the source, {source}, are one folder or one inside the other; give "
            "another path"
        )


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path for a new folder, which takes the target's place at the end if nothing failed."""
    place, beside = _place(target), _beside(target)
    make_folder(beside)
    with _locked(beside, target):
        try:
            yield beside / "new"
            if place.exists():
                os.replace(place, beside / "old")
            os.replace(beside / "new", place)
        finally:
            _undo(beside, place)


def _place(path: Path) -> Path:
    """Where a path leads, through symbolic links."""
    try:
        return Path(os.path.realpath(path, strict=path.is_symlink() and not path.exists()))
    except FileNotFoundError:
        return path.resolve()  # of a link to what is not there yet
    except OSError as error:
        raise CheckpointError(f"{path} leads to itself ({error}); give another path") from error


def _beside(target: Path) -> Path:
    place = _place(target)
    return place.with_name(f".{place.name}.unfinished")


def _undo(beside: Path, place: Path) -> None:
    if (beside / "old").exists() and not place.exists():
        os.replace(beside / "old", place)
    shutil.rmtree(beside)


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    import fcntl  # of Unix

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CheckpointError(
            f"{target} is being written by another process; wait for its end, or give another path"
        ) from error
    finally:
        os.close(handle)
