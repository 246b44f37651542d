"""Writing ALTO: texts into the file that a layout came from, or a new file of version 4.4."""

from __future__ import annotations

from ..images.boxes import Box
from ..version import __version__
from .alto import NAMESPACE, read_line
from .layout import Layout, Line, Points, Scale, Word
from .xml_tree import INSTANCE, Document, Element, Ids, indent, now

CURRENT = "http://www.loc.gov/standards/alto/ns-v4#"
SCHEMA = "http://www.loc.gov/standards/alto/v4/alto-4-4.xsd"
KEPT = ("ID", "STYLEREFS", "TAGREFS", "LANG")  # of a string that gets another text
PROCESSING_SINCE = 4  # the version in which `Processing` took the place of `OCRProcessing`


def write(layout: Layout) -> Document:
    """The document of a layout: its own, with new texts, where that is ALTO; else a new one."""
    new, source = layout.changed_lines("alto", read_line), layout.source
    if new is None or source is None:
        return _skeleton(layout)
    document, copies = source.document.copy()
    gone: dict[str, str] = {}
    for line in new:
        gone |= _put_line(copies[id(line.element)], line, source.scale)
    _mend(document, gone)
    if new and layout.model:
        _put_step(document, layout.model)
    return document


def _put_line(element: Element, line: Line, scale: Scale) -> dict[str, str]:
    """The words of a line as strings, or all of it as one where its words are not known.

    They keep the ids and styles of the strings they take the places of. Ids that are gone come
    back, each with the one that stands for it.
    """
    old = [dict(string.attributes) for string in element.all("String")]
    blanks = [element.remove(one) for one in element.all("String", "SP", "HYP")]
    blank = blanks[0] if blanks else None
    words = line.fitting_words or (Word(line.text, line.box, line.confidence),)
    strings = [_string(element, word, scale) for word in words]
    for string, attributes in zip(strings, old, strict=False):
        kept = {key: value for key, value in attributes.items() if key in KEPT}
        string.attributes = {**kept, **string.attributes}
    _put_alternatives(strings, line)
    for place, string in enumerate(strings):
        if place:
            element.insert(element.new("SP"), blank=blank)
        element.insert(string, blank=blank)
    last = next((i for s in reversed(strings) if (i := s.attributes.get("ID"))), "")
    return {name: last for one in old[len(strings) :] if (name := one.get("ID"))}


def _mend(document: Document, gone: dict[str, str]) -> None:
    """Let references to strings that are gone lead to those that stand for them."""
    for element in document.root.below() if gone else ():
        if refs := element.attributes.get("REF"):
            kept = (gone.get(name, name) for name in refs.split())
            element.attributes["REF"] = " ".join(dict.fromkeys(filter(None, kept)))


def _string(line: Element, word: Word, scale: Scale) -> Element:
    conf = {} if word.confidence is None else {"WC": f"{min(max(word.confidence, 0), 1):.4f}"}
    return line.new("String", {**_position(word.box, scale), "CONTENT": word.text, **conf})


def _put_alternatives(strings: list[Element], line: Line) -> None:
    """Of as many words, at those that differ; else of the whole line, at its first word."""
    texts = [string.attributes["CONTENT"] for string in strings]
    for other in line.alternatives:
        words = other.text.split() if len(texts) > 1 else [other.text]
        if len(words) != len(texts):
            strings[0].child("ALTERNATIVE", {"PURPOSE": "line"}, other.text)
            continue
        for string, old, word in zip(strings, texts, words, strict=True):
            if word != old and word not in [one.text for one in string.all("ALTERNATIVE")]:
                string.child("ALTERNATIVE", text=word)


def _position(box: Box, scale: Scale) -> dict[str, str]:
    left, top, right, bottom = box
    (x, y), (u, v) = scale.back([(left, top), (right, bottom)])
    names = ("HPOS", "VPOS", "WIDTH", "HEIGHT")
    return dict(zip(names, map(_number, (x, y, u - x, v - y)), strict=True))


def _number(value: float) -> str:
    return str(round(value)) if round(value, 2) == round(value) else f"{value:.2f}"


def _put_step(document: Document, model: str) -> None:
    """Say what the texts were read with."""
    root = document.root
    description = root.find("Description")
    if description is None:
        return
    version = NAMESPACE.match(root.namespace)
    current = version is not None and int(version[1]) >= PROCESSING_SINCE
    name = "Processing" if current else "OCRProcessing"
    made = description.new(name, {"ID": Ids(document).new("mlx_vedec")})
    step = made if current else made.child("ocrProcessingStep")
    if current:
        step.child("processingCategory", text="contentGeneration")
    step.child("processingDateTime", text=now())
    step.child("processingStepDescription", text="text recognition")
    step.child("processingStepSettings", text=f"model: {model}")
    software = step.child("processingSoftware")
    software.child("softwareName", text="mlx_vedec")
    software.child("softwareVersion", text=__version__)
    description.insert(made)


def _skeleton(layout: Layout) -> Document:
    """A new document of the current version."""
    given = {
        "xmlns": CURRENT,
        "xmlns:xsi": INSTANCE,
        "xsi:schemaLocation": f"{CURRENT} {SCHEMA}",
        "SCHEMAVERSION": "4.4",
    }
    document = Document(Element("alto", given, namespace=CURRENT))
    description = document.root.child("Description")
    description.child("MeasurementUnit", text="pixel")
    description.child("sourceImageInformation").child("fileName", text=layout.image)
    if layout.model:
        _put_step(document, layout.model)
    ids, (width, height) = Ids(document), layout.size
    conf = layout.confidence
    named = {"ID": ids.new("page"), "PHYSICAL_IMG_NR": 1, "WIDTH": width, "HEIGHT": height}
    named["PC"] = None if conf is None else f"{conf:.4f}"
    page = document.root.child("Layout").child("Page", named)
    space = page.child("PrintSpace", _position((0, 0, width, height), Scale()))
    for number, region in enumerate(layout.regions, 1):
        name = ids.new(region.id or f"r{number}")
        block = space.child("TextBlock", {"ID": name, **_position(region.box, Scale())})
        _put_shape(block, region.polygon)
        for place, line in enumerate(region.lines, 1):
            _put_new(block, line, ids.new(line.id or f"{name}_l{place}"))
    indent(document.root)
    return document


def _put_new(block: Element, line: Line, name: str) -> None:
    baseline = " ".join(f"{x},{y}" for x, y in line.baseline) or None
    position = _position(line.box, Scale())
    element = block.child("TextLine", {"ID": name, "BASELINE": baseline, **position})
    _put_shape(element, line.polygon)
    _put_line(element, line, Scale())


def _put_shape(element: Element, polygon: Points) -> None:
    if polygon:
        points = " ".join(f"{x},{y}" for x, y in polygon)
        element.child("Shape").child("Polygon", {"POINTS": points})
