"""Reading PAGE, the format of PRImA's tools, Transkribus, eScriptorium and OCR-D, 2010 to 2019."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import LayoutError
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
    numbers_in,
    scale_between,
)
from .xml_tree import Document, Element

NAMESPACE = re.compile(r"https?://schema\.primaresearch\.org/PAGE/gts/pagecontent/(\d{4})-")
ORDER_IN_CUSTOM = re.compile(r"readingOrder\s*\{[^}]*?index\s*:\s*(\d+)")
KIND_IN_CUSTOM = re.compile(r"structure\s*\{[^}]*?type\s*:\s*([\w-]+)")


def is_page(document: Document) -> bool:
    """Whether a document is PAGE."""
    return bool(NAMESPACE.match(document.root.namespace)) and document.root.name == "PcGts"


def read(
    document: Document, name: str, picture: Size | None = None, dpi: float | None = None
) -> list[Layout]:
    """The one page of a PAGE document; picture and dpi are its image's, where they are known."""
    page = document.root.find("Page")
    if page is None:
        raise LayoutError(f"{name} has no Page element; expected PAGE; export it again")
    size = _size(page, name)
    scale = scale_between(name, size, "pixel", picture, dpi)
    return [
        Layout(
            regions=tuple(_region(element, scale) for element in _in_order(page)),
            size=picture or (round(size[0]), round(size[1])),
            image=page.attributes.get("imageFilename", ""),
            source=Source("page", document, 0, scale, name),
        )
    ]


def _size(page: Element, name: str) -> tuple[float, float]:
    texts = page.attributes.get("imageWidth", ""), page.attributes.get("imageHeight", "")
    try:
        return float(texts[0] or 0), float(texts[1] or 0)
    except ValueError as error:
        raise LayoutError(
            f"{name} says that its image is {texts[0][:20]!r} by {texts[1][:20]!r}; "
            "expected numbers"
        ) from error


# Reading order


def _in_order(page: Element) -> list[Element]:
    """The text regions of a page in reading order; those it leaves out come last, as they stand."""
    regions = [element for element in page.below() if element.name == "TextRegion"]
    by_id = {element.attributes.get("id", ""): element for element in page.below()}
    order = page.find("ReadingOrder")
    named = list(_references(order)) if order is not None else []
    if not named:
        regions = _by_custom(regions)
    listed = [by_id[name] for name in dict.fromkeys(named) if name in by_id]
    own = {id(element) for element in listed}
    found: dict[int, Element] = {}
    for element in [*listed, *regions]:
        for inner in _until(element, own):  # a region brings along those inside it
            if inner.name == "TextRegion":
                found.setdefault(id(inner), inner)
    return list(found.values())


def _until(element: Element, own: set[int]) -> Iterator[Element]:
    """An element and what is inside it, but for what has a place of its own."""
    waiting = [element]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += reversed([child for child in one.elements if id(child) not in own])


def _references(group: Element) -> Iterator[str]:
    """The regions that a group names, inner groups in their places."""
    ordered = group.name.startswith("Ordered")
    children = sorted(group.elements, key=_index) if ordered else group.elements
    for child in children:
        if name := child.attributes.get("regionRef"):
            yield name
        yield from _references(child)


def _index(element: Element) -> float:
    numbers = numbers_in(element.attributes.get("index", ""))
    return numbers[0] if numbers else 0.0


def _by_custom(elements: Sequence[Element]) -> list[Element]:
    """By the order that Transkribus notes in each, where all have one; else as they stand."""
    found = [
        element.attributes.get("index")
        or ORDER_IN_CUSTOM.search(element.attributes.get("custom", ""))
        for element in elements
    ]
    if not all(found):
        return [*elements]
    keys = [float(f if isinstance(f, str) else f[1]) for f in found if f]
    return [element for _, element in sorted(zip(keys, elements, strict=True), key=lambda p: p[0])]


# From elements


def _region(element: Element, scale: Scale) -> Region:
    lines = tuple(read_line(one, scale) for one in _by_custom(element.all("TextLine")))
    polygon = _points(element, "Coords", scale)
    custom = KIND_IN_CUSTOM.search(element.attributes.get("custom", ""))
    return Region(
        lines=lines,
        box=box_of(polygon, lines),
        polygon=polygon,
        id=element.attributes.get("id", ""),
        kind=element.attributes.get("type") or (custom[1] if custom else ""),
        element=element,
    )


def _points(element: Element, name: str, scale: Scale) -> Points:
    """The points of `Coords` or `Baseline`, as an attribute or, before 2013, as elements."""
    found = element.find(name)
    if found is None:
        return ()
    text = found.attributes.get("points") or " ".join(
        f"{point.attributes.get('x', '')},{point.attributes.get('y', '')}"
        for point in found.all("Point")
    )
    return scale.points(numbers_in(text))


def read_line(element: Element, scale: Scale) -> Line:
    """The line of a `TextLine`."""
    polygon = _points(element, "Coords", scale)
    words = tuple(_word(word, scale) for word in element.all("Word"))
    texts = _texts(element)
    best = texts[0] if texts else Alternative(" ".join(word.text for word in words))
    baseline = _points(element, "Baseline", scale)
    return Line(
        text=best.text,
        box=box_around(polygon or baseline),
        polygon=polygon,
        baseline=baseline,
        confidence=best.confidence,
        alternatives=tuple(texts[1:]),
        words=words,
        id=element.attributes.get("id", ""),
        element=element,
    )


def _word(element: Element, scale: Scale) -> Word:
    texts = _texts(element) or [Alternative("".join(_glyphs(element)))]
    return Word(texts[0].text, box_around(_points(element, "Coords", scale)), texts[0].confidence)


def _glyphs(word: Element) -> Iterator[str]:
    return (texts[0].text for glyph in word.all("Glyph") if (texts := _texts(glyph)))


def _texts(element: Element) -> list[Alternative]:
    """The texts of an element, best first."""
    return [
        Alternative(text.text if (text := one.find("Unicode")) is not None else "", _conf(one))
        for one in sorted(element.all("TextEquiv"), key=_index)
    ]


def _conf(element: Element) -> float | None:
    numbers = numbers_in(element.attributes.get("conf", ""))
    return numbers[0] if numbers else None
