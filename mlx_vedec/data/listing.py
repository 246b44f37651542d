"""What a folder holds, looked at once; what of it is data, and of which split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ..errors import DataError, listed, nearest
from ..images.loading import image_endings, image_files, irregular
from .samples import RowOptions, Sample

SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
NAMES = {name: split for split, names in SPLITS.items() for name in names}
BESIDE = ("images", "image")  # folders in which a table's images may be

Read = Callable[[RowOptions], list[Sample]]
ReadFiles = Callable[[Sequence[Path], RowOptions], list[Sample]]


@dataclass(frozen=True)
class Source:
    """Data in a folder: what it is called there, how it is read, and the split its name says."""

    name: str
    read: Read
    split: str | None = None


@dataclass(frozen=True)
class DataLayout:
    """A layout that people have data in.

    expected -- how it looks, for messages. find -- the data of this layout in a folder. of_file --
    that of one file, None for a file of another layout. near -- what in a folder comes close to
    the layout without being it, and what is amiss
    """

    name: str
    expected: str
    find: Callable[[Listing], Sequence[Source]]
    of_file: Callable[[Path], Source | None] = lambda path: None
    near: Callable[[Listing], Sequence[str]] = lambda listing: ()


class Listing:
    """The files and folders of a folder, by name; hidden ones are left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with os.scandir(folder) as entries:
            inside = {e.name: _is_folder(e) for e in entries if not e.name.startswith(".")}
        self.folders = [folder / name for name in sorted(inside) if inside[name]]
        self.files = [folder / name for name in sorted(inside) if not inside[name]]

    def ending(self, *suffixes: str) -> list[Path]:
        """The files whose names end so."""
        return [path for path in self.files if path.name.lower().endswith(suffixes)]

    def file(self, name: str) -> Path | None:
        """The file of a name, if it is there."""
        return next((path for path in self.files if path.name == name), None)

    def inner(self, *names: str) -> list[Listing]:
        """The folders inside that have one of these names, in the order of the names."""
        return [Listing(path) for name in names for path in self.folders if path.name == name]

    @cached_property
    def images(self) -> list[Path]:
        """The files that are named as images."""
        return [path for path in image_files(self.folder) if not path.name.startswith(".")]

    def seen(self) -> str:
        """What there is, by the endings of files, the most usual first."""
        kinds = Counter(path.suffix.lower() or "files without ending" for path in self.files)
        parts = [f"{count} {kind[:20]}" for kind, count in kinds.most_common(4)]
        for path in self.folders[:3]:
            hint = "" if path.name.lower() in NAMES else nearest(path.name, NAMES, "")
            parts.append(f"the folder {path.name[:60]}" + (f" ({hint})" if hint else ""))
        return ", ".join(parts) or "nothing at all"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def split_of(name: str) -> str | None:
    """The split that a file's name says: one of its words is that of a split.

    >>> split_of("train-00000-of-00002"), split_of("rec_gt_val"), split_of("labels")
    ('train', 'valid', None)
    """
    found = {NAMES[word] for word in re.split("[^a-z]+", name.lower()) if word in NAMES}
    return found.pop() if len(found) == 1 else None


def in_splits(paths: Sequence[Path], read: ReadFiles) -> list[Source]:
    """Files that are parts of one whole, or of one for each split that their names say."""
    groups: dict[str | None, list[Path]] = {}
    for path in paths:
        groups.setdefault(split_of(path.stem), []).append(path)
    return [
        Source(listed((path.name for path in own), 1), partial(read, own), split)
        for split, own in groups.items()
    ]


def of_ending(ending: str, read: ReadFiles, path: Path) -> Source | None:
    """A file by itself, if its name ends so."""
    return Source(path.name, partial(read, [path])) if path.suffix.lower() == ending else None


def in_folders(listing: Listing, path: Path, read: Read) -> list[Source]:
    """The splits of a `metadata` file whose images are in folders of splits, as on the Hub.

    read -- gives its samples. None for another file, or where there are no such folders
    """
    folders = {p.name: split for p in listing.folders if (split := NAMES.get(p.name.lower()))}
    if path.stem != "metadata" or len(folders) < 2:
        return []

    def own(split: str, options: RowOptions) -> list[Sample]:
        samples = read(options)
        folder_of = {id(sample): _first_folder(sample, listing.folder) for sample in samples}
        lost = next((s for s in samples if folder_of[id(s)] not in folders), None)
        if lost is not None:
            raise DataError(
                f"{lost.where}: image {str(lost.image)[:200]} is in none of the folders "
                f"{', '.join(folders)}; expected all images in these"
            )
        return [s for s in samples if folders[folder_of[id(s)]] == split]

    splits = dict.fromkeys(folders.values())
    return [Source(f"{path.name} ({split})", partial(own, split), split) for split in splits]


def _first_folder(sample: Sample, folder: Path) -> str:
    parts = Path(sample.origin).parts
    return next(iter(parts[len(Path(os.path.normpath(folder)).parts) :]), "")


def is_image_name(name: str) -> bool:
    """Whether a name ends as those of images do."""
    return Path(name).suffix.lower() in image_endings()


def folder_of_images(table: Path, first: str) -> Path:
    """The folder that the names of images in a table are seen from, by the first of them.

    It is the table's own, one of the table's name or `images` or `image` in that, or the one above;
    its own, too, where the image is in none of them.
    """
    own = table.parent
    places = (own, *(own / name for name in (table.stem, *BESIDE)), own.parent)
    return next((place for place in places if is_there(place / first)), own)


def check_regular(path: Path) -> None:
    """Raise for a pipe or a device, from which reading might never end."""
    if kind := irregular(path):
        raise DataError(f"{path} is {kind}; expected a regular file; save what it gives")


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file; nothing of one that cannot be read."""
    if irregular(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def is_there(path: Path) -> bool:
    """Whether a path is that of a file; that it cannot be a path at all is no error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
