"""The lines of drawn pages: at any angle, in columns, on panels, beside pictures and tables."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.images.ink import ink_level, shapes_of
from mlx_vedec.pages.finding import find_layout
from mlx_vedec.pages.frames import Frame
from mlx_vedec.pages.order import regions_of
from mlx_vedec.pages.panels import _is_straight
from mlx_vedec.pages.turning import angles_of

WORDS = "the quiet page of print has many a line that began with (some) more words, and 7 by it"


def text(count, seed=0):
    """Lines of a few words each, no two alike."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS.split(), 5)) for _ in range(count)]


def put(page, left, top, lines, size=20, leading=1.4, ink=0):
    """Draw lines, and return the middle of each."""
    font, pen = ImageFont.load_default(size=size), ImageDraw.Draw(page)
    middles = []
    for number, line in enumerate(lines):
        y = top + round(number * leading * size)
        pen.text((left, y), line, fill=ink, font=font)
        middles.append((left + font.getlength(line) / 2, y + 0.6 * size))
    return middles


def paper(width=900, height=700):
    return Image.new("L", (width, height), 255)


def is_inside(polygon, place):
    mask = Image.new("1", (1200, 1200))
    ImageDraw.Draw(mask).polygon(polygon, fill=1)
    return bool(mask.getpixel((round(place[0]), round(place[1]))))


def in_order(layout, places):
    """Whether each place is in one line, and the lines are in the order of the places."""
    lines = layout.lines
    return len(lines) == len(places) and all(
        is_inside(line.polygon, place) for line, place in zip(lines, places, strict=True)
    )


@pytest.mark.parametrize("angle", [0, 1, -4.5, 11, -15, 90, 92, 180, 270])
def test_pages_at_any_angle(angle):
    page = paper()
    middles = put(page, 80, 60, text(12))
    frame = Frame.turned(page.size, -angle)
    turned = frame.image(page)
    there = np.linalg.inv(frame.matrix)
    places = [(there @ (x, y, 1))[:2] for x, y in middles]
    assert in_order(find_layout(turned), places)


@pytest.mark.parametrize("write", [str.upper, lambda line: "".join(str(ord(c) % 10) for c in line)])
def test_letters_of_one_height_do_not_say_that_a_page_is_on_its_head(write):
    page = paper()
    middles = put(page, 80, 60, [write(line) for line in text(12)])
    layout = find_layout(page)
    assert in_order(layout, middles)
    assert all(line.baseline[0][0] < line.baseline[-1][0] for line in layout.lines)


def runs_at(line, angle):
    """Whether a line is read along an angle, in degrees clockwise."""
    (x, y), (u, v) = line.baseline
    return abs((np.degrees(np.arctan2(v - y, u - x)) - angle + 180) % 360 - 180) < 9


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
@pytest.mark.parametrize("write", [str.upper, lambda line: "".join(str(ord(c) % 10) for c in line)])
def test_what_letters_of_one_height_leave_in_doubt_is_read(write, angle):
    page = paper()
    put(page, 80, 60, [write(line) for line in text(12)])
    turned = Frame.turned(page.size, -angle).image(page)
    asked = []

    def confidence(lines):
        asked.append(lines)
        return 0.9 if runs_at(lines[0], angle) else 0.7

    layout = find_layout(turned, confidence)
    assert len(asked) == 2
    assert len(layout.lines) == 12
    assert all(runs_at(line, angle) for line in layout.lines)


def test_a_page_stays_upright_unless_another_way_is_clearly_surer():
    page = paper()
    put(page, 80, 60, [line.upper() for line in text(12)])
    layout = find_layout(page, lambda lines: 0.78 if runs_at(lines[0], 180) else 0.75)
    assert all(runs_at(line, 0) for line in layout.lines)


def test_letters_of_two_heights_leave_no_doubt():
    page = paper()
    put(page, 80, 60, text(12))
    assert find_layout(page, lambda _: pytest.fail("was read")).lines


def test_baselines_run_as_the_lines_are_read():
    page = paper()
    put(page, 80, 60, text(12))
    line = find_layout(page.rotate(180)).lines[0]
    (x, _), (u, _) = line.baseline
    assert x > u and line.polygon[0][1] > line.polygon[3][1]
    assert line.box[0] <= min(p[0] for p in line.polygon)


def test_columns_below_a_headline():
    page = paper(1100, 900)
    places = put(page, 60, 30, ["A headline over both of them"], size=56)
    places += put(page, 60, 140, text(20, seed=1))
    places += put(page, 520, 150, text(20, seed=2))
    assert in_order(find_layout(page), places)


def test_wide_gaps_are_no_gutters():
    """Five words a line, far apart and some of them below each other."""
    page = paper()
    places = put(page, 60, 60, [line.replace(" ", "   ") for line in text(6, seed=3)])
    assert in_order(find_layout(page), places)


def test_the_rows_of_a_table():
    page = paper()
    places = put(page, 60, 30, text(3))
    pen = ImageDraw.Draw(page)
    for row in range(4):
        pen.rectangle((60, 150 + 40 * row, 660, 190 + 40 * row), outline=0, width=2)
        for column in range(3):
            pen.line((60 + 200 * column, 150 + 40 * row, 60 + 200 * column, 190 + 40 * row), 0, 2)
            places += put(page, 75 + 200 * column, 158 + 40 * row, [f"cell {row}{column}"])
    assert in_order(find_layout(page), places)


@pytest.mark.parametrize("shade, ink", [(30, 255), (120, 255), (120, 0)])
def test_panels(shade, ink):
    page = paper()
    places = put(page, 60, 30, text(5))
    ImageDraw.Draw(page).rectangle((30, 200, 800, 330), fill=shade)
    places += put(page, 60, 220, text(3, seed=4), ink=ink)
    places += put(page, 60, 370, text(5, seed=5))
    assert in_order(find_layout(page), places)


def test_a_panel_s_edge_is_straight_but_for_holes():
    panel = np.ones((60, 600), bool)
    panel[np.arange(60)[:, None] < np.arange(600) // 60] = False  # it sinks
    assert _is_straight(panel)
    panel[:20, 10:115] = False
    assert _is_straight(panel)
    panel[:20, 115:280] = False
    assert not _is_straight(panel)


def test_typewritten_marks_at_the_end_of_a_line():
    """`!"`, which are strokes far from each other, are no line."""
    page, places = paper(), []
    for number, word in enumerate(["compass", "meadow", "thunder"]):
        x, foot = 60, 100 + 60 * number
        for letter in word:
            put(page, x, foot - 19, [letter])
            x += 15
        pen = ImageDraw.Draw(page)
        pen.rectangle((x + 5, foot - 18, x + 7, foot - 7), fill=0)
        pen.rectangle((x + 5, foot - 4, x + 8, foot), fill=0)
        for quote in (20, 28):
            pen.rectangle((x + quote, foot - 17, x + quote + 4, foot - 9), fill=0)
        places.append((100, foot - 8))
    assert in_order(find_layout(page), places)


def test_a_stroke_alone_is_no_line():
    page = paper()
    places = put(page, 60, 60, text(10))
    for y in (80, 150, 220):
        ImageDraw.Draw(page).rectangle((800, y, 801, y + 15), fill=0)
    assert in_order(find_layout(page), places)


def test_pictures_are_left_out():
    page = paper()
    grain = np.random.default_rng(0).integers(0, 255, (15, 20), dtype=np.uint8)
    page.paste(Image.fromarray(grain).resize((300, 240), Image.Resampling.BICUBIC), (20, 250))
    places = put(page, 60, 40, text(6)) + put(page, 360, 250, text(8, seed=6))
    places += put(page, 60, 520, text(5, seed=7))
    assert in_order(find_layout(page), places)


@pytest.mark.parametrize("angle", [0, 3, 93])
def test_a_picture_alone_is_no_line(angle):
    page = paper(1000, 900)
    scene = np.linspace(60, 170, 12).repeat(45)[:, None].repeat(560, axis=1)
    page.paste(Image.fromarray(scene.astype(np.uint8)), (200, 150))
    with pytest.warns(UserWarning, match="no lines were found on a page that is not blank"):
        assert find_layout(Frame.turned(page.size, -angle).image(page)).lines == ()


def test_shadows_are_no_print():
    """They are hardly darker than paper may be."""
    page = paper(900, 700)
    places = put(page, 80, 60, text(12))
    darkest = ink_level(page)
    for y in range(60, 500, 90):
        ImageDraw.Draw(page).rectangle((700, y, 709, y + 12), fill=darkest - 9)
    assert in_order(find_layout(page), places)


@pytest.mark.parametrize("space", [0, 10])
def test_rows_of_dots_join_what_they_stand_between(space):
    """There are more of them than letters; numbers may be a typewriter's space away."""
    page = paper()
    pen = ImageDraw.Draw(page)
    places = []
    for number, title in enumerate(text(14)):
        y = 60 + 40 * number
        (place,) = put(page, 60, y, [" ".join(title.split()[:3])])
        places.append(place)
        end = round(2 * place[0]) - 60
        first, last = end + 9 + space, end + 9 + space + 26 * 13
        for x in range(first, last, 13):
            pen.rectangle((x, y + 17, x + 3, y + 20), fill=0)
        put(page, last + space, y, [str(3 * number + 20)])
    assert in_order(find_layout(page), places)


def test_edges_of_a_page_in_black_and_white_are_ink():
    """Turned, thin rules of a table keep their grey."""
    page = paper().point(lambda value: 255 * (value > 128))
    pen = ImageDraw.Draw(page)
    places = []
    for row in range(10):
        for column in range(3):
            pen.rectangle(
                (60 + 200 * column, 60 + 40 * row, 260 + 200 * column, 100 + 40 * row), outline=0
            )
            places += put(page, 75 + 200 * column, 68 + 40 * row, [f"cell {row}{column}"])
    frame = Frame.turned(page.size, -3)
    turned = frame.image(page).point(lambda value: 255 * (value > 128))
    there = np.linalg.inv(frame.matrix)
    layout = find_layout(turned)
    assert len(layout.lines) == len(places)
    assert all(
        any(is_inside(line.polygon, (there @ (x, y, 1))[:2]) for line in layout.lines)
        for x, y in places
    )


def test_perspective():
    page = paper()
    middles = put(page, 80, 60, [f"{a} {b}" for a, b in zip(text(16), text(16, 8), strict=True)])
    rows = np.array([[1.0, 0.1, 0], [0.09, 1.0, 0], [1.2e-4, 0, 1]])
    inverse = np.linalg.inv(rows)
    seen = page.transform(
        (900, 800),
        Image.Transform.PERSPECTIVE,
        (inverse / inverse[2, 2]).ravel()[:8].tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=255,
    )
    places = [v[:2] / v[2] for v in (rows @ (x, y, 1) for x, y in middles)]
    assert in_order(find_layout(seen), places)


def test_lines_that_say_the_same():
    """Their letters stand below each other, and look as sharp from the side."""
    page = paper(600, 900)
    put(page, 40, 30, [WORDS[:50]] * 28)
    assert angles_of(shapes_of(np.asarray(page) < 128))[0] == 0
    assert len(find_layout(page).lines) == 28


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3000, 3), (900, 900)])
def test_blank_pages(size):
    for shade in (0, 255):
        assert find_layout(Image.new("L", size, shade)).lines == ()


def test_noise_is_no_print():
    noise = np.random.default_rng(0).integers(0, 256, (600, 500), dtype=np.uint8)
    with pytest.warns(UserWarning, match="no lines were found on a page that is not blank"):
        assert find_layout(Image.fromarray(noise)).lines == ()
    spots = np.where(np.random.default_rng(1).random((600, 500)) < 0.03, 0, 255)
    with pytest.warns(UserWarning, match="no lines were found on a page that is not blank"):
        assert find_layout(Image.fromarray(spots.astype(np.uint8))).lines == ()


def test_paragraphs_and_rules_end_regions():
    boxes = np.array([(0, y, 90, y + 10) for y in (0, 12, 24, 48, 60)])
    feet, high = boxes[:, 3].astype(float), np.full(5, 6.0)
    none = np.zeros((0, 4), int)
    assert regions_of(boxes, feet, high, none) == [[0, 1, 2], [3, 4]]
    assert regions_of(boxes[:3], feet[:3], high[:3], np.array([(0, 22, 90, 23)])) == [[0, 1], [2]]
    assert regions_of(none, feet[:0], high[:0], none) == []


def test_frames_lead_back():
    frame = Frame.turned((200, 100), 90)
    assert frame.size == (100, 200)
    assert np.allclose(frame.to_picture([(0, 0), (100, 0)]), [(200, 0), (200, 100)])
    level = Frame.turned((200, 100), 0).rectified((5000.0, 50.0))
    start, end = level.to_picture([(0, 20), (level.size[0], 20)])
    towards = (5000 - start[0]) / (50 - start[1])
    assert np.isclose((end[0] - start[0]) / (end[1] - start[1]), towards)


@pytest.mark.filterwarnings("ignore:no lines were found")
def test_noise_of_many_shapes_is_looked_at_one_way_up(monkeypatch):
    """Each way takes seconds there, and none of them has lines."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    asked = []

    def confidence(lines):
        asked.append(lines)
        return 0.0

    assert not find_layout(Image.fromarray(noise), confidence).lines
    assert len(asked) > 1
    asked.clear()
    monkeypatch.setattr("mlx_vedec.pages.finding.MANY_SHAPES", 1000)
    assert not find_layout(Image.fromarray(noise), confidence).lines
    assert not asked
