"""A page that was read: `Page`, which can be looked at, saved and opened again."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from ..errors import OptionError, as_path, shown
from ..files import write_file
from ..images.boxes import check_size
from ..images.loading import as_file
from .formats import check_format, format_of, layouts_of, read_document, to_bytes
from .layout import Layout
from .pdf import to_pdf
from .sheets import image_of, size_beside

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_WIDTH = 100  # pixels of a drawn line
SHOWN = 1400  # pixels of the longer side in a notebook
REGION = (70, 110, 200)  # blue
BASELINE = (200, 60, 160)  # violet
UNSURE, SURE, UNKNOWN = (220, 40, 40), (40, 160, 70), (120, 120, 120)  # red, green, grey


@dataclass(frozen=True)
class Page(Layout):
    r"""A page: its regions, their lines and words in reading order, in pixels of its image.

    regions, size, image, model -- see `Layout`. lines, text and confidence come from them
    error   -- what was wrong with it, for `read_pages`; then it has no lines
    picture -- the image, RGB, where it was read; not for `Page.from_file`

    >>> from mlx_vedec.pages.layout import Line, Region
    >>> Page(regions=(Region((Line("Tea,"), Line("rice"))), Region((Line("9.50"),)))).text
    'Tea,\nrice\n\n9.50'
    """

    name: str = ""
    error: ValueError | None = None
    picture: Image.Image | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The page of a PAGE, ALTO or hOCR file, with the texts that this has.

        The image need not be there. Where it is, its size says how large the file's units are; else
        tenths of millimetres and 1/1200 inch are taken at 300 dots per inch.
        """
        path = as_path(path, "path")
        document = read_document(path)
        layouts = layouts_of(document, str(path), size_beside(path))
        if len(layouts) != 1:
            raise OptionError(f"{path} has {len(layouts)} pages; expected one; split it")
        (layout,) = layouts
        return cls.of(layout, name=str(path))

    @classmethod
    def of(
        cls,
        layout: Layout,
        *,
        name: str = "",
        error: ValueError | None = None,
        picture: Image.Image | None = None,
    ) -> Self:
        """A page with a layout."""
        return cls(
            regions=layout.regions,
            size=layout.size,
            image=layout.image,
            model=layout.model,
            source=layout.source,
            name=name,
            error=error,
            picture=picture,
        )

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write the page to a file, whole or not at all.

        format -- "text", "json", "page", "alto", "hocr", "tsv", "markdown" or "pdf"; by default
        what the file's name ends in stands for, `.xml` for "page". A page that came from a file of
        the same format is that file with the texts put in; any other makes a new one.
        """
        path = as_path(path, "path")
        data = self.to_bytes(format_of(path) if format is None else format)
        if not path.parent.is_dir():
            raise OptionError(f"the folder of {path} does not exist; expected one; make it")
        write_file(path, lambda temporary: temporary.write_bytes(data))

    def to_bytes(self, format: str) -> bytes:
        """The page in a format, as `save` writes it."""
        if check_format(format) != "pdf":
            return to_bytes(self, format)
        return to_pdf([(self, self._with_picture())])

    def _with_picture(self) -> Image.Image:
        if self.picture is not None:
            return self.picture
        if self.source is not None:
            with Image.open(image_of(Path(self.source.name))) as image:
                return image.convert("RGB")
        raise OptionError("the page has no image; a PDF needs one; read the page from its image")

    def overlay(self, *, width: int = 3) -> Image.Image:
        """The image with what was found drawn on it.

        Regions are blue, baselines violet, outlines from green (sure) to red (unsure), grey where
        nothing is known. width -- pixels of the lines
        """
        if not isinstance(width, int) or not 0 < width <= MOST_WIDTH:
            raise OptionError(f"width is {shown(width)}; expected pixels, 1 to {MOST_WIDTH}")
        if self.picture is not None:
            image = self.picture.copy()
        else:
            size = max(self.size[0], 2), max(self.size[1], 2)
            check_size(size, "the page")
            image = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(image)
        for region in self.regions:
            draw.polygon(region.outline, outline=REGION, width=width)
        for line in self.lines:
            draw.polygon(line.outline, outline=_colour(line.confidence), width=width)
            if len(line.baseline) > 1:
                draw.line(line.baseline, fill=BASELINE, width=width)
        return image

    def __repr__(self) -> str:
        """What the page is of, how much was found on it, and what was wrong with it."""
        named = ascii((self.name or self.image)[:80])
        if self.error is not None:
            return f"Page({named}, error: {str(self.error)[:200]})"
        found = f"{len(self.lines)} lines in {len(self.regions)} regions"
        sure = "" if self.confidence is None else f", confidence {self.confidence:.2f}"
        return f"Page({named}, {self.size[0]}x{self.size[1]}, {found}{sure})"

    def _repr_html_(self) -> str:
        """The overlay and the text beneath it, or what was wrong, for notebooks."""
        said = f"<p>{escape(repr(self))}</p>"
        if self.error is not None:
            return said
        data = b64encode(self._repr_png_()).decode("ascii")
        image = f'<img src="data:image/png;base64,{data}" alt="the page, with its lines outlined">'
        return f"{image}\n<pre>{escape(self.text)}</pre>\n{said}"

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        image = self.overlay(width=max(2, max(self.size) // 700))
        image.thumbnail((SHOWN, SHOWN))
        return as_file(image, "PNG")


def _colour(confidence: float | None) -> tuple[int, int, int]:
    """From red at one half and below to green at 1."""
    if confidence is None:
        return UNKNOWN
    share = min(max(2 * confidence - 1, 0.0), 1.0)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(UNSURE, SURE, strict=True))
    return red, green, blue
