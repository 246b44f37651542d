"""The committed pages with known lines: whole, what the script says, and found by the finder."""

import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.images.loading import load_image
from mlx_vedec.measuring.page_evaluation import evaluate_pages, page_sheets
from mlx_vedec.measuring.page_scores import score_page
from mlx_vedec.pages.finding import find_layout
from mlx_vedec.pages.layout import box_around
from mlx_vedec.pages.page import Page
from mlx_vedec.text.error_rates import total
from tests.conftest import DATA
from tests.page_set.disturbances import DISTURBANCES
from tests.page_set.layouts import LAYOUTS
from tests.page_set.making import Plan, made, plans
from tests.page_set.typefaces import Typeface
from tests.support.readers import reads_again
from tests.support.sampled import one_in

PAGES = DATA / "pages"
SEED, COUNT = 18, 54  # that the committed pages were made with
FEW = (  # of the layouts and disturbances, on small pictures
    "spread-skew_15",
    "light_on_dark-uneven_light_skew",
    "three_columns-noise_skew",
    "boxed-turn_180_skew",
    "verse-turn_90_skew",
    "two_columns-photograph",
    "nothing-bilevel_skew",
)
READ = ("few_lines-skew_10", "few_lines-uneven_light", "title_page-crease")
TRUTHS = sorted(PAGES.glob("*.xml"))


def plan(layout, disturbance="clean", seed=3):
    return Plan("a", layout, disturbance, "none", 80, 4.5, 4.0, 11.0, seed)


@pytest.fixture
def built_in_type(monkeypatch):
    """Pillow's own typeface in place of those that are fetched."""

    def font(face, size, *, bold=False, italic=False):
        return ImageFont.load_default(size)

    monkeypatch.setattr(Typeface, "font", font)


def test_every_page_has_its_truth():
    pictures = {path.stem for path in PAGES.iterdir() if path.suffix in (".png", ".jpg")}
    assert pictures == {path.stem for path in TRUTHS} == {p.name for p in plans(SEED, COUNT)}
    assert sum(path.stat().st_size for path in PAGES.iterdir()) < 6e6
    _, layouts, disturbances = zip(*(name.split("-") for name in pictures), strict=True)
    assert {*layouts} == {*LAYOUTS} and {*disturbances} == {*DISTURBANCES}


@pytest.mark.parametrize("path", TRUTHS, ids=lambda path: path.stem)
def test_texts_are_ascii_and_lines_are_on_the_page(path):
    page = Page.from_file(path)
    with Image.open(PAGES / page.image) as picture:
        width, height = picture.size
        assert page.size == picture.size and picture.mode == "L"
    assert set(page.text) <= {*string.printable}
    assert all(line.text.strip() and len(line.baseline) == 2 for line in page.lines)
    points = [point for line in page.lines for point in line.polygon]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


@pytest.mark.parametrize("layout", one_in(6, LAYOUTS))
def test_a_seed_makes_a_page_again(layout, built_in_type):
    page, data = made(plan(layout), Path())
    again, same = made(plan(layout), Path())
    assert (page.regions, data) == (again.regions, same)
    assert made(plan(layout, seed=4), Path())[0].text != page.text or layout == "nothing"
    assert bool(page.lines) == (layout != "nothing")


@pytest.mark.parametrize(
    "disturbance",
    ["clean", "skew_15", "turn_90", "turn_180", "turn_270", "turn_90_skew", "turn_180_skew"],
)
def test_ink_is_inside_the_true_lines(disturbance, built_in_type):
    page, _ = made(plan("two_columns", disturbance), Path())
    assert page.picture is not None
    ink = np.asarray(page.picture.convert("L")) < 60
    inside = Image.new("1", page.size)
    for line in page.lines:
        ImageDraw.Draw(inside).polygon(line.polygon, 1)
    assert ink.sum() > 1000
    assert (ink & np.asarray(inside)).sum() > 0.99 * ink.sum()
    assert np.asarray(inside).mean() < 0.6


def test_a_photograph_keeps_its_lines_in_place(built_in_type):
    page, _ = made(plan("one_column", "photograph"), Path())
    assert page.picture is not None
    grey = np.asarray(page.picture.convert("L"), float)
    edges = np.abs(np.diff(grey, axis=1)) > 30
    inside = Image.new("1", page.size)
    for line in page.lines:
        ImageDraw.Draw(inside).polygon(line.polygon, 1)
    left, top, right, bottom = box_around(p for line in page.lines for p in line.polygon)
    text = np.s_[top:bottom, left : right - 1]  # without the edges of the paper
    assert edges[text].sum() > 1000
    assert (edges & np.asarray(inside)[:, 1:])[text].sum() > 0.95 * edges[text].sum()


# The finder on these pages


def scores(path):
    """How the lines that are found on a page compare with the true ones; nothing is read."""
    true = Page.from_file(path)
    return score_page(find_layout(load_image(PAGES / true.image)), true)


@pytest.mark.parametrize("name", FEW)
def test_lines_are_found(name):
    [path] = PAGES.glob(f"*{name}*.xml")
    found = scores(path)
    assert found.line_f1.ratio > 0.96
    assert found.reading_order.ratio == 1


@pytest.mark.slow
def test_what_is_found_is_read():
    """From found lines as well as from true ones, on a page that is turned and one that is not."""
    sheets = [sheet for sheet in page_sheets(PAGES) if sheet.stem.endswith(READ)]
    found = evaluate_pages(*reads_again(), sheets, bootstrap=0)
    assert len(sheets) == len(READ)
    assert found.metrics["line_f1"].value == found.metrics["reading_order"].value == 1
    assert found.metrics["cer"].value < found.metrics["true_lines_cer"].value + 0.01 < 0.04


@pytest.mark.slow
def test_all_lines_are_found():
    shares = [scores(path).line_f1 for path in TRUTHS]
    assert total("line_f1", shares) > 0.98
