"""Pages read with the bundled model: found lines, given lines, many pages, what goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mlx_vedec.errors import ImageError, LayoutError, OptionError
from mlx_vedec.pages.layout import Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.reading import joined, read_page, read_pages
from mlx_vedec.reading.load import load
from mlx_vedec.reading.results import GenerationResult
from tests.pages.layouts import (
    alto,
    alto_line,
    as_bytes,
    block,
    page_xml,
    printed,
    text_line,
    text_region,
)

ONE, TWO = "Tea for two", "and rice"


@pytest.fixture(scope="module")
def reader():
    return load()


@pytest.fixture
def scan(tmp_path):
    """A page of two lines on disk."""
    printed(ONE, TWO).save(tmp_path / "page.png")
    return tmp_path / "page.png"


def layout_of_two(first="15,12 200,12 200,45 15,45", second="15,46 200,46 200,80 15,80"):
    return page_xml(text_region("r", text_line("a", first), text_line("b", second)))


def texts(page):
    return [line.text for line in page.lines]


def test_lines_are_found(reader, scan):
    page = read_page(*reader, scan)
    assert texts(page) == [ONE, TWO] and page.text == f"{ONE}\n{TWO}"
    assert page.size == (400, 300) and page.image == "page.png"
    line = page.lines[0]
    assert line.confidence > 0.9 and [word.text for word in line.words] == ONE.split()
    for word in line.words:
        assert line.box[0] <= word.box[0] < word.box[2] <= line.box[2]
    assert line.result.tokens and line.result.box == line.box
    assert page.model == "vit + trocr" or page.model


def test_lines_are_given(reader, scan):
    (scan.parent / "page.xml").write_bytes(layout_of_two())
    page = read_page(*reader, scan)
    assert texts(page) == [ONE, TWO] and [line.id for line in page.lines] == ["a", "b"]
    assert page.lines[0].box == (15, 12, 200, 45)
    word = page.lines[0].words[0]
    assert 12 <= word.box[0] <= 24 and 45 <= word.box[2] <= 75
    assert texts(read_page(*reader, scan, layout=False)) == [ONE, TWO]


def test_the_order_is_the_layouts(reader, scan):
    data = layout_of_two().replace(b'"a"', b'"x"').replace(b"<TextRegion", b"<TextRegion", 1)
    data = data.replace(b'<TextLine id="x"', b'<TextLine index="2" id="x"')
    data = data.replace(b'<TextLine id="b"', b'<TextLine index="1" id="b"')
    (scan.parent / "other.xml").write_bytes(data)
    assert texts(read_page(*reader, scan, layout=scan.parent / "other.xml")) == [TWO, ONE]


@pytest.mark.parametrize("angle", [10, 90])
def test_turned_lines_are_read_along_their_baselines(reader, scan, angle):
    """A page that no line finder of straight lines could read."""
    import math

    page = printed(*[""] * 6, ONE, size=(500, 500)).rotate(
        angle, Image.Resampling.BICUBIC, center=(250, 250), fillcolor="white"
    )
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def turned(x, y):
        x, y = x - 250, y - 250
        return f"{round(250 + c * x + s * y)},{round(250 - s * x + c * y)}"

    points = " ".join(turned(*p) for p in ((15, 216), (200, 216), (200, 249), (15, 249)))
    baseline = f'<Baseline points="{turned(15, 240)} {turned(200, 240)}"/>'
    data = page_xml(text_region("r", text_line("a", points, baseline)))
    data = data.replace(b'"400"', b'"500"').replace(b'"300"', b'"500"')
    (scan.parent / "turned.xml").write_bytes(data)
    read = read_page(*reader, page, layout=scan.parent / "turned.xml")
    assert read.text == ONE
    word = read.lines[0].words[-1]
    x, y = map(int, turned(110, 232).split(","))
    assert word.box[0] - 25 <= x <= word.box[2] + 25 and word.box[1] - 25 <= y <= word.box[3] + 25


def test_one_bad_line_costs_one_line(reader, scan):
    (scan.parent / "page.xml").write_bytes(layout_of_two(first="15,12 200,12"))
    page = read_page(*reader, scan)
    assert texts(page) == ["", TWO]
    assert "outline of 2 points" in str(page.lines[0].error)
    assert (
        "outline of 2 points"
        in json.loads(page.to_bytes("json"))["regions"][0]["lines"][0]["error"]
    )


def test_a_layout_without_lines(reader, scan):
    (scan.parent / "page.xml").write_bytes(page_xml(""))
    page = read_page(*reader, scan)
    assert (page.lines, page.text, page.error) == ((), "", None)


def test_blank_lines_and_pages(reader, scan):
    Image.new("RGB", (400, 300), "white").save(scan)
    assert read_page(*reader, scan).lines == ()
    (scan.parent / "page.xml").write_bytes(layout_of_two())
    page = read_page(*reader, scan)
    assert texts(page) == ["", ""] and page.lines[0].error is None


def test_alternatives(reader, scan):
    page = read_page(*reader, scan, num_beams=2, num_return_sequences=2)
    assert all(len(line.alternatives) == 1 for line in page.lines)
    assert all(line.alternatives[0].text != line.text for line in page.lines)


def test_alternatives_of_lines_in_pieces():
    def part(text, logprob, *others):
        result = GenerationResult(text=text, tokens=(1,), token_logprobs=(logprob,))
        return replace(result, alternatives=tuple(part(*other) for other in others))

    whole = joined([part("a", -0.1, ("A", -1.0)), part("b", -0.1, ("B", -0.5))])
    assert whole.text == "a b" and whole.score == pytest.approx(-0.1)
    assert [other.text for other in whole.alternatives] == ["a B"]  # as many as a piece has


@pytest.mark.slow
def test_many_pages_are_one_stream(reader, scan, monkeypatch):
    """Lines of several pages are decoded beside each other, and the pages come in order."""
    from mlx_vedec.pages import reading

    sizes = []
    real = reading.batch_generate

    def counted(model, processor, images, *args, **options):
        images = list(images)
        sizes.append(len(images))
        return real(model, processor, images, *args, **options)

    pages = [printed(*(f"line {n} of {k}" for n in range(k))) for k in (2, 0, 1, 3)]
    monkeypatch.setattr(reading, "batch_generate", counted)
    read = list(
        read_pages(*reader, [pages[0], b"no image", *pages[1:]], layouts=False, boxes=False)
    )
    assert sizes == [1, 1, 6]  # the line that is alone may be upside down: it is read both ways
    assert [len(page.lines) for page in read] == [2, 0, 0, 1, 3]
    assert [page.error is None for page in read] == [True, False, True, True, True]
    singles = [read_page(*reader, page, layout=False, boxes=False) for page in pages]
    assert [page.text for page in read if page.error is None] == [page.text for page in singles]


def test_pages_come_while_others_wait(reader, scan):
    """The first page is there before the last image is looked at."""
    seen = []

    def images():
        for number in range(30):
            seen.append(number)
            yield scan

    pages = read_pages(*reader, images(), layouts=False, boxes=False, batch_size=2)
    assert next(pages).text == f"{ONE}\n{TWO}"
    assert len(seen) < 10


def test_no_pages_at_all(reader):
    assert list(read_pages(*reader, [])) == []
    assert [p.error is None for p in read_pages(*reader, [b"x"])] == [False]


def test_layouts_for_each_image(reader, scan):
    layout = Page(regions=(Region((Line(box=(15, 46, 200, 80)),)),), size=(400, 300))
    pages = list(read_pages(*reader, [scan, scan], layouts=[layout, False]))
    assert [page.text for page in pages] == [TWO, f"{ONE}\n{TWO}"]


def test_a_layout_in_other_units(reader, scan):
    """ALTO in tenths of millimetres, on an image twice as large as its numbers."""
    place = 'HPOS="30" VPOS="92" WIDTH="370" HEIGHT="68"'
    data = alto(
        block("b", alto_line("l", place=place)), unit="mm10", page='WIDTH="800" HEIGHT="600"'
    )
    (scan.parent / "page.xml").write_bytes(data)
    assert read_page(*reader, scan).text == TWO


def test_prompts_are_for_whole_pages(reader, scan):
    with pytest.raises(OptionError, match="whole pages"):
        list(read_pages(*reader, [scan], prompt="x"))


def test_read_page_raises(reader, scan, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_page(*reader, tmp_path / "none.png")
    (scan.parent / "page.xml").write_bytes(b"<a>")
    with pytest.raises(LayoutError, match="well-formed"):
        read_page(*reader, scan)


@pytest.mark.slow
def test_tiffs_of_many_pages(reader, tmp_path):
    pages = [printed(ONE), printed(TWO).convert("1"), printed("three")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    read = list(read_pages(*reader, tmp_path / "a.tif"))
    assert [page.text for page in read] == [ONE, TWO, "three"]
    assert read[2].name.endswith("a.tif page 3")
    with pytest.raises(OptionError, match="several pages; expected one; use read_pages"):
        read_page(*reader, tmp_path / "a.tif")


@pytest.mark.slow
def test_arrays_and_bytes(reader):
    image = printed(ONE)
    for source in (image, np.asarray(image), as_bytes(image)):
        assert read_page(*reader, source).text == ONE


def test_what_was_read_goes_into_the_file(reader, scan):
    (scan.parent / "page.xml").write_bytes(layout_of_two())
    page = read_page(*reader, scan)
    page.save(scan.parent / "out.xml")
    again = Page.from_file(scan.parent / "out.xml")
    assert texts(again) == [ONE, TWO] and [line.id for line in again.lines] == ["a", "b"]
    assert [w.box for w in again.lines[0].words] == [w.box for w in page.lines[0].words]
    page.save(scan.parent / "out.alto.xml", format="alto")
    assert Page.from_file(scan.parent / "out.alto.xml").text == page.text
