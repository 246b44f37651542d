"""Writing PAGE: texts into the file that a layout came from, or a new file of version 2019.

Older versions have points as elements, no `index` of texts and no steps of processing; what is put
into a file is in the words of that file's version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from ..version import __version__
from .layout import Alternative, Layout, Line, Point, Scale, corners
from .page_xml import NAMESPACE, read_line
from .xml_tree import Document, Element, Ids, indent

CURRENT = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
STEPS_SINCE = 2019  # year of the version that knows `MetadataItem`
INDEX_SINCE = 2017  # and of the one that knows several texts of a line
AFTER_TEXT = ("TextStyle", "UserDefined", "Labels")


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
        made = Element(
            element.prefix + "Word", {"id": ids.new(f"{line.id or 'l'}_w")}, [], element.namespace
        )
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
        holder = Element(element.tag, {}, [], element.namespace)
        made = _put_text(holder, text, index if several else None)
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
            note = Element(metadata.prefix + "Comments", {}, [], metadata.namespace)
            note.children.append(f"Texts read by mlx_vedec {__version__} with {model}")
            metadata.insert(note, "UserDefined")
        return
    item = Element(
        metadata.prefix + "MetadataItem",
        {"type": "processingStep", "name": "recognition", "value": f"mlx_vedec {__version__}"},
        [],
        metadata.namespace,
    )
    labels = item.child("Labels")
    labels.child("Label", {"type": "model", "value": model})
    labels.child("Label", {"type": "version", "value": __version__})
    metadata.insert(item)


def _skeleton(layout: Layout) -> Document:
    """A new document of the current version."""
    root = Element(
        "PcGts",
        {
            "xmlns": CURRENT,
            "xmlns:xsi": INSTANCE,
            "xsi:schemaLocation": f"{CURRENT} {CURRENT}/pagecontent.xsd",
        },
        namespace=CURRENT,
    )
    document = Document(root)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = root.child("Metadata")
    metadata.child("Creator", text=f"mlx_vedec {__version__}")
    metadata.child("Created", text=now)
    metadata.child("LastChange", text=now)
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
        element = page.child("TextRegion", {"id": name, "type": _kind(region.kind)})
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


KINDS = (
    *("paragraph", "heading", "caption", "header", "footer", "page-number", "drop-capital"),
    *("credit", "floating", "signature-mark", "catch-word", "marginalia", "footnote", "endnote"),
    *("footnote-continued", "TOC-entry", "list-label", "other"),
)


def _kind(kind: str) -> str | None:
    """A region's kind, where PAGE knows it."""
    return kind if kind in KINDS else None
