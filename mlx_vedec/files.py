"""Files written so that a failure or a kill loses nothing.

Each is written beside its place, as `.NAME.PID.…`, and renamed when it is whole. Several that
belong together are renamed by a journal, `.unfinished`: from when it is there they count as
written, and who reads or writes in that folder next brings the renaming to its end. Until then the
one that the others are found by is absent, so that no reader takes old and new ones for a whole.
Whoever writes in a folder removes what dead processes left beside their places there.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any

from .errors import CheckpointError, as_path, listed, nearest

JOURNAL = ".unfinished"
MOST_NAMES = 5000  # of a folder, that are looked at to name the nearest
MLX = {"format": "mlx"}  # of a safetensors file: whose layout its tensors have
HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"  # whose numbers of processes they are
BESIDE = re.compile(rf"\..*\.(\d+)\.\d+\.{HOST}(\.[^.]*)?")
_numbers = itertools.count()
_open: ContextVar[tuple[Staging, ...]] = ContextVar("open", default=())


class Staging:
    """Files of a folder that come into their places together; called with a name, a path beside.

    Those that were asked for come in that order, the last of which is the one that readers find
    the others by. `removed` are names of files that go with them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary: dict[str, Path] = {}
        self.removed: list[str] = []
        self.journaled = False

    def __call__(self, name: str) -> Path:
        """The path to write a file to; the same if it is asked for again."""
        stem, suffix = os.path.splitext(name)
        unique = f".{stem[:40]}.{os.getpid()}.{next(_numbers)}.{HOST}{suffix}"
        path = self.temporary.pop(name, self.folder / unique)
        self.temporary[name] = path
        return path

    def rename(self) -> None:
        """Bring all into their places."""
        for name, path in self.temporary.items():
            with named_errors(self.folder / name):
                path.stat()  # what was not written after all is an error before anything changes
        renamed = {path.name: name for name, path in self.temporary.items()}
        removed = [name for name in self.removed if name not in renamed.values()]
        if len(renamed) + len(removed) == 1 or not renamed:
            _rename(self.folder, renamed, removed)
            return
        blocked = [name for name in renamed.values() if (self.folder / name).is_dir()]
        if blocked:
            raise CheckpointError(f"{self.folder / blocked[0]} is a folder; expected a file there")
        journal = self(JOURNAL)
        journal.write_text(json.dumps({"renamed": renamed, "removed": removed}), "utf-8")
        with _locked(self.folder):
            os.replace(journal, self.folder / JOURNAL)
            self.journaled = True
            _rename(self.folder, renamed, removed)
            os.unlink(self.folder / JOURNAL)

    def clear(self) -> None:
        """Remove what is still beside; what a journal names is as good as written, and stays."""
        for path in () if self.journaled else self.temporary.values():
            with suppress(OSError):
                os.unlink(path)


@contextmanager
def staged(folder: Path) -> Iterator[Staging]:
    """Within it, what this module writes in a folder is put beside; at the end all is renamed.

    If anything fails the folder stays as it was. Within another of the same folder it is a part of
    that one.
    """
    place = Path(os.path.abspath(folder))
    outer = next((own for own in _open.get() if own.folder == place), None)
    if outer is not None:
        yield outer
        return
    with _locked(place):
        _finish(place)
        _clear(place)
    staging = Staging(place)
    token = _open.set((*_open.get(), staging))
    try:
        yield staging
        staging.rename()
    finally:
        _open.reset(token)
        staging.clear()


def make_folder(given: object) -> Path:
    """Make a folder, and those that it is in, where it is not there."""
    folder = as_path(given, "folder", CheckpointError)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be made a folder ({error.strerror}); give another path"
        ) from error


def finish(folder: Path) -> None:
    """Bring to its end what a process that died had begun to rename in a folder."""
    if (folder / JOURNAL).is_file():
        with _locked(folder):
            _finish(folder)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place."""
    with staged(path.parent) as beside, named_errors(path):
        write(beside(path.name))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object as Hugging Face's files are written: indented, keys sorted."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; half a character as JSON would, as a backslash and its code."""
    data = utf8(text)
    write_file(path, lambda temporary: temporary.write_bytes(data))


def utf8(text: str) -> bytes:
    """The bytes that `write_text` writes."""
    return text.encode("utf-8", "backslashreplace")


def write_tensors(
    path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays to a safetensors file, through to the disk."""
    import mlx.core as mx

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # by its path MLX would not say why it cannot
            mx.save_safetensors(file, dict(tensors), dict(metadata or MLX))  # pyright: ignore
            file.flush()
            os.fsync(file.fileno())

    write_file(path, write)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Within it an `OSError` that names no file, or one beside its place, names this path."""
    try:
        yield
    except OSError as error:
        name = os.path.basename(os.fsdecode(error.filename)) if error.filename else None
        if name is not None and not BESIDE.fullmatch(name):
            raise
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error


def _finish(folder: Path) -> None:
    journal = folder / JOURNAL
    if not journal.is_file():
        return
    renamed, removed = _planned(journal)
    try:
        _rename(folder, renamed, removed)
        os.unlink(journal)
    except OSError as error:
        raise CheckpointError(
            f"{folder} was being written by a process that died, and its files cannot be renamed "
            f"({error}); make it writable, or write it anew to another place"
        ) from error


def _planned(journal: Path) -> tuple[dict[str, str], list[str]]:
    """The names in a journal, temporary and then right, and those to be removed."""
    try:
        plan = json.loads(journal.read_text("utf-8"))
        renamed, removed = dict(plan["renamed"]), list(plan["removed"])
        names = [*renamed, *renamed.values(), *removed]
        if all(map(BESIDE.fullmatch, renamed)) and all(Path(name).name == name for name in names):
            return renamed, removed
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise CheckpointError(f"{journal} is not what this package leaves; delete it")


def _rename(folder: Path, renamed: Mapping[str, str], removed: list[str]) -> None:
    """Rename files, as many as are still beside, the last of several gone until its turn."""
    last = [*renamed.items()][-1:]
    if len(renamed) + len(removed) > 1:
        for temporary, name in last:
            if (folder / temporary).exists():
                _remove(folder / name)
    for name in removed:
        _remove(folder / name)
    for temporary, name in renamed.items():
        if (folder / temporary).exists():
            os.replace(folder / temporary, folder / name)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _clear(folder: Path) -> None:
    """Remove what processes of this machine that are no more left beside its place."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [match for entry in entries if (match := BESIDE.fullmatch(entry.name))]
        for match in found:
            if not _is_alive(int(match[1])):
                _remove(folder / match[0])


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it no other process renames in a folder, where its file system has locks at all."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def seen(folder: Path) -> str:
    """What a folder holds, for an error: its first names, and how many more there are."""
    return listed(sorted(_names(folder)), 8) or "nothing"


def near(path: Path) -> str:
    """What an error says after a path that is not there: the nearest name beside it, or others."""
    try:
        lost = next((folder for folder in reversed(path.parents) if not folder.is_dir()), None)
        names = [] if lost else _names(path.parent)
    except (OSError, ValueError):  # too long, or not to be looked into
        return "no such path can be"
    if lost is not None:
        return f"there is no folder {lost}"
    place = "this folder" if path.parent == Path() else path.parent
    names = [name for name in names if name != path.name]  # which may be there, of another kind
    return nearest(path.name, names, f"{place} holds {seen(path.parent)}")


def _names(folder: Path) -> list[str]:
    """Names in a folder, of very many only some."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, MOST_NAMES)]
    except PermissionError:
        return []
