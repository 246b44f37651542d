"""Samples parted into splits page by page, and what is amiss between splits.

Samples are of one page or image by its name, and by its content where copies have other names.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, OptionError, check_whole, shown
from ..images.loading import irregular, is_url
from .samples import Sample
from .stored import LineImage, StoredImage

BLOCK = 512  # bytes at the beginning, the middle and the end by which files are told apart first
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def check_options(valid_fraction: object, normal_form: object, seed: object) -> None:
    """Raise `OptionError` for a fraction, a normal form or a seed that is none.

    None fits for the first two.
    """
    check_whole("seed", seed, 0)
    number = isinstance(valid_fraction, (int, float)) and not isinstance(valid_fraction, bool)
    if valid_fraction is not None and not (number and 0 < valid_fraction < 1):  # pyright: ignore
        raise OptionError(
            f"valid_fraction is {shown(valid_fraction)}; expected more than 0, less than 1"
        )
    form = isinstance(normal_form, str) and normal_form in FORMS
    if normal_form is not None and not form:
        raise OptionError(f"normal_form is {shown(normal_form)}; expected {', '.join(FORMS)}")


def part(
    samples: Sequence[Sample], fraction: float, seed: int = 0
) -> tuple[list[Sample], list[Sample]]:
    """The samples in two parts, each in its order; the second is about a fraction of them.

    All samples of one page, or of one image and its copies, come into the same part. Which pages
    are in the second depends on the seed and on their names alone.
    """
    origin_of = origins(samples)
    pages = Counter(origin_of)
    if len(pages) < 2:
        raise DataError(
            f"all {len(samples)} samples are of one page, which cannot be in two splits; give "
            "another split, or more pages"
        )
    names = sorted(pages)
    order = np.random.default_rng(seed).permutation(len(names))
    wanted, chosen = max(1, round(fraction * len(samples))), set[str]()
    taken = 0
    for place in order[:-1]:
        if taken >= wanted:
            break
        chosen.add(names[place])
        taken += pages[names[place]]
    pairs = [*zip(samples, origin_of, strict=True)]
    return [s for s, name in pairs if name not in chosen], [
        s for s, name in pairs if name in chosen
    ]


def warn_of_overlap(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Warn of images, or of lines of a page, that are in two splits, also as copies."""
    if len(splits) < 2:
        return
    rest = iter(origins([sample for samples in splits.values() for sample in samples]))
    found = {name: {*islice(rest, len(samples))} for name, samples in splits.items()}
    said = [
        f"{len(shared)} of {len(found[other])} in {other} are in {one} too, such as "
        f"{min(shared)[:200]}"
        for one, other in combinations(found, 2)
        if (shared := found[one] & found[other])
    ]
    if said:
        warnings.warn(
            f"the splits share images, or lines of a page: {'; '.join(said)}; what is measured on "
            "these, the model may know by heart",
            stacklevel=3,
        )


def in_form(samples: Sequence[Sample], form: str | None) -> list[Sample]:
    """The samples with their texts in a normal form of Unicode; None leaves them as they are.

    Then texts of two forms, some with `é` as one character and others as two, are a warning.
    """
    if form is None:
        _warn_of_forms(samples)
        return [*samples]
    chosen: Any = form
    return [replace(s, text=unicodedata.normalize(chosen, s.text)) for s in samples]


def _warn_of_forms(samples: Sequence[Sample]) -> None:
    apart = [s for s in samples if not unicodedata.is_normalized("NFC", s.text)]
    if not apart:
        return
    composed = sum(not unicodedata.is_normalized("NFD", s.text) for s in samples)
    if composed:
        warnings.warn(
            f"texts are in two normal forms of Unicode: in {len(apart)} of {len(samples)} a letter "
            f"and its accent are apart (NFD), first at {apart[0].where}, and in {composed} they "
            "are one character (NFC); bring all into one with normal_form (--normal-form)",
            stacklevel=4,
        )


# Which samples are of one page or image


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
