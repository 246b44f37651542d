"""XML as it was written: a tree that gives back what was read, prefixes and comments included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
NOT_OF_IDS = re.compile(r"[^A-Za-z0-9_.-]")


class Verbatim(str):
    """A comment, a processing instruction or a document type, with its brackets."""


@dataclass(eq=False)
class Element:
    """An element of a document.

    tag        -- as it is written, prefix included
    attributes -- by their names as written, those that declare namespaces among them
    children   -- elements, texts and comments in their order
    namespace  -- what the tag's prefix stands for
    """

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)
    namespace: str = ""

    @property
    def name(self) -> str:
        """The tag without its prefix."""
        return self.tag.rpartition(":")[2]

    @property
    def prefix(self) -> str:
        """The tag's prefix with its colon, or nothing."""
        head, colon, _ = self.tag.rpartition(":")
        return head + colon

    @property
    def elements(self) -> list[Element]:
        """The elements right inside, those of other namespaces left out."""
        return [
            child
            for child in self.children
            if isinstance(child, Element) and child.namespace == self.namespace
        ]

    def all(self, *names: str) -> list[Element]:
        """The elements right inside that have one of these names."""
        return [child for child in self.elements if child.name in names]

    def find(self, *path: str) -> Element | None:
        """The first element under a path of names, or None."""
        found: Element | None = self
        for name in path:
            found = next(iter(found.all(name)), None) if found is not None else None
        return found

    def below(self) -> Iterator[Element]:
        """This element and all inside it, in the order of the document."""
        waiting: list[Element] = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting += [c for c in reversed(element.children) if isinstance(c, Element)]

    @property
    def text(self) -> str:
        """All text inside."""
        parts: list[str] = []
        waiting: list[Element | str] = [self]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Element):
                waiting += reversed(node.children)
            elif not isinstance(node, Verbatim):
                parts.append(node)
        return "".join(parts)

    def new(
        self, name: str, attributes: Mapping[str, object] | None = None, text: str | None = None
    ) -> Element:
        """An element of the same namespace, not put in yet; no attributes that are None."""
        given = {key: str(v) for key, v in (attributes or {}).items() if v is not None}
        inner: list[Element | str] = [] if text is None else [text]
        return Element(self.prefix + name, given, inner, self.namespace)

    def child(
        self, name: str, attributes: Mapping[str, object] | None = None, text: str | None = None
    ) -> Element:
        """A new element at the end, as `new` makes it."""
        made = self.new(name, attributes, text)
        self.children.append(made)
        return made

    def remove(self, child: Element) -> str | None:
        """Take an element out with the white space before it, and return that."""
        place = next(i for i, node in enumerate(self.children) if node is child)
        blank = self._blank(place - 1)
        del self.children[place - (blank is not None) : place + 1]
        return blank

    def insert(self, made: Element, *before: str, blank: str | None = None) -> None:
        """Put an element before the first that has one of those names, or last.

        blank -- the white space before it; by default that of the first element here
        """
        places = [i for i, node in enumerate(self.children) if isinstance(node, Element)]
        following = [i for i in places if self.children[i].name in before]  # pyright: ignore
        blank = blank if blank is not None or not places else self._blank(places[0] - 1)
        if following:  # the white space before what follows stays with it
            place = following[0] - (self._blank(following[0] - 1) is not None)
        elif places:
            place = places[-1] + 1
        else:
            place = len(self.children) - (self._blank(len(self.children) - 1) is not None)
        if blank is not None:
            indent(made, blank)
        self.children[place:place] = [made] if blank is None else [blank, made]

    def _blank(self, place: int) -> str | None:
        """The white space at a place, or None."""
        node = self.children[place] if 0 <= place < len(self.children) else None
        blank = isinstance(node, str) and not isinstance(node, Verbatim) and not node.strip()
        return str(node) if blank else None


def indent(element: Element, start: str = "\n", step: str = "  ") -> None:
    """Put a new element's children on lines of their own; texts stay as they are."""
    if not element.children or any(isinstance(child, str) for child in element.children):
        return
    inner = start + step
    spaced: list[Element | str] = []
    for child in element.children:
        assert isinstance(child, Element)
        indent(child, inner, step)
        spaced += [inner, child]
    element.children[:] = [*spaced, start]


@dataclass(eq=False)
class Document:
    """A document: its root, and the comments and the document type around that."""

    root: Element
    before: list[Verbatim] = field(default_factory=list)
    after: list[Verbatim] = field(default_factory=list)

    def copy(self) -> tuple[Document, dict[int, Element]]:
        """The same again, and the new elements by the `id` of those they are copies of."""
        copies: dict[int, Element] = {}
        for old in self.root.below():
            copies[id(old)] = Element(old.tag, dict(old.attributes), [], old.namespace)
        for old in self.root.below():
            copies[id(old)].children = [
                copies[id(node)] if isinstance(node, Element) else node for node in old.children
            ]
        return Document(copies[id(self.root)], list(self.before), list(self.after)), copies

    def to_bytes(self) -> bytes:
        """As UTF-8."""
        parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
        parts += [f"{node}\n" for node in self.before]
        waiting: list[Element | str] = [self.root]
        while waiting:
            node = waiting.pop()
            if not isinstance(node, Element):
                parts.append(node if isinstance(node, Verbatim) else _escaped(node))
                continue
            said = "".join(f' {key}="{_quoted(v)}"' for key, v in node.attributes.items())
            parts.append(f"<{node.tag}{said}{'' if node.children else '/'}>")
            if node.children:
                waiting.append(Verbatim(f"</{node.tag}>"))
                waiting += reversed(node.children)
        parts += [f"\n{node}" for node in self.after]
        return "".join([*parts, "\n"]).encode("utf-8")


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return UNSAYABLE.sub("\ufffd", text).replace("\r", "&#13;")


def _quoted(text: str) -> str:
    text = _escaped(text).replace('"', "&quot;")
    return text.replace("\t", "&#9;").replace("\n", "&#10;")


def now() -> str:
    """The time as XML has it, in UTC, without parts of a second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Ids:
    """The ids of a document, for new elements that need ids of their own."""

    def __init__(self, document: Document) -> None:
        attributes = (element.attributes for element in document.root.below())
        self.last: dict[str, int] = {}
        self.taken = {v for a in attributes for k in ("id", "ID", "xml:id") if (v := a.get(k))}

    def new(self, wanted: str) -> str:
        """The wanted id, made into what XML allows, with a number behind it where it is taken."""
        wanted = NOT_OF_IDS.sub("_", wanted)
        wanted = wanted if wanted[:1].isalpha() or wanted[:1] == "_" else f"_{wanted}"
        found = wanted
        while found in self.taken:
            self.last[wanted] = self.last.get(wanted, 1) + 1
            found = f"{wanted}_{self.last[wanted]}"
        self.taken.add(found)
        return found
