"""The sizes of image processors: the dialects they are written in, and what they make of a picture.

Pictures are (width, height), as in Pillow; lists in JSON files are [height, width], but Donut's
[width, height]. Rounding is always down, as in transformers; only `_between` rounds to the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .boxes import Size
from .settings import briefly

Sides = Mapping[str, int]
HEIGHT_AND_WIDTH = ({"height", "width"},)
ANY_SIZE = (
    *HEIGHT_AND_WIDTH,
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"max_height", "max_width"},
)


def read_size(
    name: str,
    value: Any,
    allowed: Sequence[set[str]] = ANY_SIZE,
    *,
    square: bool = True,
    width_first: bool = False,
) -> dict[str, int]:
    """A size in any dialect as a dict.

    square      -- whether one number is both sides; else it is the shortest edge
    width_first -- whether a list is [width, height]
    """
    sides = value
    if isinstance(value, int):
        sides = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, (list, tuple)) and len(value) == 2:
        height, width = reversed(value) if width_first else value
        sides = {"height": height, "width": width}
    if isinstance(sides, Mapping):
        sides = {key: length for key, length in sides.items() if length is not None}
        if set(sides) in allowed and all(type(n) is int and n > 0 for n in sides.values()):
            return sides
    keys = ", or ".join(" and ".join(sorted(names)) for names in allowed)
    order = "[width, height]" if width_first else "[height, width]"
    raise ConfigError(
        f"image processor: {name} is {briefly(value)}; expected pixels, above 0: one number, "
        f"{order}, or an object with {keys}"
    )


def resized(size: Size, sides: Sides) -> Size:
    """The size that a picture of some size is resized to."""
    width, height = size
    if "height" in sides:
        return sides["width"], sides["height"]
    if "max_height" in sides:
        scale = min(sides["max_height"] / height, sides["max_width"] / width)
        return int(width * scale), int(height * scale)
    if "longest_edge" in sides:
        return _between(size, sides["shortest_edge"], sides["longest_edge"])
    return with_shortest_edge(size, sides["shortest_edge"])


def with_shortest_edge(size: Size, edge: float) -> Size:
    """The size of the same aspect whose shorter side is given."""
    width, height = size
    if width <= height:
        return round(edge), int(edge * height / width)
    return int(edge * width / height), round(edge)


def _between(size: Size, shortest: int, longest: int) -> Size:
    """As `with_shortest_edge`, but smaller where the longer side would be longer than allowed."""
    short, long = sorted(size)
    too_long = long / short * shortest > longest
    edge = longest * short / long if too_long else shortest
    return size if round(edge) == short else with_shortest_edge(size, edge)


def as_thumbnail(size: Size, page: Size) -> Size:
    """The size at which a picture fits into a page; it never grows.

    It is made to fit along its longer side: across a page of quite another aspect it may still
    reach out.
    """
    (width, height), (page_width, page_height) = size, page
    if width <= page_width and height <= page_height:
        return size
    if height > width:
        return int(width * min(height, page_height) / height), min(height, page_height)
    if width > height:
        return min(width, page_width), int(height * min(width, page_width) / width)
    return min(width, page_width), min(height, page_height)
