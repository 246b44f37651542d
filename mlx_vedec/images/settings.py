"""Settings of image processors: what they may be, and how errors show them."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from typing import Any

import numpy as np

from ..errors import ConfigError
from .arrays import LARGEST

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 3, 60, 60


def briefly(value: object) -> str:
    """A value of a file or a call in a line of bounded length, lists and objects too.

    >>> briefly([16, 16]), len(briefly("x" * 999))
    ('[16, 16]', 60)
    """
    return " ".join(_BRIEF.repr(value).split())


def wrong(name: str, value: object, expected: str) -> ConfigError:
    """The error for a setting that is not what is expected."""
    return ConfigError(f"image processor: {name} is {briefly(value)}; expected {expected}")


def is_number(value: object) -> bool:
    """Whether it is a whole number or a float that arithmetic in float32 holds."""
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    return whole and abs(value) < LARGEST  # pyright: ignore[reportArgumentType]


def is_one_of(value: object, known: Collection[int]) -> bool:
    """Whether it is one of these numbers or truth values; an array is none."""
    return isinstance(value, (int, np.bool_)) and value in known


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """One number for all three channels, or a list with one for each."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if not all(is_number(number) for number in values):
        raise wrong(name, value, "numbers")
    return tuple(float(number) for number in values)
