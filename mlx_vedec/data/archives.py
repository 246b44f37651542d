"""Archives of WebDataset: `.tar` files in which `1.png` and `1.txt` or `1.json` are a sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import DataError
from .listing import DataLayout, Listing, Source, check_regular, in_splits, is_image_name, of_ending
from .samples import RowOptions, Sample
from .stored import StoredImage
from .tables import Rows, read_rows

TEXTS = (".txt", ".gt.txt", ".text")
LARGEST = 2**24  # bytes of a text or of JSON
Members = Mapping[str, tarfile.TarInfo]  # of a sample, by their endings


def read_archives(paths: Sequence[Path], options: RowOptions) -> list[Sample]:
    """The samples of archives; nothing is unpacked, images are read where they are."""
    samples = []
    for path in paths:
        samples += read_rows(path, _rows(path, options), options)
    return samples


def _rows(path: Path, options: RowOptions) -> Rows:
    check_regular(path)
    try:
        with tarfile.open(path, "r:") as archive:
            for key, members in _groups(archive):
                yield key[:200], partial(_row, path, key, members, options)
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{path} is no whole archive that is not compressed ({error}); unpack it, or pack it "
            "again without compression"
        ) from error


def _groups(archive: tarfile.TarFile) -> Iterator[tuple[str, Members]]:
    """The files of each name up to its first dot, in their order."""
    key, members = "", {}
    for member in archive:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        found = f"{folder}/{stem}" if folder else stem
        if found != key and members:
            yield key, members
            members = {}
        key, members[(dot + ending).lower()] = found, member
    if members:
        yield key, members


def _row(path: Path, key: str, members: Members, options: RowOptions) -> Mapping[str, Any]:
    images = [ending for ending in members if is_image_name(f"a{ending}")]
    if len(images) != 1:
        has = ", ".join(members)[:200]
        raise DataError(f"has {has}; expected an image and a text of one name, such as .png, .txt")
    image = StoredImage(f"{path}:{key}", _reading(path, members[images[0]]))
    named = {options.image_column or "image": image}
    text = next((ending for ending in TEXTS if ending in members), None)
    if text is not None:
        content = _text(path, members[text]).rstrip("\r\n")
        return {options.text_column or "text": content, **named}
    if ".json" not in members:
        raise DataError(f"has {', '.join(members)[:200]}; expected a .txt or .json beside it")
    try:
        values = json.loads(_text(path, members[".json"]))
    except (ValueError, RecursionError) as error:
        raise DataError(f"its .json is no JSON ({str(error)[:100]})") from error
    if not isinstance(values, dict):
        raise DataError("its .json is no object; expected one with a text")
    return {**values, **named}


def _reading(path: Path, member: tarfile.TarInfo) -> Callable[[], bytes]:
    start, size = member.offset_data, member.size

    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return read


def _text(path: Path, member: tarfile.TarInfo) -> str:
    if member.size > LARGEST:
        raise DataError(f"{member.name[:60]} has {member.size} bytes; expected a text")
    try:
        return _reading(path, member)().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{member.name[:60]} is not UTF-8 ({error.reason}); convert it") from error


def _find(listing: Listing) -> list[Source]:
    return in_splits(listing.ending(".tar"), read_archives)


def _near(listing: Listing) -> list[str]:
    packed = listing.ending(".zip", ".tar.gz", ".tgz", ".7z", ".rar")
    said = [f"{packed[0].name} is packed; unpack it"] if packed else []
    if listing.file("data.mdb"):
        said.append("data.mdb is LMDB, which is not read; write its images and texts to files")
    return said


ARCHIVE = DataLayout(
    "webdataset",
    "archives of WebDataset: 000000.tar with 1.png, 1.txt, 2.png, 2.txt",
    _find,
    partial(of_ending, ".tar", read_archives),
    _near,
)
