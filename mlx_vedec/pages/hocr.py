"""hOCR, what Tesseract and its kin write: HTML with boxes in the titles of its elements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import LayoutError
from ..images.boxes import Box
from ..version import __version__
from .layout import (
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
from .xml_tree import Document, Element, Verbatim, indent

LINES = {"ocr_line", "ocrx_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat"}
REGIONS = ("ocr_par", "ocr_carea", "ocr_page")  # the smallest that a line is in is its region
WORD = "ocrx_word"
PROPERTY = re.compile(r'(?:"[^"]*"|[^;"]|")+')  # each way of matching is the only one: no hang
NAME = re.compile(r"\s*(\w+)")
XHTML = "http://www.w3.org/1999/xhtml"
DOCTYPE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
)
CAPABILITIES = "ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_poly ocrp_wconf"


def is_hocr(document: Document) -> bool:
    """Whether a document is HTML that says where its pages are."""
    return document.root.name.lower() == "html" and bool(_pages(document))


def _pages(document: Document) -> list[Element]:
    return [element for element in document.root.below() if "ocr_page" in _classes(element)]


def _classes(element: Element) -> list[str]:
    return element.attributes.get("class", "").split()


def read(
    document: Document, name: str, picture: Size | None = None, dpi: float | None = None
) -> list[Layout]:
    """The pages of an hOCR document; picture and dpi are the image's, where they are known."""
    found = []
    for number, page in enumerate(_pages(document)):
        said = properties(page)
        box = numbers_in(said.get("bbox", ""))
        if box and len(box) != 4:
            raise LayoutError(f"{name} has a page whose bbox is {said['bbox'][:40]!r}; expected 4")
        size = (box[2], box[3]) if box else None
        scale = scale_between(name, size, "pixel", picture, dpi)
        found.append(
            Layout(
                regions=tuple(_regions(page, scale)),
                size=picture or (scale.points(size)[0] if size else (0, 0)),
                image=said.get("image", "").strip().strip("\"'"),
                source=Source("hocr", document, number, scale, name),
            )
        )
    return found


def properties(element: Element) -> dict[str, str]:
    """What an element's title says: `bbox 0 0 9 9; image "a;b.png"`."""
    title = element.attributes.get("title", "")
    parts = [(NAME.match(part), part) for part in PROPERTY.findall(title)]
    return {found[1]: part[found.end() :].strip() for found, part in parts if found}


def _regions(page: Element, scale: Scale) -> Iterator[Region]:
    """The smallest regions that have lines right inside, in the order of the document."""
    waiting: list[tuple[Element, Element]] = [(page, page)]
    groups: dict[int, tuple[Element, list[Element]]] = {}
    while waiting:
        element, home = waiting.pop()
        if LINES & {*_classes(element)}:
            groups.setdefault(id(home), (home, []))[1].append(element)
            continue
        home = element if any(kind in REGIONS for kind in _classes(element)) else home
        inner = [child for child in element.children if isinstance(child, Element)]
        waiting += reversed([(child, home) for child in inner])
    for home, lines in groups.values():
        own = tuple(read_line(line, scale) for line in lines)
        polygon, box = _outline(home, scale)
        yield Region(
            own, box or box_of((), own), polygon, id=home.attributes.get("id", ""), element=home
        )


def _outline(element: Element, scale: Scale) -> tuple[Points, Box | None]:
    said = properties(element)
    polygon = scale.points(numbers_in(said.get("poly", "")))
    box = numbers_in(said.get("bbox", ""))
    return polygon, scale.box(*box) if len(box) == 4 else box_around(polygon) if polygon else None


def read_line(element: Element, scale: Scale) -> Line:
    """The line of an element."""
    polygon, box = _outline(element, scale)
    words = tuple(_word(inner, scale) for inner in element.below() if WORD in _classes(inner))
    text = " ".join(word.text for word in words) if words else " ".join(element.text.split())
    return Line(
        text=text,
        box=box or (0, 0, 0, 0),
        polygon=polygon,
        baseline=_baseline(properties(element).get("baseline", ""), box),
        confidence=mean_confidence(words),
        words=words,
        id=element.attributes.get("id", ""),
        element=element,
    )


def _baseline(text: str, box: Box | None) -> Points:
    """Of a slope and the distance to the lower left corner, both ends."""
    numbers = numbers_in(text)
    if len(numbers) != 2 or box is None:
        return ()
    left, _, right, bottom = box
    start = bottom + numbers[1]
    return (left, round(start)), (right, round(start + numbers[0] * (right - left)))


def _word(element: Element, scale: Scale) -> Word:
    _, box = _outline(element, scale)
    conf = numbers_in(properties(element).get("x_wconf", ""))
    text = " ".join(element.text.split())
    return Word(text, box or (0, 0, 0, 0), conf[0] / 100 if conf else None)


# To elements


def write(layout: Layout, number: int = 0) -> Document:
    """The document of a layout: its own, with new texts, where that is hOCR; else a new one."""
    changed, source = layout.changed_lines("hocr", read_line), layout.source
    if changed is None or source is None:
        return _skeleton(layout, number)
    document, copies = source.document.copy()
    for line in changed:
        _put_words(copies[id(line.element)], line, source.scale)
    return document


def _put_words(element: Element, line: Line, scale: Scale) -> None:
    element.children = []
    words: Sequence[Word] = line.fitting_words or (Word(line.text, line.box, line.confidence),)
    for place, word in enumerate(words):
        if place:
            element.children.append(" ")
        conf = "" if word.confidence is None else f"; x_wconf {round(100 * word.confidence)}"
        given = {"class": WORD, "title": _bbox(word.box, scale) + conf}
        element.child("span", given, word.text)


def _bbox(box: Box, scale: Scale) -> str:
    (left, top), (right, bottom) = scale.back([(box[0], box[1]), (box[2], box[3])])
    return f"bbox {round(left)} {round(top)} {round(right)} {round(bottom)}"


def _skeleton(layout: Layout, number: int) -> Document:
    """A new document."""
    root = Element("html", {"xmlns": XHTML}, namespace=XHTML)
    head = root.child("head")
    head.child("title", text=layout.image)
    system = f"mlx_vedec {__version__}" + (f" ({layout.model})" if layout.model else "")
    about = {"ocr-system": system, "ocr-number-of-pages": "1", "ocr-capabilities": CAPABILITIES}
    head.child("meta", {"http-equiv": "Content-Type", "content": "text/html; charset=utf-8"})
    for name, content in about.items():
        head.child("meta", {"name": name, "content": content})
    image = layout.image.replace('"', "%22")
    title = f'image "{image}"; {_bbox((0, 0, *layout.size), Scale())}; ppageno {number}'
    given = {"class": "ocr_page", "id": f"page_{number + 1}", "title": title}
    page = root.child("body").child("div", given)
    for place, region in enumerate(layout.regions, 1):
        box = {"title": _bbox(region.box, Scale())}
        area = page.child("div", {"class": "ocr_carea", "id": f"block_{place}", **box})
        paragraph = area.child("p", {"class": "ocr_par", "id": f"par_{place}", **box})
        for index, line in enumerate(region.lines, 1):
            given = {"class": "ocr_line", "id": f"line_{place}_{index}", "title": _title(line)}
            _put_words(paragraph.child("span", given), line, Scale())
    indent(root)
    return Document(root, [Verbatim(DOCTYPE)])


def _title(line: Line) -> str:
    parts = [_bbox(line.box, Scale())]
    if line.polygon:
        parts.append("poly " + " ".join(f"{x} {y}" for x, y in line.polygon))
    if len(line.baseline) > 1 and line.baseline[0][0] < line.baseline[-1][0]:
        (x, y), (u, v) = line.baseline[0], line.baseline[-1]
        slope = (v - y) / (u - x)
        start = y + slope * (line.box[0] - x)
        parts.append(f"baseline {slope:.4f} {round(start - line.box[3])}")
    return "; ".join(parts)
