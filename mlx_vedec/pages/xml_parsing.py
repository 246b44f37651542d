"""Reading XML and HTML that come from strangers.

Nothing that a file names is opened. A file that declares entities, has a document type other than
plain HTML's, or includes other files is refused.
"""

from __future__ import annotations

from html.entities import html5
from html.parser import HTMLParser
from xml.parsers import expat

from ..errors import LayoutError
from .xml_tree import Document, Element, Verbatim

DEEPEST = 100  # elements inside each other; real layouts have about 12
INCLUDES = "http://www.w3.org/2001/XInclude"
UNCLOSED = 1000  # "<" before a ">": the parser's time grows with their square
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


def parse(data: bytes, name: str) -> Document:
    """The document in the bytes of an XML file; `LayoutError` for what is broken or unsafe."""
    builder = _Builder(name)
    parser = expat.ParserCreate()
    parser.buffer_text = parser.ordered_attributes = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.CommentHandler = lambda text: builder.aside(f"<!--{text}-->")
    parser.ProcessingInstructionHandler = lambda target, text: builder.aside(
        f"<?{target} {text}?>" if text else f"<?{target}?>"
    )
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.EntityDeclHandler = builder.entity
    parser.SkippedEntityHandler = lambda entity, parameter: builder.text(builder.known(entity))
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        raise LayoutError(
            f"{name} is no well-formed XML ({error}); expected PAGE, ALTO or hOCR; export it again"
        ) from error
    return builder.document()


def parse_html(data: bytes, name: str) -> Document:
    """The document in the bytes of an HTML file that need not be XML, as some hOCR is."""
    builder = _Builder(name)
    parser = _Html(builder)
    text = data.decode("utf-8-sig", "replace")
    if max(part.count("<") for part in text.split(">")) > UNCLOSED:
        raise LayoutError(f"{name} has over {UNCLOSED} tags that do not end; expected HTML")
    parser.feed(text)
    parser.close()
    while len(builder.open) > 1:
        builder.end(builder.open[-1].tag)
    return builder.document()


class _Builder:
    """Puts a tree together, and refuses what is not safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[Element] = [Element("")]
        self.scopes: list[dict[str, str]] = [{}]
        self.before: list[Verbatim] = []
        self.after: list[Verbatim] = []

    def document(self) -> Document:
        roots = self.open[0].elements or [
            node for node in self.open[0].children if isinstance(node, Element)
        ]
        if not roots:
            raise LayoutError(f"{self.name} is empty; expected PAGE, ALTO or hOCR; export it again")
        return Document(roots[0], self.before, self.after)

    def start(self, tag: str, attributes: list[str]) -> None:
        given = dict(zip(attributes[::2], attributes[1::2], strict=True))
        scope = self.scopes[-1]
        declared = {k[6:]: v for k, v in given.items() if k == "xmlns" or k.startswith("xmlns:")}
        if declared:
            scope = {**scope, **declared}
        element = Element(tag, given, namespace=scope.get(tag.rpartition(":")[0], ""))
        if element.namespace == INCLUDES:
            raise LayoutError(f"{self.name} includes other files; expected one that does not")
        if len(self.open) > DEEPEST:
            raise LayoutError(
                f"{self.name} has elements inside each other more than {DEEPEST} deep; expected "
                "a page's layout; check the file"
            )
        self.open[-1].children.append(element)
        self.open.append(element)
        self.scopes.append(scope)

    def end(self, _: str) -> None:
        self.open.pop()
        self.scopes.pop()

    def text(self, text: str) -> None:
        if len(self.open) > 1:
            self.open[-1].children.append(text)

    def aside(self, text: str) -> None:
        if len(self.open) > 1:
            self.open[-1].children.append(Verbatim(text))
        else:
            (self.after if self.open[0].children else self.before).append(Verbatim(text))

    def doctype(self, root: str, system: str | None, public: str | None, inner: bool) -> None:
        if inner or root.lower() != "html":
            raise LayoutError(
                f"{self.name} has a document type that may name entities or other files; expected "
                "none, or plain HTML's; take its <!DOCTYPE …> out"
            )
        kind = f' PUBLIC "{public}"' if public else " SYSTEM" if system else ""
        where = f' "{system}"' if system else ""
        self.before.append(Verbatim(f"<!DOCTYPE {root}{kind}{where}>"))

    def entity(self, *_: object) -> None:
        raise LayoutError(f"{self.name} declares entities; expected a file without them")

    def known(self, entity: str) -> str:
        text = html5.get(f"{entity};")
        if text is None:
            raise LayoutError(f"{self.name} has the unknown entity &{entity[:40]};; expected none")
        return text


class _Html(HTMLParser):
    """HTML's tags to a builder: void elements end at once, and an end tag ends what is in it."""

    def __init__(self, builder: _Builder) -> None:
        super().__init__(convert_charrefs=True)
        self.builder = builder

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.builder.start(tag, [part or "" for pair in attrs for part in pair])
        if tag in VOID:
            self.builder.end(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.builder.start(tag, [part or "" for pair in attrs for part in pair])
        self.builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and those that were left open inside it."""
        if tag in [element.tag for element in self.builder.open]:
            while self.builder.open[-1].tag != tag:
                self.builder.end("")
            self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        """Text."""
        self.builder.text(data)

    def handle_comment(self, data: str) -> None:
        """A comment."""
        self.builder.aside(f"<!--{data.replace('--', '- -')}-->")

    def handle_decl(self, decl: str) -> None:
        """The document type."""
        if "[" in decl:
            self.builder.entity()
        self.builder.before.append(Verbatim(f"<!{decl}>"))
