"""Files written so that a failure loses nothing: to a temporary name, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any


@contextmanager
def staged(folder: Path) -> Iterator[Callable[[str], Path]]:
    """A function from a file's name to a temporary path for it; at the end all are renamed.

    They come into their place in the order in which they were asked for, if nothing failed.
    """
    temporary: dict[Path, Path] = {}

    def beside(name: str) -> Path:
        path = folder / name
        temporary[path] = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        return temporary[path]

    try:
        yield beside
        for path, written in temporary.items():
            os.replace(written, path)
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place."""
    with staged(path.parent) as beside:
        write(beside(path.name))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object as Hugging Face's files are written: indented, keys sorted."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def seen(folder: Path) -> str:
    """What a folder holds, for an error: its first names, and how many more there are."""
    try:
        names = sorted(path.name for path in islice(folder.iterdir(), 1000))
    except (OSError, ValueError):
        return "nothing that can be read"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(names[:8]) or 'nothing'}{more}"


def near(path: Path) -> str:
    """What an error says after a path that is not there: the nearest name beside it, or others."""
    from difflib import get_close_matches

    try:
        lost = next((folder for folder in reversed(path.parents) if not folder.is_dir()), None)
        names = [] if lost else [other.name for other in islice(path.parent.iterdir(), 1000)]
    except (OSError, ValueError):  # too long, or not to be looked into
        return "no such path can be"
    if lost is not None:
        return f"there is no folder {lost}"
    close = get_close_matches(path.name[:300], names, n=1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    folder = "this folder" if path.parent == Path() else path.parent
    return f"{folder} holds {seen(path.parent)}"
