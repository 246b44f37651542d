"""Which samples are of one image or page: by names, and by contents where copies have others."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from ..images.loading import irregular, is_url
from .samples import Sample
from .stored import LineImage, StoredImage

BLOCK = 512  # bytes at the beginning, the middle and the end by which files are told apart first


def origins(samples: Sequence[Sample]) -> list[str]:
    """The page or the image of each sample, by a name that all copies of one file share.

    A sample that has neither is one of its own.
    """
    names = [sample.origin or f"sample {number}" for number, sample in enumerate(samples)]
    first = dict(zip(reversed(names), reversed(samples), strict=True))
    shared: dict[str, str] = {}
    for alike in _alike([*first], lambda name: _print(first[name], _blocks)):
        for copies in _alike(alike, lambda name: _print(first[name], _digest)):
            shared |= dict.fromkeys(copies, min(copies))
    return [shared.get(name, name) for name in names]


def _alike(names: Sequence[str], print_of: Callable[[str], object]) -> list[list[str]]:
    """The groups of two or more names that have the same print; those without one are in none."""
    groups: dict[object, list[str]] = {}
    for name in names:
        if (found := print_of(name)) is not None:
            groups.setdefault(found, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _print(sample: Sample, of: Callable[[BinaryIO], object]) -> object:
    """What a function makes of the file of a sample's image; None where there is none to read."""
    try:
        file = _file(sample)
        if file is None:
            return None
        with file:
            return of(file)
    except (OSError, ValueError):  # what cannot be read is told where it is read
        return None


def _file(sample: Sample) -> BinaryIO | None:
    image = sample.image
    if isinstance(image, StoredImage):
        return io.BytesIO(image.read())
    path = image.file if isinstance(image, LineImage) else image
    own = isinstance(image, LineImage) or not sample.page
    if not own or not isinstance(path, (str, Path)) or is_url(path) or irregular(Path(path)):
        return None
    return Path(path).open("rb")


def _blocks(file: BinaryIO) -> tuple[int, bytes]:
    size = file.seek(0, io.SEEK_END)
    found = b""
    for place in (0, size // 2, max(size - BLOCK, 0)):
        file.seek(place)
        found += file.read(BLOCK)
    return size, _hashed(found)


def _digest(file: BinaryIO) -> bytes:
    return _hashed(file.read())


def _hashed(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
