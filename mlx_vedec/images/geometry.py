"""Where the pixels an encoder sees lie in the picture they were made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from .boxes import Box, Size

Row = tuple[Fraction | int, Fraction | int, Fraction | int]


@dataclass(frozen=True)
class Geometry:
    """The way back from processed pixels to the picture, as the steps of the processing add up.

    Coordinates are of edges, not of centres: a picture reaches from 0 to its width. Fractions keep
    them exact, so that no box gains a pixel by rounding.

    original, size -- width and height before the first step, and after the last
    across, down   -- (a, b, c) of the picture's x, and of its y: a·x + b·y + c of the pixels' x, y

    >>> Geometry.of((600, 50)).resized((384, 32)).to_original((0, 0, 8, 32))
    (0, 0, 13, 50)
    """

    original: Size
    size: Size
    across: Row = (1, 0, 0)
    down: Row = (0, 1, 0)

    @classmethod
    def of(cls, size: Size) -> Geometry:
        """A picture to which nothing has been done."""
        return cls(size, size)

    def resized(self, size: Size) -> Geometry:
        """With one more step: stretched or shrunk to a width and height."""
        scales = [Fraction(old, new) for old, new in zip(self.size, size, strict=True)]
        return self._after((scales[0], 0, 0), (0, scales[1], 0), size)

    def cropped(self, box: Box) -> Geometry:
        """With one more step: cut to a box; one that reaches out of the picture pads it."""
        left, top, right, bottom = box
        return self._after((1, 0, left), (0, 1, top), (right - left, bottom - top))

    def turned(self, quarters: int = 1) -> Geometry:
        """With one more step: turned counter-clockwise, as `numpy.rot90` turns."""
        geometry = self
        for _ in range(quarters % 4):
            width, height = geometry.size
            geometry = geometry._after((0, -1, width), (1, 0, 0), (height, width))
        return geometry

    def then(self, other: Geometry) -> Geometry:
        """With all steps of another one after these."""
        return self._after(other.across, other.down, other.size)

    def _after(self, across: Row, down: Row, size: Size) -> Geometry:
        """With one more step, given as the rows of the map that undoes it."""
        return replace(
            self,
            size=size,
            across=_chained(self.across, across, down),
            down=_chained(self.down, across, down),
        )

    def to_original(self, box: tuple[float, float, float, float]) -> Box:
        """The picture's pixels under a box of processed ones; the nearest for one in padding."""
        corners = box[:2], box[2:]
        width, height = self.original
        left, right = _inside([_at(self.across, *corner) for corner in corners], width)
        top, bottom = _inside([_at(self.down, *corner) for corner in corners], height)
        return left, top, right, bottom


def _chained(outer: Row, across: Row, down: Row) -> Row:
    """One row of the product of two maps."""
    a, b, c = (outer[0] * x + outer[1] * y for x, y in zip(across, down, strict=True))
    return a, b, c + outer[2]


def _at(row: Row, x: float, y: float) -> Fraction:
    return row[0] * Fraction(x) + row[1] * Fraction(y) + row[2]


def _inside(ends: list[Fraction], length: int) -> tuple[int, int]:
    """The first pixel between two ends and the end of the last, inside a length; at least one."""
    first = min(max(floor(min(ends)), 0), length - 1)
    return first, max(min(ceil(max(ends)), length), first + 1)
