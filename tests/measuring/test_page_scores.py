"""Scores of pages: overlap of polygons, which lines were found, their order, the whole text."""

import math

import pytest
from hypothesis import given, strategies as st

from mlx_vedec.measuring.page_scores import iou, line_f1, matched_lines, score_page
from mlx_vedec.pages.layout import Layout, Line, Region, corners
from mlx_vedec.text.error_rates import Share

sides = st.integers(1, 300)
places = st.integers(-50, 50)


def box(left, top, width, height):
    return corners((left, top, left + width, top + height))


def page(*lines):
    """A page of (text, box) lines."""
    return Layout((Region(tuple(Line(text, box=(*b,)) for text, b in lines)),))


THREE = [("one tea", (0, 0, 100, 20)), ("two", (0, 30, 100, 50)), ("three", (0, 60, 100, 80))]


@given(places, places, sides, sides)
def test_iou_of_boxes(x, y, width, height):
    a, b = box(0, 0, 60, 30), box(x, y, width, height)
    across = max(min(60, x + width) - max(0, x), 0)
    down = max(min(30, y + height) - max(0, y), 0)
    shared = across * down
    wanted = shared / (60 * 30 + width * height - shared)
    assert iou(a, b) == pytest.approx(wanted, abs=0.04)
    assert iou(a, b) == iou(b, a)
    assert iou(b, b) == 1


def test_iou_of_what_is_no_box():
    slanted = ((0, 0), (100, 100), (100, 110), (0, 10))
    assert iou(slanted, box(0, 0, 100, 110)) == pytest.approx(1000 / 11000, abs=0.01)
    bent = ((0, 0), (50, 20), (100, 0), (100, 10), (50, 30), (0, 10))  # not convex
    assert iou(bent, box(0, 0, 100, 30)) == pytest.approx(1 / 3, abs=0.01)
    assert iou(bent, tuple(reversed(bent))) == 1
    assert iou(((0, 0), (9, 9)), box(0, 0, 9, 9)) == 0  # without an area
    assert iou(((3, 3), (3, 3)), ((3, 3), (3, 3))) == 0


def test_a_line_that_is_cut_or_joined_or_off_is_not_found():
    true = page(*THREE)
    assert len(matched_lines(true.lines, true.lines)) == 3
    halves = page(("one", (0, 0, 49, 20)), ("tea", (51, 0, 100, 20)), *THREE[1:])
    assert matched_lines(halves.lines, true.lines) == [(2, 1), (3, 2)]
    joined = page(("one tea two", (0, 0, 100, 50)), THREE[2])
    assert matched_lines(joined.lines, true.lines) == [(1, 2)]
    off = page(*((text, (b[0], b[1] + 8, b[2], b[3] + 8)) for text, b in THREE))
    assert matched_lines(off.lines, true.lines) == []  # 12 / 28 of the two is common


def test_each_line_counts_once():
    true = page(*THREE)
    twice = page(*THREE, ("one tea", (0, 0, 100, 21)))
    assert matched_lines(twice.lines, true.lines) == [(0, 0), (1, 1), (2, 2)]
    found = score_page(twice, true)
    assert found.line_f1 == Share(6, 7) and (found.found, found.true) == (4, 3)


def test_text_is_compared_as_a_whole_in_its_order():
    true = page(*THREE)
    halves = page(("one", (0, 0, 49, 20)), ("tea", (51, 0, 100, 20)), *THREE[1:])
    assert score_page(halves, true).cer == Share(0, len("one tea two three"))
    assert score_page(page(THREE[0], THREE[2], THREE[1]), true).cer.part > 0
    assert score_page(page(*THREE[:2]), true).cer.part == len(" three")


def test_reading_order():
    true = page(*THREE)
    assert score_page(true, true).reading_order.ratio == 1
    assert score_page(page(*reversed(THREE)), true).reading_order == Share(0, 3)
    assert score_page(page(THREE[0], THREE[2], THREE[1]), true).reading_order == Share(2, 3)
    assert score_page(page(THREE[0]), true).reading_order.ratio == 1  # nothing is out of order
    assert score_page(page(), true).reading_order.ratio == 0  # nor is anything in order
    assert score_page(page(), page()).reading_order.ratio == 1


def test_empty_pages():
    empty = Layout()
    assert score_page(empty, empty).line_f1.ratio == 1
    assert score_page(empty, empty).cer == Share(0, 0)
    assert score_page(page(*THREE), empty).line_f1.ratio == 0
    assert score_page(empty, page(*THREE)).cer.ratio == 1
    assert math.isclose(line_f1(3, 4, 6).ratio, 2 / (4 / 3 + 6 / 3))
