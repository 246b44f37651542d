"""Lines found on drawn pages, and cut without a letter being hurt."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mlx_vedec.errors import ImageError
from mlx_vedec.images.ink import runs_of
from mlx_vedec.images.line_images import PrintedLine
from mlx_vedec.images.lines import find_lines

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


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P", "CMYK", "F", "I;16"])
def test_any_mode(mode):
    page, middles = draw(TEXT)
    if mode == "I;16":
        other = Image.fromarray(np.asarray(page).astype(np.uint16) * 100 + 5000)
    else:
        other = page.convert(mode)
    assert one_each(find_lines(other), middles)


def test_transparent_paper_is_white():
    page, middles = draw(TEXT)
    layer = Image.new("RGBA", page.size, (0, 0, 0, 0))
    layer.putalpha(ImageOps.invert(page))
    assert one_each(find_lines(layer), middles)


def test_light_on_dark_and_grey_paper():
    page, middles = draw(TEXT)
    assert find_lines(ImageOps.invert(page)) == find_lines(page)
    noise = np.random.default_rng(0).normal(0, 4, page.size[::-1])
    shade = np.linspace(0.4, 1.25, page.width)  # the lightest ink is lighter than the darkest paper
    grey = np.clip(np.asarray(draw(TEXT, paper=190, ink=90)[0]) * shade + noise, 0, 255)
    assert one_each(find_lines(Image.fromarray(grey.astype(np.uint8))), middles)


@pytest.mark.parametrize(
    "dirt",
    [
        lambda pen, size: pen.point([(x, 86) for x in range(5, size[0], 45)], 0),
        lambda pen, size: pen.line((0, 88, size[0], 88), 0, 2),
        lambda pen, size: pen.line((12, 45, 12, 150), 0, 2),
        lambda pen, size: pen.rectangle((2, 2, size[0] - 3, size[1] - 3), outline=0),
        lambda pen, size: pen.rectangle((20, 90, size[0] - 9, 155), outline=0, width=2),
    ],
    ids=["specks", "underline", "upright rule", "frame", "box"],
)
def test_dirt_and_rules_change_no_line(dirt):
    page, middles = draw(TEXT, size=40, leading=1.8)
    boxes = find_lines(page)
    assert one_each(boxes, middles)
    dirt(ImageDraw.Draw(page), page.size)
    assert find_lines(page) == boxes


@pytest.mark.parametrize("mark", ["i", "\u00c9t\u00e9", "a,", "'a'", "a_", "-   a", "a;"])
def test_marks_belong_to_their_line(mark):
    """Each box is what is seen of the line when it is drawn alone."""
    page, _ = draw([mark, "nouns", mark])
    for number, box in enumerate(find_lines(page)):
        alone, _ = draw(
            [line if at == number else "" for at, line in enumerate([mark, "nouns", mark])]
        )
        ink = ImageOps.invert(alone).point(lambda value: 255 * (value > 127)).getbbox()
        assert ink is not None and np.abs(np.subtract(box, ink)).max() <= 1


def test_lines_that_touch():
    """A tail that runs into the next line joins two shapes, not two lines."""
    page, middles = draw(["many a page", "belongs here"], leading=1.2)
    upper, lower = find_lines(page)
    assert upper[3] < lower[1] + 4
    ImageDraw.Draw(page).line((62, middles[0], 62, middles[1]), fill=0, width=2)
    assert one_each(find_lines(page), middles)


@pytest.mark.parametrize("heading", ["Minimum: i!", "minimum"])
@pytest.mark.parametrize("smaller", [13, 16])
def test_print_of_several_sizes(heading, smaller):
    """The dots of a heading are as high as small letters, and a small line is no row of dots."""
    page = Image.new("L", (500, 260), 255)
    pen = ImageDraw.Draw(page)
    for y, size, line in (
        (10, 64, heading),
        (95, 24, TEXT[0]),
        (130, 24, TEXT[0]),
        (190, smaller, TEXT[2]),
    ):
        pen.text((30, y), line, fill=0, font=ImageFont.load_default(size=size))
    assert one_each(find_lines(page), [54, 110, 145, 190 + smaller // 2])


def test_small_print_between_large():
    page = Image.new("L", (500, 200), 255)
    pen = ImageDraw.Draw(page)
    for y, size, line in ((10, 36, TEXT[0]), (80, 14, TEXT[0]), (130, 36, TEXT[0])):
        pen.text((30, y), line, fill=0, font=ImageFont.load_default(size=size))
    assert one_each(find_lines(page), [32, 89, 152])


def test_a_small_line_close_under_a_heading():
    page = Image.new("L", (500, 130), 255)
    pen = ImageDraw.Draw(page)
    for y, size, line in ((10, 48, "Annual Report"), (66, 16, "by the committee, 2022")):
        pen.text((30, y), line, fill=0, font=ImageFont.load_default(size=size))
    assert one_each(find_lines(page), [38, 75])


def test_nothing_on_noise_and_shadow():
    noise = np.random.default_rng(1).normal(200, 20, (300, 400))
    shade = np.tile(np.linspace(170, 250, 400), (300, 1))
    for grey in (noise, shade, noise - 200 + shade):
        assert find_lines(Image.fromarray(grey.clip(0, 255).astype(np.uint8))) == []


def test_what_shines_through_is_no_print():
    page = Image.new("L", (300, 100), 250)
    for x in range(20, 280, 12):
        page.paste(236, (x, 40, x + 8, 60))
    assert find_lines(page) == []


@pytest.mark.parametrize("size", [(300, 200), (1, 1), (2, 500), (500, 2), (0, 0)])
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
    pieces = PrintedLine(page, box, 12.0).pieces()
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
    assert PrintedLine(page, box, 12.0).pieces() == [box]


def test_a_line_without_gaps_is_cut_all_the_same():
    page, _ = draw(["m" * 60])
    (box,) = find_lines(page)
    pieces = PrintedLine(page, box, 12.0).pieces()
    assert len(pieces) > 2
    assert all(right - left <= 12 * (bottom - top) for left, top, right, bottom in pieces)


def bars(widths, gaps, height=20, margin=30):
    """A line of black bars, with these gaps after them."""
    page = Image.new("L", (sum(widths) + sum(gaps) + 2 * margin, height + 2 * margin), 255)
    x = margin
    for width, gap in zip(widths, [*gaps, 0], strict=True):
        page.paste(0, (x, margin, x + width, margin + height))
        x += width + gap
    return page, (margin, margin, page.width - margin, margin + height)


def test_wide_letter_spacing_is_no_word_gap():
    """Letters a fifth of their height apart, as in typewriting: words end at the wide gaps only."""
    gaps = [*[4] * 3, 12, *[4] * 9, 12, *[4] * 6, 12, *[4] * 5, 12, *[4] * 8, 12, *[4] * 9]
    page, box = bars([8] * (len(gaps) + 1), gaps)
    pieces = PrintedLine(page, box, 12.0).pieces()
    assert len(pieces) > 2
    assert all(
        after[0] - before[2] == 12 for before, after in zip(pieces, pieces[1:], strict=False)
    )


def test_a_column_far_away_hides_no_word_gap():
    page, box = bars([40] * 12, [8] * 10 + [300])
    pieces = PrintedLine(page, box, 12.0).pieces()
    assert sum(right - left for left, _, right, _ in pieces) >= 12 * 40
    assert all((left - 30) % 48 == 0 or left == page.width - 70 for left, *_ in pieces)


def test_a_bar_is_cut_into_equal_parts():
    page, box = bars([900], [])
    pieces = PrintedLine(page, box, 12.0).pieces()
    assert pieces[0][0] == box[0] and pieces[-1][2] == box[2]
    assert all(before[2] == after[0] for before, after in zip(pieces, pieces[1:], strict=False))
    widths = [right - left for left, _, right, _ in pieces]
    assert max(widths) <= 12 * 20 and max(widths) - min(widths) < 30


def test_a_word_without_gaps_is_cut_where_it_is_thinnest():
    """Thick bars joined by a thin rule: the cut goes through the rule."""
    page, box = bars([20] * 20, [6] * 19)
    page.paste(0, (box[0], 40, box[2], 42))
    for _, _, end, _ in PrintedLine(page, box, 12.0).pieces()[:-1]:
        assert (end - 30) % 26 in range(20, 26)


def test_a_blank_box_is_left_as_it_is():
    blank = PrintedLine(Image.new("L", (400, 20), 255), (0, 0, 400, 20), 12.0)
    assert blank.pieces() == [(0, 0, 400, 20)]


def canvas(page, box):
    """A whole line on the canvas that a checkpoint reads."""
    return PrintedLine(page, box, 12.0).canvas(box)


def test_a_canvas_has_the_aspect_and_the_paper():
    page, _ = draw(["Hello you"], paper=230)
    (box,) = find_lines(page)
    image = canvas(page, box)
    assert image.mode == "RGB" and abs(image.width / image.height - 12) < 0.3
    pixels = np.asarray(image)
    assert pixels[:, -image.width // 3 :].std() < 2  # the canvas has the paper's colour
    dark = np.argwhere(pixels.min(axis=2) < 128)
    height = box[3] - box[1]
    assert dark[:, 1].max() < image.width / 2
    assert (dark.min(axis=0) > 0.1 * height).all() and (dark.min(axis=0) < 0.3 * height).all()


def test_a_canvas_shows_no_other_line():
    """What reaches in from the line below, and what stands beside a piece, is paper."""
    page, box = bars([8] * 10, [8] * 9)
    alone = canvas(page, box)
    page.paste(0, (56, 48, 60, 75))  # a letter of the next line, two pixels high in this one
    assert canvas(page, box).tobytes() == alone.tobytes()
    first = PrintedLine(page, box, 12.0).canvas((*box[:2], 38, box[3]))
    dark = np.argwhere(np.asarray(first).min(axis=2) < 128)
    assert np.ptp(dark[:, 1]) + 1 == 8


def test_runs_of_ink():
    """Row by row, also those that begin or end at an edge, beside each other in two rows."""
    rows = ["..##.", "#...#", "#####", ".....", "#.#.#"]
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert runs_of(mask).T.tolist() == [
        *([0, 2, 4], [1, 0, 1], [1, 4, 5], [2, 0, 5]),
        *([4, 0, 1], [4, 2, 3], [4, 4, 5]),
    ]
    assert runs_of(mask[:0]).shape == runs_of(mask[:, :0]).shape == (3, 0)


def test_what_touches_a_line_from_above_and_below_is_cleared_at_every_distance():
    """A stroke that ends near the line is paper; one that is mostly in the line is a part of it."""
    page, box = bars([8] * 10, [8] * 9)
    alone = canvas(page, box)
    for reach in range(-3, 5):
        other = page.copy()
        other.paste(0, (56, box[3] - reach, 60, 75))
        assert canvas(other, box).tobytes() == alone.tobytes()
    page.paste(0, (56, box[1], 60, box[3] + 6))
    assert canvas(page, box).tobytes() != alone.tobytes()


def test_a_canvas_is_dark_on_light():
    page, _ = draw(["Hello you"])
    (box,) = find_lines(page)
    inverted = canvas(ImageOps.invert(page), box)
    assert inverted.tobytes() == canvas(page, box).tobytes()


def test_a_canvas_of_too_wide_a_box_keeps_proportions():
    page, _ = draw([LONG])
    (box,) = find_lines(page)
    image = canvas(page, box)
    assert abs(image.width / image.height - 12) < 0.3
    dark = np.argwhere(np.asarray(image).min(axis=2) < 128)
    assert abs(np.ptp(dark[:, 1]) + 1 - (box[2] - box[0])) <= 2


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (-1, 0, 4, 4), (0, 0, 500, 4)])
def test_boxes_outside_the_image(box):
    with pytest.raises(ImageError, match="is empty or leaves the image of 40x20 pixels"):
        PrintedLine(Image.new("L", (40, 20), 255), box, 12.0)


@pytest.mark.parametrize("aspect", [0, -1.5, float("nan")])
def test_an_aspect_of_nothing(aspect):
    with pytest.raises(ImageError, match=f"aspect is {aspect}; expected the width / height"):
        PrintedLine(Image.new("L", (40, 20), 255), (1, 1, 9, 9), aspect)


def test_the_scanned_page(shared):
    with Image.open(shared / "images" / "phototest.tif") as page:
        boxes = find_lines(page)
    assert len(boxes) == 8
    assert all(below[1] >= above[3] - 4 for above, below in zip(boxes, boxes[1:], strict=False))
