"""Layouts and pages that the tests of this room share."""

import io
from xml.etree.ElementTree import canonicalize

from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.pages.layout import Alternative, Layout, Line, Region, Word

PAGE_2019 = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"


def canonical(data: bytes) -> str:
    """XML after C14N, comments kept."""
    return canonicalize(data.decode("utf-8"), with_comments=True)


def page_xml(inner: str, *, namespace: str = PAGE_2019, image: str = "page.png") -> bytes:
    return (
        f'<PcGts xmlns="{namespace}"><Metadata><Creator>us</Creator>'
        "<Created>2020-01-01T00:00:00Z</Created><LastChange>2020-01-01T00:00:00Z</LastChange>"
        f'</Metadata><Page imageFilename="{image}" imageWidth="400" imageHeight="300">'
        f"{inner}</Page></PcGts>"
    ).encode()


def text_line(name: str, points: str = "10,10 90,10 90,30 10,30", more: str = "") -> str:
    return f'<TextLine id="{name}"><Coords points="{points}"/>{more}</TextLine>'


def text_region(name: str, *lines: str, inner: str = "", more: str = "") -> str:
    lines = lines or (text_line(f"{name}_l"),)
    coords = '<Coords points="0,0 100,0 100,40 0,40"/>'
    return f'<TextRegion id="{name}" {more}>{coords}{inner}{"".join(lines)}</TextRegion>'


def alto(
    blocks: str, *, version: int = 4, unit: str = "pixel", order: str = "", page: str = ""
) -> bytes:
    size = page or 'WIDTH="400" HEIGHT="300"'
    return (
        f'<alto xmlns="http://www.loc.gov/standards/alto/ns-v{version}#"><Description>'
        f"<MeasurementUnit>{unit}</MeasurementUnit><sourceImageInformation>"
        "<fileName>page.png</fileName></sourceImageInformation></Description>"
        f'{order}<Layout><Page ID="p" PHYSICAL_IMG_NR="1" {size}><PrintSpace>{blocks}'
        "</PrintSpace></Page></Layout></alto>"
    ).encode()


def block(name: str, *lines: str, more: str = "") -> str:
    return f'<TextBlock ID="{name}" {more}>{"".join(lines)}</TextBlock>'


def alto_line(
    name: str, text: str = "tea", place: str = 'HPOS="10" VPOS="20" WIDTH="80" HEIGHT="20"'
) -> str:
    return f'<TextLine ID="{name}" {place}><String CONTENT="{text}" {place}/></TextLine>'


def example() -> Layout:
    """A page of three lines in two regions, with all that formats can say."""
    first = Line(
        text="Tea & <rice>",
        box=(10, 10, 110, 30),
        polygon=((10, 12), (60, 10), (110, 12), (110, 30), (10, 30)),
        baseline=((10, 27), (110, 27)),
        confidence=0.9,
        alternatives=(Alternative("Tea & <nice>", 0.5),),
        words=(
            Word("Tea", (10, 10, 40, 30), 0.99),
            Word("&", (45, 10, 55, 30), 0.8),
            Word("<rice>", (60, 10, 110, 30), 0.85),
        ),
    )
    second = Line(text='9,50 "é" 茶', box=(10, 40, 110, 60), confidence=0.25)
    empty = Line(text="", box=(10, 70, 110, 90))
    return Layout(
        regions=(
            Region((first, second), (10, 10, 110, 60), kind="heading"),
            Region((empty,), (10, 70, 110, 90), ((10, 70), (110, 70), (110, 90), (10, 90))),
        ),
        size=(200, 100),
        image='scan "1" & 2.png',
        model="tests/tiny",
    )


FONT = ImageFont.load_default(20)


def printed(*lines: str, size: tuple[int, int] = (400, 300), step: int = 34) -> Image.Image:
    """A white page with a line of print every few pixels."""
    page = Image.new("RGB", size, "white")
    for number, text in enumerate(lines):
        ImageDraw.Draw(page).text((20, 16 + step * number), text, "black", FONT)
    return page


def as_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()
