"""Pages that a client sends back: as `/v1/read` told them, their texts corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..pages.layout import Alternative, Layout, Line, Points, Region, Word, box_around
from .refusals import Refusal, wrong

LINES, POINTS, CHARACTERS = 10_000, 5_000, 10_000  # of a page, of an outline, of a text
FARTHEST = 100_000  # pixels from the corner of a page
T = TypeVar("T")


@dataclass(frozen=True)
class SentLine(Line):
    """A line of a page that was sent: as it is now, and as it was read.

    read -- the texts of the pieces that it was read in. corrected -- whether a person changed it
    """

    read: tuple[str, ...] = ()
    corrected: bool = False


def layout_of(page: Any) -> Layout:
    """The layout that a client's JSON says, its lines `SentLine`s; `Refusal` where it is none."""
    values = _object(page, "page")
    size = tuple(_whole(values.get(name), f"page.{name}") for name in ("width", "height"))
    found = _list(values.get("regions"), "page.regions", LINES)
    regions = tuple(_region(one, f"page.regions[{i}]") for i, one in enumerate(found))
    if sum(len(region.lines) for region in regions) > LINES:
        raise Refusal(400, f"the page has over {LINES} lines; expected no more", param="page")
    return Layout(
        regions,
        size=(size[0], size[1]),
        image=_text(values.get("image", ""), "page.image"),
        model=_text(values.get("model") or "", "page.model"),
    )


def _region(value: Any, where: str) -> Region:
    values = _object(value, where)
    lines = _list(values.get("lines"), f"{where}.lines", LINES)
    return Region(
        lines=tuple(line_of(line, f"{where}.lines[{i}]") for i, line in enumerate(lines)),
        box=_box(values.get("box"), f"{where}.box"),
        polygon=_points(values.get("polygon") or [], f"{where}.polygon"),
        kind=_text(values.get("type") or "", f"{where}.type"),
    )


def line_of(value: Any, where: str) -> SentLine:
    """The line that a client's JSON says."""
    values = _object(value, where)
    read = _list(values.get("pieces") or [], f"{where}.pieces", LINES)
    words = _list(values.get("words") or [], f"{where}.words", LINES)
    others = _list(values.get("alternatives") or [], f"{where}.alternatives", LINES)
    corrected = values.get("corrected", False)
    if not isinstance(corrected, bool):
        raise wrong(f"{where}.corrected", corrected, "true or false")
    polygon = _points(values.get("polygon") or [], f"{where}.polygon")
    return SentLine(
        text=_text(values.get("text"), f"{where}.text"),
        box=_box(values.get("box"), f"{where}.box") if not polygon else box_around(polygon),
        polygon=polygon,
        baseline=_points(values.get("baseline") or [], f"{where}.baseline"),
        confidence=None if corrected else _confidence(values, where),
        words=tuple(_word(word, f"{where}.words[{i}]") for i, word in enumerate(words)),
        alternatives=tuple(
            Alternative(_text(_object(one, where).get("text"), where), _confidence(one, where))
            for one in others
        ),
        id=_text(values.get("id") or "", f"{where}.id"),
        read=tuple(_text(text, f"{where}.pieces") for text in read),
        corrected=corrected,
    )


def _word(value: Any, where: str) -> Word:
    values = _object(value, where)
    box = _box(values.get("box"), f"{where}.box")
    return Word(_text(values.get("text"), f"{where}.text"), box, _confidence(values, where))


def _confidence(values: Mapping[str, Any], where: str) -> float | None:
    found = values.get("confidence")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= 1:
        raise wrong(f"{where}.confidence", found, "a number from 0 to 1, or null")
    return float(found)


def _object(value: Any, where: str) -> dict[str, Any]:
    return _of(value, dict, where, "an object, as /v1/read answers")


def _list(value: Any, where: str, most: int) -> list[Any]:
    found = _of(value, list, where, "a list")
    if len(found) > most:
        raise Refusal(400, f"{where} has {len(found)} items; expected at most {most}", param=where)
    return found


def _text(value: Any, where: str) -> str:
    found = _of(value, str, where, "a text")
    if len(found) > CHARACTERS:
        raise Refusal(
            400, f"{where} has {len(found)} characters; expected at most {CHARACTERS}", param=where
        )
    return found


def _of(value: Any, kind: type[T], where: str, expected: str) -> T:
    if not isinstance(value, kind):
        raise wrong(where, value, expected)
    return value


def _whole(value: Any, where: str) -> int:
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not whole or not -FARTHEST <= value <= FARTHEST:
        raise wrong(where, value, "a number of pixels")
    return round(value)


def _points(value: Any, where: str) -> Points:
    pairs = [_list(pair, where, 2) for pair in _list(value, where, POINTS)]
    if any(len(pair) != 2 for pair in pairs):
        raise Refusal(400, f"{where} has points of one number; expected x and y each", param=where)
    return tuple((_whole(x, where), _whole(y, where)) for x, y in pairs)


def _box(value: Any, where: str) -> tuple[int, int, int, int]:
    numbers = [_whole(number, where) for number in _list(value, where, 4)]
    if len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise wrong(where, value, "left, top, right, bottom")
    return numbers[0], numbers[1], numbers[2], numbers[3]
