"""Lines found on drawn pages, and cut without a letter being hurt."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mlx_vedec.errors import ImageError
from mlx_vedec.lines import cut_line, find_lines, line_image

TEXT = [
    "A quiet page, of print.",
    "It has \u201cquotes\u201d and dots: i, j;",
    "under_scores - and (gaps)",
]
LONG = "a rather long line of plain words that nobody could read at one glance"


def draw(lines, size=24, leading=1.6, paper=255, ink=0, margin=30):
    """A page, and the vertical middle of each line drawn on it."""
    font = ImageFont.load_default(size=size)
    step = round(size * leading)
    width = round(max(font.getlength(line) for line in lines)) + 2 * margin
    page = Image.new("L", (width, step * len(lines) + 2 * margin), paper)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        pen.text((margin, margin + number * step), line, fill=ink, font=font)
    return page, [margin + number * step + size // 2 for number in range(len(lines))]


def one_each(boxes, middles):
    """Each line has a box of its own, from top to bottom."""
    return len(boxes) == len(middles) and all(
        top < middle < bottom for (_, top, _, bottom), middle in zip(boxes, middles, strict=True)
    )


@pytest.mark.parametrize("size", [12, 16, 24, 40])
@pytest.mark.parametrize("leading", [1.3, 1.6, 2.5])
def test_lines_of_a_page(size, leading):
    page, middles = draw(TEXT, size, leading)
    assert one_each(find_lines(page), middles)


def test_all_ink_is_in_a_box():
    """Dots, accents, quotes and underscores belong to a line."""
    page, _ = draw(TEXT)
    dark = np.asarray(page) < 128
    for left, top, right, bottom in find_lines(page):
        assert dark[top:bottom, left:right].any(axis=1)[[0, -1]].all()
        dark[top:bottom, left:right] = False
    assert not dark.any()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "I;16"])
def test_any_mode(mode):
    page, middles = draw(TEXT)
    page = (
        page.convert("I").point(lambda v: v * 257).convert("I;16")
        if mode == "I;16"
        else page.convert(mode)
    )
    assert one_each(find_lines(page), middles)


def test_light_on_dark_and_grey_paper():
    page, middles = draw(TEXT)
    assert find_lines(ImageOps.invert(page)) == find_lines(page)
    noise = np.random.default_rng(0).normal(0, 4, page.size[::-1])
    shade = np.linspace(-25, 25, page.width)
    grey = np.clip(np.asarray(draw(TEXT, paper=190, ink=40)[0]) + noise + shade, 0, 255)
    assert one_each(find_lines(Image.fromarray(grey.astype(np.uint8))), middles)


def test_specks_and_rules_are_no_lines():
    page, middles = draw(TEXT, leading=2.5)
    pen = ImageDraw.Draw(page)
    pen.point((10, 10), 0)
    pen.line((0, 62 + 24, page.width, 62 + 24), fill=0, width=2)
    pen.rectangle((2, 2, page.width - 3, page.height - 3), outline=0)
    assert one_each(find_lines(page), middles)


@pytest.mark.parametrize("size", [(300, 200), (1, 1), (2, 500), (500, 2)])
@pytest.mark.parametrize("paper", [255, 128, 0])
def test_pages_without_print(size, paper):
    assert find_lines(Image.new("L", size, paper)) == []


def test_a_page_of_one_line():
    page, middles = draw(["Hello"])
    assert one_each(find_lines(page), middles)


def test_long_lines_are_cut_between_words():
    """Pieces cover the line's ink, none is too wide, and no cut goes through a letter."""
    page, _ = draw([LONG])
    (box,) = find_lines(page)
    left, top, right, bottom = box
    pieces = cut_line(page, box, 12.0)
    assert len(pieces) > 1 and (pieces[0][0], pieces[-1][2]) == (left, right)
    assert all(piece[1::2] == (top, bottom) for piece in pieces)
    assert all(piece[2] - piece[0] <= 12 * (bottom - top) for piece in pieces)
    dark = (np.asarray(page) < 128).any(axis=0)
    for (_, _, end, _), (start, *_) in zip(pieces, pieces[1:], strict=False):
        assert start - end >= 0.1 * (bottom - top) and not dark[end:start].any()
    widths = [piece[2] - piece[0] for piece in pieces]
    assert max(widths) < 2.5 * min(widths)


def test_short_lines_stay_whole():
    page, _ = draw(["Hello you"])
    (box,) = find_lines(page)
    assert cut_line(page, box, 12.0) == [box]


def test_a_line_without_gaps_is_cut_all_the_same():
    page, _ = draw(["m" * 60])
    (box,) = find_lines(page)
    pieces = cut_line(page, box, 12.0)
    assert len(pieces) > 2
    assert all(right - left <= 12 * (bottom - top) for left, top, right, bottom in pieces)


def test_line_image_has_the_aspect_and_the_paper():
    page, _ = draw(["Hello you"], paper=230)
    (box,) = find_lines(page)
    image = line_image(page, box, 12.0)
    assert image.mode == "RGB" and abs(image.width / image.height - 12) < 0.3
    pixels = np.asarray(image)
    assert pixels[:, -image.width // 3 :].std() < 2  # the canvas has the paper's colour
    dark = np.argwhere(pixels.min(axis=2) < 128)
    assert dark.min() > 0 and dark[:, 1].max() < image.width / 2


def test_line_image_of_too_wide_a_box_keeps_proportions():
    page, _ = draw([LONG])
    (box,) = find_lines(page)
    image = line_image(page, box, 12.0)
    assert abs(image.width / image.height - 12) < 0.3
    dark = np.argwhere(np.asarray(image).min(axis=2) < 128)
    assert abs(np.ptp(dark[:, 1]) + 1 - (box[2] - box[0])) <= 2


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (-1, 0, 4, 4), (0, 0, 500, 4)])
@pytest.mark.parametrize("call", [cut_line, line_image])
def test_boxes_outside_the_image(call, box):
    with pytest.raises(ImageError, match="is empty or leaves the image of 40x20 pixels"):
        call(Image.new("L", (40, 20), 255), box, 12.0)


@pytest.mark.parametrize("call", [cut_line, line_image])
def test_an_aspect_of_nothing(call):
    with pytest.raises(ImageError, match="aspect is 0; expected the width / height"):
        call(Image.new("L", (40, 20), 255), (1, 1, 9, 9), 0)


def test_the_scanned_page(shared):
    with Image.open(shared / "images" / "phototest.tif") as page:
        boxes = find_lines(page)
    assert len(boxes) == 8
    assert all(below[1] >= above[3] - 4 for above, below in zip(boxes, boxes[1:], strict=False))
