"""A line's image: masked by its outline, straightened along its baseline, and the way back."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlx_vedec.errors import LayoutError
from mlx_vedec.pages.layout import Line
from mlx_vedec.pages.strips import cut
from tests.pages.layouts import FONT, printed

TEXT = "Straight as a line"


def strip_of(page, polygon, baseline=()):
    return cut(page, Line(polygon=tuple(polygon), baseline=tuple(baseline)))


def upright():
    """The text on a white strip of 300 by 40, its baseline at 30."""
    image = Image.new("RGB", (300, 40), "white")
    ImageDraw.Draw(image).text((10, 30), TEXT, "black", FONT, anchor="ls")
    return image


def difference(one, other):
    """Mean difference of grey levels, the second resized where rounding made it larger."""
    size = one.size
    arrays = [np.asarray(i.resize(size).convert("L"), float) for i in (one, other)]
    return float(np.abs(arrays[0] - arrays[1]).mean())


def on_page(angle, size=(600, 600), at=(300, 300)):
    """The text turned about a place of the page, with its outline and its baseline."""
    page = Image.new("RGB", size, "white")
    page.paste(upright(), (at[0], at[1] - 30))
    page = page.rotate(angle, Image.Resampling.BICUBIC, center=at, fillcolor="white")
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def turned(x, y):
        return round(at[0] + c * x + s * y), round(at[1] - s * x + c * y)

    outline = [turned(*p) for p in ((0, -30), (300, -30), (300, 10), (0, 10))]
    return page, outline, [turned(0, 0), turned(300, 0)]


def test_level_lines_are_cut_as_they_are():
    page = printed("one", "two")
    strip = strip_of(page, [(10, 10), (200, 10), (200, 45), (10, 45)], [(10, 38), (200, 38)])
    assert np.array_equal(np.asarray(strip.image), np.asarray(page.crop((10, 10, 200, 45))))
    assert strip.to_page((5, 3, 50, 20)) == (15, 13, 60, 30)


def test_what_is_outside_becomes_paper():
    page = Image.new("RGB", (100, 60), (240, 230, 220))
    ImageDraw.Draw(page).rectangle((40, 30, 60, 50), fill="black")
    strip = strip_of(page, [(10, 10), (90, 10), (90, 25), (10, 55)], [(10, 55), (90, 55)])
    pixels = np.asarray(strip.image)
    assert tuple(pixels[-1, -1]) == (240, 230, 220)
    assert pixels[22, 32].tolist() == [0, 0, 0] and pixels[35, 45].tolist() == [240, 230, 220]


@pytest.mark.parametrize("angle", [5, -12, 30, 90, 180, -90])
def test_turned_lines_are_straightened(angle):
    page, outline, baseline = on_page(angle)
    strip = strip_of(page, outline, baseline)
    assert abs(strip.image.width - 300) <= 2 and abs(strip.image.height - 40) <= 2
    assert difference(upright(), strip.image) < 9
    assert difference(upright(), Image.new("RGB", (300, 40), "white")) > 13


@pytest.mark.parametrize("angle", [5, -12, 90])
def test_places_lead_back(angle):
    """The box of the strip's ink, on the page, is around the page's ink."""
    page, outline, baseline = on_page(angle)
    strip = strip_of(page, outline, baseline)
    dark = np.argwhere(np.asarray(strip.image.convert("L")) < 128)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0) + 1
    found = strip.to_page((int(left), int(top), int(right), int(bottom)))
    ink = np.argwhere(np.asarray(page.convert("L")) < 128)
    (y, x), (v, u) = ink.min(axis=0), ink.max(axis=0) + 1
    room = 2 + abs(math.sin(math.radians(angle))) * 40  # a turned box is larger than its ink
    for got, exact in zip(found, (x, y, u, v), strict=True):
        assert abs(got - exact) <= room


def test_curved_lines_are_straightened():
    """Print along an arc: its rows of ink are as few as when it was straight."""
    flat = np.asarray(upright().convert("L"))
    page = np.full((200, 340), 255, np.uint8)
    arc = [round(60 * math.sin(math.pi * x / 300)) for x in range(300)]
    for x in range(300):
        page[100 - arc[x] : 140 - arc[x], 20 + x] = flat[:, x]
    image = Image.fromarray(page).convert("RGB")
    tops = [(20 + x, 100 - arc[x]) for x in range(0, 300, 10)]
    ends = [(20 + x, 140 - arc[x]) for x in range(290, -1, -10)]
    baseline = [(x, y + 30) for x, y in tops]
    strip = strip_of(image, [*tops, *ends], baseline)
    dark = np.flatnonzero((np.asarray(strip.image.convert("L")) < 128).any(axis=1))
    assert dark[-1] - dark[0] <= 32  # 21 straight, 81 on the page


def test_baselines_drawn_backwards():
    """From right to left, as for scripts that run so: the outline says where the top is."""
    page, outline, baseline = on_page(3)
    forwards, backwards = strip_of(page, outline, baseline), strip_of(page, outline, baseline[::-1])
    assert difference(forwards.image, backwards.image) < 3


def test_lines_without_baselines():
    """Of four corners, the lower of the long sides stands in for one."""
    page, outline, baseline = on_page(8)
    assert difference(strip_of(page, outline, baseline).image, strip_of(page, outline).image) < 3
    box = Line(box=(10, 10, 60, 40))
    assert cut(page, box).image.size == (50, 30)


def test_lines_that_reach_out_of_the_page():
    page = printed("one")
    strip = strip_of(page, [(-50, -10), (900, -10), (900, 40), (-50, 40)])
    assert strip.image.size == (400, 40)
    strip = strip_of(page, [(-50, 5), (900, 60), (900, 110), (-50, 55)], [(-50, 45), (900, 100)])
    assert strip.image.height >= 50 and strip.to_page((0, 0, 5, 5))[:2] == (0, 5)


@pytest.mark.parametrize(
    "polygon, said",
    [
        ([(1, 1), (50, 50)], "outline of 2 points"),
        ([(1, 1), (50, 50), (1, 1)], "outline of 2 points"),
        ([(1, 1), (50, 50), (99, 99)], "without an area"),
        ([(10, 10), (60, 10), (60, 10), (10, 10)], "outline of 2 points"),
        ([(500, 10), (600, 10), (600, 40), (500, 40)], "outside the page of 400x300"),
        ([(10, -40), (60, -40), (60, 0), (10, 0)], "outside the page"),
        ([], "outline of 0 points"),
    ],
)
def test_outlines_of_nothing(polygon, said):
    with pytest.raises(LayoutError, match=f"line l7 .*{said}"):
        cut(printed("one"), Line(polygon=tuple(polygon), id="l7"))


def test_baselines_that_wind_for_ever_are_refused():
    page = Image.new("RGB", (400, 300))
    outline = ((0, 0), (400, 0), (400, 300), (0, 300))
    winding = tuple((390 * (i % 2), i % 300) for i in range(1000))
    with pytest.raises(LayoutError, match="pixels long along its baseline"):
        cut(page, Line(polygon=outline, baseline=winding))
    slanted = Line(polygon=outline * 2001, baseline=((10, 100), (390, 140)))
    assert cut(page, slanted).image.width > 300
