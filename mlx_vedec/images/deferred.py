"""Pictures that are made when they are asked for, and not kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

from PIL import Image


class DeferredImage(ABC):
    """A picture that stands in a file of many, or is to be cut from a page.

    name -- what it is called in messages and tables
    """

    name: str

    @abstractmethod
    def load(self) -> Image.Image:
        """The picture, RGB, each time anew; an `ImageError` or `LayoutError` where it is none."""

    @abstractmethod
    def check(self) -> None:
        """Raise the error of `load` where a short look, at a file's header, says it will come."""

    def __str__(self) -> str:
        return self.name
