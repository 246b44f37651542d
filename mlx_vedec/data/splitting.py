"""Samples parted into splits page by page, and what is amiss between splits."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from ..errors import DataError, OptionError, check_whole, shown
from .origins import origins
from .samples import Sample

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
