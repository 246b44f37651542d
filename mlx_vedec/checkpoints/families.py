"""Model classes by Hugging Face's model types, each imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


class Families(Mapping[str, type[T]]):
    """A mapping of model types to classes, given as `file.Class` of a package.

    A family that is not used costs no time: its file is not imported.

    >>> from mlx_vedec.encoders import ENCODERS
    >>> ENCODERS["vit"].__name__, "vit_hybrid" in ENCODERS
    ('ViTModel', False)
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package, self._places = package, dict(places)

    def __getitem__(self, model_type: str) -> type[T]:
        file, _, name = self._places[model_type].partition(".")
        return getattr(import_module(f".{file}", self._package), name)

    def __contains__(self, model_type: object) -> bool:
        return model_type in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
