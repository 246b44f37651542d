"""Reading ALTO, the format of libraries, versions 2 to 4, in each of its units.

A line whose file has no signs for spaces has one between its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ..errors import LayoutError
from ..images.boxes import Box
from .layout import (
    Alternative,
    Layout,
    Line,
    Points,
    Region,
    Scale,
    Size,
    Source,
    Word,
    box_around,
    box_of,
    mean_confidence,
    numbers_in,
    scale_between,
)
from .xml_tree import Document, Element

NAMESPACE = re.compile(r"https?://www\.loc\.gov/standards/alto/ns-v(\d)#")
CCS = "http://schema.ccs-gmbh.com/ALTO"  # of version 1


def is_alto(document: Document) -> bool:
    """Whether a document is ALTO."""
    space = document.root.namespace
    return document.root.name == "alto" and bool(NAMESPACE.match(space) or space in ("", CCS))


def read(
    document: Document, name: str, picture: Size | None = None, dpi: float | None = None
) -> list[Layout]:
    """The pages of an ALTO document; picture and dpi are the image's, where they are known."""
    pages = layout.all("Page") if (layout := document.root.find("Layout")) is not None else []
    if not pages:
        raise LayoutError(f"{name} has no Page element; expected ALTO; export it again")
    unit = document.root.find("Description", "MeasurementUnit")
    image = document.root.find("Description", "sourceImageInformation", "fileName")
    found = []
    for number, page in enumerate(pages):
        size = _numbers(page, "WIDTH", "HEIGHT")
        scale = scale_between(name, (size[0], size[1]) if size else None, _unit(unit), picture, dpi)
        regions = tuple(_regions(document.root, page, scale))
        width, height = picture or (scale.points(size)[0] if size else (0, 0))
        found.append(
            Layout(
                regions=regions,
                size=(width, height),
                image=image.text.strip() if image is not None else "",
                source=Source("alto", document, number, scale, name),
            )
        )
    return found


def _unit(element: Element | None) -> str:
    return (element.text.strip() if element is not None else "") or "pixel"


def _numbers(element: Element, *names: str) -> list[float] | None:
    """The values of attributes, None where one is missing."""
    found = [numbers_in(element.attributes.get(name, "")) for name in names]
    return [values[0] for values in found] if all(found) else None


# Reading order


def _regions(root: Element, page: Element, scale: Scale) -> Iterator[Region]:
    """Text blocks in reading order; one that others interrupt comes in parts."""
    home: dict[int, Element] = {}
    for block in page.below():
        if block.name == "TextBlock":
            home |= {id(line): block for line in block.all("TextLine")}
    labels = {tag.attributes.get("ID", ""): tag for tag in _tags(root)}
    lines = _lines_in_order(root, page)
    for _, run in groupby(lines, key=lambda line: id(home[id(line)])):
        own = [*run]
        yield _region(home[id(own[0])], own, labels, scale)


def _tags(root: Element) -> list[Element]:
    tags = root.find("Tags")
    return tags.elements if tags is not None else []


def _lines_in_order(root: Element, page: Element) -> list[Element]:
    """All lines: first those that the reading order names, then the rest by blocks."""
    by_id: dict[str, list[Element]] = {}
    for element in page.below():
        if element.name == "TextLine":
            inner = [element, *(i for i in element.below() if i.name in ("String", "Glyph"))]
            by_id |= {i.attributes["ID"]: [element] for i in inner if "ID" in i.attributes}
        elif "ID" in element.attributes and element.name not in ("String", "Glyph"):
            by_id[element.attributes["ID"]] = _lines_of(_by_idnext(element))
    order = root.find("ReadingOrder")
    groups = order.elements[:1] if order is not None else []  # more are other ways to read
    named = [name for group in groups for name in _references(group)]
    single = {id(by_id[name][0]) for name in named if len(by_id.get(name, ())) == 1}
    found: dict[int, Element] = {}
    for name in named:
        lines = by_id.get(name, [])
        for line in lines:
            if len(lines) == 1 or id(line) not in single:  # with a place of its own
                found.setdefault(id(line), line)
    for line in _lines_of(_by_idnext(page)):
        found.setdefault(id(line), line)
    return list(found.values())


def _references(group: Element) -> Iterator[str]:
    yield from group.attributes.get("REF", "").split()
    for child in group.elements:
        yield from _references(child)


def _by_idnext(outer: Element) -> list[Element]:
    """The text blocks of an element, each followed by the one that it names as its next."""
    blocks = [block for block in outer.below() if block.name == "TextBlock"]
    by_id = {block.attributes.get("ID", ""): block for block in blocks}
    following = {block.attributes.get("IDNEXT") for block in blocks}
    heads = [block for block in blocks if block.attributes.get("ID") not in following]
    found: dict[int, Element] = {}
    for head in [*heads, *blocks]:
        block: Element | None = head
        while block is not None and id(block) not in found:
            found[id(block)] = block
            block = by_id.get(block.attributes.get("IDNEXT", ""))
    return list(found.values())


def _lines_of(blocks: Iterable[Element]) -> list[Element]:
    return [line for block in blocks for line in block.all("TextLine")]


# From elements


def _region(
    block: Element, lines: Sequence[Element], labels: dict[str, Element], scale: Scale
) -> Region:
    own = tuple(read_line(line, scale) for line in lines)
    polygon, box = _polygon(block, scale), _box(block, scale)
    kinds = [
        labels[name].attributes.get("LABEL", "")
        for name in block.attributes.get("TAGREFS", "").split()
        if name in labels and labels[name].attributes.get("TYPE") != "language"
    ]
    return Region(
        lines=own,
        box=box or box_of(polygon, own),
        polygon=polygon,
        id=block.attributes.get("ID", ""),
        kind=kinds[0] if kinds else "",
        element=block,
    )


def _polygon(element: Element, scale: Scale) -> Points:
    polygon = element.find("Shape", "Polygon")
    return scale.points(numbers_in(polygon.attributes.get("POINTS", ""))) if polygon else ()


def _box(element: Element, scale: Scale) -> Box | None:
    found = _numbers(element, "HPOS", "VPOS", "WIDTH", "HEIGHT")
    if found is None:
        return None
    left, top, width, height = found
    return scale.box(left, top, left + width, top + height)


def read_line(element: Element, scale: Scale) -> Line:
    """The line of a `TextLine`."""
    polygon, box = _polygon(element, scale), _box(element, scale)
    strings = element.all("String")
    words = tuple(_word(string, scale) for string in strings)
    text = _text(element)
    whole = len(words) == 1 and " " in words[0].text.strip()  # a line as one string
    return Line(
        text=text,
        box=box or box_around(polygon),
        polygon=polygon,
        baseline=_baseline(element, box or box_around(polygon), scale),
        confidence=mean_confidence(words),
        alternatives=tuple(_alternatives(strings)),
        words=() if whole else words,
        id=element.attributes.get("ID", ""),
        element=element,
    )


def _baseline(element: Element, box: Box, scale: Scale) -> Points:
    """Points, or the one height that versions before 4.2 have."""
    numbers = numbers_in(element.attributes.get("BASELINE", ""))
    if len(numbers) == 1:
        height = round(numbers[0] * scale.y)
        return (box[0], height), (box[2], height)
    return scale.points(numbers)


def _word(string: Element, scale: Scale) -> Word:
    conf = _numbers(string, "WC")
    box = _box(string, scale) or box_around(_polygon(string, scale))
    return Word(string.attributes.get("CONTENT", ""), box, conf[0] if conf else None)


def _text(element: Element) -> str:
    parts = [child for child in element.elements if child.name in ("String", "SP", "HYP")]
    words = [_piece(part) for part in parts]
    if any(part.name == "SP" for part in parts):
        return "".join(words).strip()
    hyphen = [words.pop()] if parts and parts[-1].name == "HYP" else []
    return " ".join(word for word in words if word) + "".join(hyphen)


def _piece(part: Element) -> str:
    if part.name == "SP":
        return " "
    return part.attributes.get("CONTENT", "-" if part.name == "HYP" else "")


def _alternatives(strings: Sequence[Element]) -> Iterator[Alternative]:
    """The line with one of its words another way; an alternative to the whole line as it is."""
    texts = [string.attributes.get("CONTENT", "") for string in strings]
    for place, string in enumerate(strings):
        for other in string.all("ALTERNATIVE"):
            if other.attributes.get("PURPOSE") == "line":
                yield Alternative(other.text)
            else:
                yield Alternative(" ".join([*texts[:place], other.text, *texts[place + 1 :]]))
