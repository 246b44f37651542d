"""Images that come to a folder while it is watched, each when it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ImageError, as_path
from ..files import near
from .loading import image_endings, load_image

SECONDS = 0.25  # between two looks
PATIENCE = 20  # looks at a file that does not change, after which it counts as whole, read or not

Seen = tuple[int, int]  # a file's size in bytes, and when it was changed, in nanoseconds


def new_images(
    folder: str | os.PathLike[str],
    wait: Callable[[], object] = lambda: time.sleep(SECONDS),
) -> Iterator[Path]:
    """The images and PDFs that come to a folder or are changed there, in the order of their names.

    Those that are there when it is called are not new. A file is given once it has not changed
    between two looks and can be read to its end, or after `PATIENCE` looks. Hidden files are left
    out. wait -- is called between two looks.
    """
    place = as_path(folder, "watch")
    return _changes(place, _look(place), wait)


def _changes(place: Path, given: dict[Path, Seen], wait: Callable[[], object]) -> Iterator[Path]:
    before: dict[Path, Seen] = {}
    looks: dict[Path, int] = {}
    while True:
        wait()
        now = _look(place)
        given = {path: seen for path, seen in given.items() if path in now}
        for path, seen in now.items():
            if given.get(path) == seen:
                continue
            looks[path] = looks.get(path, 0) + 1 if before.get(path) == seen else 0
            if looks[path] and seen[0] and (looks[path] >= PATIENCE or _is_whole(path)):
                given[path] = seen
                yield path
        before = now


def _look(folder: Path) -> dict[Path, Seen]:
    """The images of a folder, by name."""
    found: dict[Path, Seen] = {}
    endings = image_endings()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.name.startswith(".") or path.suffix.lower() not in endings:
                    continue
                try:
                    state = entry.stat()
                except FileNotFoundError:  # gone since
                    continue
                if entry.is_file():
                    found[path] = state.st_size, state.st_mtime_ns
    except OSError as error:
        raise ImageError(
            f"{folder} cannot be watched ({error.strerror}); expected a folder; {near(folder)}"
        ) from error
    return found


def _is_whole(path: Path) -> bool:
    """Whether a file can be read to its end; a PDF says so only by not changing any more."""
    if path.suffix.lower() == ".pdf":
        return False
    try:
        load_image(path)
    except ImageError:
        return False
    return True
