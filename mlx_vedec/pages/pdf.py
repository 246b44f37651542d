"""PDFs: their pages as images, and pages with their text beneath the image, for searching.

Needs the extra `pdf`: pypdfium2 reads and renders, pikepdf writes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ImageError, OptionError
from ..images.loading import as_file, load_image
from .layout import Layout

DPI = 300  # of what is rendered, and of images that do not say
POINTS = 72  # to an inch
LOWEST_DPI = 50  # what says less does not know
CODES = 255  # characters that one font has room for
INSTALL = "pip install 'mlx-vedec[pdf]'"
LARGEST_SIDE = 12_000  # pixels of a page that is rendered
WIDTH = 500  # thousandths of a font's size that each of its empty letters is wide


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise OptionError(f"reading PDFs needs pypdfium2, not installed; {INSTALL}") from error
    return pypdfium2


def _pikepdf() -> Any:
    try:
        import pikepdf
    except ImportError as error:
        raise OptionError(f"writing PDFs needs pikepdf, not installed; {INSTALL}") from error
    return pikepdf


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pdfium = _pdfium()
    if not path.is_file():
        raise ImageError(f"{path} does not exist; expected a PDF; check the path")
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower()
        what = "needs a password" if locked else f"cannot be read ({error})"
        todo = "save it without its password" if locked else "save or download it again"
        raise ImageError(f"{path} {what}; expected a PDF that opens; {todo}") from error
    try:
        yield document
    finally:
        document.close()


def count_pages(path: Path) -> int:
    """How many pages a PDF has to read; an `ImageError` where it does not open or has none."""
    with _opened(path) as document:
        if not len(document):
            raise ImageError(f"{path} has no pages; expected one or more; check the file")
        return len(document)


def render(path: Path, number: int) -> Image.Image:
    """A page of a PDF as RGB, at 300 dots per inch or what keeps it within 12,000 pixels a side."""
    with _opened(path) as document:
        page = document[number]
        scale = min(DPI / POINTS, LARGEST_SIDE / max(*page.get_size(), 1))
        return load_image(page.render(scale=scale).to_pil())


# Writing


def to_pdf(pages: Sequence[tuple[Layout, Image.Image]]) -> bytes:
    """A PDF of pages: their images, with their texts where these stand, not seen but found."""
    pikepdf = _pikepdf()
    with pikepdf.new() as document:
        fonts = _Fonts(pikepdf, document, {c for layout, _ in pages for c in layout.text})
        for layout, picture in pages:
            _add_page(pikepdf, document, fonts, layout, picture)
        written = io.BytesIO()
        document.save(written, deterministic_id=True)
    return written.getvalue()


def joined(parts: Sequence[bytes]) -> bytes:
    """PDFs after each other as one."""
    pikepdf = _pikepdf()
    with pikepdf.new() as document:
        for part in parts:
            with pikepdf.open(io.BytesIO(part)) as one:
                document.pages.extend(one.pages)
        written = io.BytesIO()
        document.save(written, deterministic_id=True)
    return written.getvalue()


class _Fonts:
    """Fonts of empty letters: each code stands for a character, and nothing is drawn for it.

    A Type 3 font is complete in itself, so no font file is needed for any script.
    """

    def __init__(self, pikepdf: Any, document: Any, characters: set[str]) -> None:
        listed = sorted(character for character in characters if not character.isspace())
        groups = [[" ", *listed[i : i + CODES - 1]] for i in range(0, len(listed) or 1, CODES - 1)]
        self.codes = {
            c: (f, code) for f, group in enumerate(groups) for code, c in enumerate(group)
        }
        self.resources = pikepdf.Dictionary(
            {f"/F{f}": _font(pikepdf, document, group) for f, group in enumerate(groups)}
        )

    def runs(self, text: str) -> Iterator[tuple[int, bytes]]:
        """A text as pieces of one font each: its number and codes."""
        found: list[tuple[int, list[int]]] = []
        for character in text:
            font, code = self.codes.get(character, (found[-1][0] if found else 0, 0))
            if not found or found[-1][0] != font:
                found.append((font, []))
            found[-1][1].append(code)
        return ((font, bytes(codes)) for font, codes in found)


def _font(pikepdf: Any, document: Any, characters: list[str]) -> Any:
    empty = document.make_indirect(pikepdf.Stream(document, f"{WIDTH} 0 d0".encode()))
    lines = "\n".join(
        f"<{code:02x}> <{character.encode('utf-16-be').hex()}>"
        for code, character in enumerate(characters)
    )
    blocks = [lines.split("\n")[i : i + 100] for i in range(0, len(characters), 100)]
    chars = "\n".join(
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks
    )
    to_unicode = (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CMapName /mlx_vedec def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<00> <ff>\nendcodespacerange\n"
        f"{chars}\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend"
    )
    codes = range(len(characters))
    name = pikepdf.Name
    return document.make_indirect(
        pikepdf.Dictionary(
            Type=name.Font,
            Subtype=name.Type3,
            FontBBox=[0, 0, WIDTH, 1000],
            FontMatrix=[0.001, 0, 0, 0.001, 0, 0],
            FirstChar=0,
            LastChar=len(characters) - 1,
            Widths=[WIDTH for _ in codes],
            Resources=pikepdf.Dictionary(),
            CharProcs=pikepdf.Dictionary({f"/g{code}": empty for code in codes}),
            Encoding=pikepdf.Dictionary(
                Type=name.Encoding, Differences=[0, *(name(f"/g{code}") for code in codes)]
            ),
            ToUnicode=pikepdf.Stream(document, to_unicode.encode()),
        )
    )


def _add_page(
    pikepdf: Any, document: Any, fonts: _Fonts, layout: Layout, picture: Image.Image
) -> None:
    dpi = float(picture.info.get("dpi", (DPI,))[0])
    scale = POINTS / (dpi if dpi >= LOWEST_DPI else DPI)
    width, height = picture.width * scale, picture.height * scale
    page = document.add_blank_page(page_size=(width, height))
    name = pikepdf.Name
    image = pikepdf.Stream(document, as_file(picture.convert("RGB"), "JPEG", quality=90))
    image.stream_dict = pikepdf.Dictionary(
        Type=name.XObject,
        Subtype=name.Image,
        Width=picture.width,
        Height=picture.height,
        ColorSpace=name.DeviceRGB,
        BitsPerComponent=8,
        Filter=name.DCTDecode,
    )
    page.Resources = pikepdf.Dictionary(
        XObject=pikepdf.Dictionary({"/Image": image}), Font=fonts.resources
    )
    drawn = f"q {width:.3f} 0 0 {height:.3f} 0 0 cm /Image Do Q\n"
    text = "\n".join(_words(fonts, layout, scale, height))
    page.Contents = pikepdf.Stream(document, f"{drawn}BT 3 Tr\n{text}\nET\n".encode("latin-1"))


def _words(fonts: _Fonts, layout: Layout, scale: float, page: float) -> Iterator[str]:
    """Each word, as wide and as high as its box; a line whose words are not known in one piece."""
    for line in layout.lines:
        words = [(w.text, w.box) for w in line.fitting_words] or [(line.text, line.box)]
        for index, (text, (left, _, right, bottom)) in enumerate(words):
            size = max(line.box[3] - line.box[1], 1) * scale
            more = text + (" " if index < len(words) - 1 else "")
            natural = max(len(text), 1) * WIDTH / 1000 * size
            stretch = 100 * max(right - left, 1) * scale / natural
            shown = " ".join(
                f"/F{font} {size:.3f} Tf <{codes.hex()}> Tj" for font, codes in fonts.runs(more)
            )
            if text:
                place = f"1 0 0 1 {left * scale:.3f} {page - bottom * scale:.3f} Tm"
                yield f"{stretch:.3f} Tz {place} {shown}"
