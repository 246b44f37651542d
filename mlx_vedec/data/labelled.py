"""Images to measure a model on, with the texts that they show where these are known.

A folder has `labels.tsv` (file, text and what else one likes, split at tabs and without quotes; a
header is optional), or beside each image a `.txt` of the same name, or no labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import OptionError
from ..images.loading import images_in

LINES = Path(__file__).parents[1] / "assets" / "lines"  # of the validation set, 64
LINES_ASPECT = 12.0  # `line_aspect_ratio` of the checkpoints that read them
TABLE = "labels.tsv"
Paths = str | os.PathLike[str]


class Labelled(NamedTuple):
    """Images, and the text of each, or None where there are no labels."""

    images: tuple[Path, ...]
    labels: tuple[str, ...] | None


def labelled(
    source: Paths | Iterable[Paths] | None, *, line_aspect_ratio: float | None = None
) -> Labelled:
    """The images of a folder, of a file or of several; None: 64 validation lines of the package.

    Images have labels all or none. line_aspect_ratio -- the processor's, by which a model is known
    to read those lines: it is 12 in the bundled model, and other libraries' files have none.

    >>> found = labelled(None, line_aspect_ratio=12.0)
    >>> len(found.images), found.images[-1].name, found.labels[-1]
    (64, 'seen_093.png', "curtsy Beverly's")
    """
    if source is None and line_aspect_ratio != LINES_ASPECT:
        raise OptionError(
            "images are needed: the lines that the package has suit the bundled model alone; give "
            "a folder of images such as the model is to read, with their labels if you can"
        )
    given = LINES if source is None else source
    if isinstance(given, (str, os.PathLike)):
        folder = Path(given)
        images = images_in(folder) if folder.is_dir() else [folder]
        if folder.is_dir() and (folder / TABLE).is_file():
            _check_files(_table(folder), images, folder / TABLE)
    else:
        images = [Path(path) for path in given]
    if not images:
        raise OptionError("there are no images; give one or more")
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise OptionError(f"there is no {_some(missing)}; give images, or a folder of them")
    return Labelled(tuple(images), _labels(images))


def _labels(images: list[Path]) -> tuple[str, ...] | None:
    tables = {folder: _table(folder) for folder in {image.parent for image in images}}
    found = [tables[image.parent].get(image.name, _beside(image)) for image in images]
    missing = [str(image) for image, text in zip(images, found, strict=True) if text is None]
    if len(missing) == len(images) and not any(tables.values()):
        return None
    if missing:
        raise OptionError(
            f"{len(missing)} of {len(images)} images have no label: {_some(missing)}; give each a "
            f"row in {TABLE} or a .txt of its name, or give none labels"
        )
    return tuple(text for text in found if text is not None)


def _table(folder: Path) -> dict[str, str]:
    """The texts of a folder's table by file; none where there is no table."""
    path = folder / TABLE
    if not path.is_file():
        return {}
    rows = [line.split("\t") for line in _text(path).splitlines() if line.strip()]
    short = [row[0] for row in rows if len(row) < 2]
    if short:
        raise OptionError(f"{path} has no text for {_some(short)}; expected file, a tab, text")
    named = [row[0] for row in rows]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise OptionError(f"{path} has {_some(twice)} more than once; expected a row per image")
    is_header = bool(rows) and not Path(named[0]).suffix and not (folder / named[0]).exists()
    return {row[0]: row[1] for row in rows[is_header:]}


def _check_files(table: dict[str, str], images: list[Path], path: Path) -> None:
    missing = sorted(table.keys() - {image.name for image in images})
    if missing:
        raise OptionError(
            f"{path} has labels for {len(missing)} images that are not there: {_some(missing)}; "
            "add the images, or take out the rows"
        )


def _beside(image: Path) -> str | None:
    path = image.with_suffix(".txt")
    return _text(path).rstrip("\r\n") if path.is_file() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 ({error}); expected labels in UTF-8") from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
