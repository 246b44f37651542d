"""PAGE, the format of PRImA's tools, Transkribus, eScriptorium and OCR-D, versions 2010 to 2019.

Older versions have points as elements, no `index` of texts and no steps of processing; what is put
into a file is in the words of that file's version, and a new file is of version 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..errors import LayoutError
from ..version import __version__
from .layout import (
    FARTHEST,
    Alternative,
    Layout,
    Line,
    Point,
    Points,
    Region,
    Scale,
    Size,
    Source,
    Word,
    box_around,
    box_of,
    corners,
    numbers_in,
    scale_between,
)
from .xml_tree import INSTANCE, Document, Element, Ids, indent, now

NAMESPACE = re.compile(r"https?://schema\.primaresearch\.org/PAGE/gts/pagecontent/(\d{4})-")
CURRENT = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
STEPS_SINCE = 2019  # year of the version that knows `MetadataItem`
INDEX_SINCE = 2017  # and of the one that knows several texts of a line
AFTER_TEXT = ("TextStyle", "UserDefined", "Labels")
KINDS = (
    *("paragraph", "heading", "caption", "header", "footer", "page-number", "drop-capital"),
    *("credit", "floating", "signature-mark", "catch-word", "marginalia", "footnote", "endnote"),
    *("footnote-continued", "TOC-entry", "list-label", "other"),
)
ORDER_IN_CUSTOM = re.compile(r"readingOrder\s*\{[^{}]*?index\s*:\s*(\d+)")
KIND_IN_CUSTOM = re.compile(r"structure\s*\{[^{}]*?type\s*:\s*([\w-]+)")


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
        width, height = (float(text or 0) for text in texts)
        if not all(0 <= side <= FARTHEST for side in (width, height)):
            raise ValueError
    except ValueError as error:
        raise LayoutError(
            f"{name} says that its image is {texts[0][:20]!r} by {texts[1][:20]!r}; "
            "expected numbers of pixels"
        ) from error
    return width, height


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
    return _float(element, "index") or 0.0


def _float(element: Element, name: str) -> float | None:
    numbers = numbers_in(element.attributes.get(name, ""))
    return numbers[0] if numbers else None


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
    glyphs = [texts[0].text for glyph in element.all("Glyph") if (texts := _texts(glyph))]
    texts = _texts(element) or [Alternative("".join(glyphs))]
    return Word(texts[0].text, box_around(_points(element, "Coords", scale)), texts[0].confidence)


def _texts(element: Element) -> list[Alternative]:
    """The texts of an element, best first."""
    return [
        Alternative(
            text.text if (text := one.find("Unicode")) is not None else "", _float(one, "conf")
        )
        for one in sorted(element.all("TextEquiv"), key=_index)
    ]


# To elements


def write(layout: Layout) -> Document:
    """The document of a layout: its own, with new texts, where that is PAGE; else a new one."""
    new, source = layout.changed_lines("page", read_line), layout.source
    if new is None or source is None:
        document, changed = _skeleton(layout), True
    else:
        document, copies = source.document.copy()
        ids, changed, own = Ids(document), bool(new), {id(line) for line in new}
        for region in layout.regions:
            lines = [line for line in region.lines if id(line) in own]
            for line in lines:
                _put_line(copies[id(line.element)], line, source.scale, ids)
            if lines and region.element is not None:
                _put_texts(copies[id(region.element)], [Alternative(region.text)])
    if changed and layout.model:
        _put_step(document, layout.model)
    return document


def _put_line(element: Element, line: Line, scale: Scale, ids: Ids) -> None:
    for old in element.all("Word"):
        element.remove(old)
    points = element.find("Coords", "Point") is not None
    for word in line.fitting_words:
        made = element.new("Word", {"id": ids.new(f"{line.id or 'l'}_w")})
        _put_points(made, "Coords", corners(word.box), scale, as_elements=points)
        _put_text(made, Alternative(word.text, word.confidence))
        element.insert(made, "TextEquiv", *AFTER_TEXT)
    best = Alternative(line.text, line.confidence)
    _put_texts(element, [best, *line.alternatives])


def _year(element: Element) -> int:
    version = NAMESPACE.match(element.namespace)
    return int(version[1]) if version else 0


def _put_texts(element: Element, texts: Sequence[Alternative]) -> None:
    """In place of the texts that are there; versions that know but one get the best."""
    for old in element.all("TextEquiv"):
        element.remove(old)
    several = len(texts) > 1 and _year(element) >= INDEX_SINCE
    for index, text in enumerate(texts if several else texts[:1]):
        made = _put_text(element.new(element.name), text, index if several else None)
        element.insert(made, *AFTER_TEXT)


def _put_text(element: Element, text: Alternative, index: int | None = None) -> Element:
    conf = None if text.confidence is None else f"{min(max(text.confidence, 0), 1):.4f}"
    made = element.child("TextEquiv", {"index": index, "conf": conf})
    made.child("Unicode", text=text.text)
    return made


def _put_points(
    element: Element, name: str, points: Iterable[Point], scale: Scale, *, as_elements: bool = False
) -> None:
    whole = [(max(round(x), 0), max(round(y), 0)) for x, y in scale.back(points)]
    if as_elements:
        coords = element.child(name)
        for x, y in whole:
            coords.child("Point", {"x": x, "y": y})
    else:
        element.child(name, {"points": " ".join(f"{x},{y}" for x, y in whole)})


def _put_step(document: Document, model: str) -> None:
    """Say what the texts were read with."""
    metadata = document.root.find("Metadata")
    if metadata is None:
        return
    if _year(metadata) < STEPS_SINCE:
        if metadata.find("Comments") is None:
            note = f"Texts read by mlx_vedec {__version__} with {model}"
            metadata.insert(metadata.new("Comments", text=note), "UserDefined")
        return
    named = {"type": "processingStep", "name": "recognition", "value": f"mlx_vedec {__version__}"}
    item = metadata.new("MetadataItem", named)
    labels = item.child("Labels")
    labels.child("Label", {"type": "model", "value": model})
    labels.child("Label", {"type": "version", "value": __version__})
    metadata.insert(item)


def _skeleton(layout: Layout) -> Document:
    """A new document of the current version."""
    where = {"xmlns:xsi": INSTANCE, "xsi:schemaLocation": f"{CURRENT} {CURRENT}/pagecontent.xsd"}
    root = Element("PcGts", {"xmlns": CURRENT, **where}, namespace=CURRENT)
    document = Document(root)
    metadata = root.child("Metadata")
    metadata.child("Creator", text=f"mlx_vedec {__version__}")
    for name in ("Created", "LastChange"):
        metadata.child(name, text=now())
    width, height = layout.size
    named = {"imageFilename": layout.image, "imageWidth": width, "imageHeight": height}
    page = root.child("Page", named)
    ids = Ids(document)
    names = [ids.new(r.id or f"r{number}") for number, r in enumerate(layout.regions, 1)]
    if names:
        group = page.child("ReadingOrder").child("OrderedGroup", {"id": ids.new("order")})
        for index, name in enumerate(names):
            group.child("RegionRefIndexed", {"index": index, "regionRef": name})
    for name, region in zip(names, layout.regions, strict=True):
        kind = region.kind if region.kind in KINDS else None
        element = page.child("TextRegion", {"id": name, "type": kind})
        _put_points(element, "Coords", region.outline, Scale())
        for number, line in enumerate(region.lines, 1):
            own = ids.new(line.id or f"{name}_l{number}")
            made = element.child("TextLine", {"id": own})
            _put_points(made, "Coords", line.outline, Scale())
            if len(line.baseline) > 1:
                _put_points(made, "Baseline", line.baseline, Scale())
            _put_line(made, replace(line, id=own), Scale(), ids)
        _put_texts(element, [Alternative(region.text)])
    indent(root)
    return document
