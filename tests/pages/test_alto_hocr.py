"""ALTO and hOCR: units, orders, spaces, words; texts put in and nothing else touched."""

from dataclasses import replace

import pytest

from mlx_vedec.errors import LayoutError
from mlx_vedec.pages.formats import layouts_of, read_document, to_bytes
from mlx_vedec.pages.layout import Alternative, Layout, Word
from mlx_vedec.pages.xml_parsing import parse
from tests.pages.layouts import alto, alto_line, block, canonical


def read(data, picture=None, dpi=None):
    (layout,) = layouts_of(parse(data, "a.xml"), "a.xml", picture, dpi)
    return layout


def with_lines(layout: Layout, *lines) -> Layout:
    return replace(layout, regions=(replace(layout.regions[0], lines=lines),), model="m")


@pytest.mark.parametrize("version", [2, 3, 4])
def test_versions(version):
    layout = read(alto(block("b", alto_line("l")), version=version))
    (line,) = layout.lines
    assert (line.text, line.box, layout.image) == ("tea", (10, 20, 90, 40), "page.png")
    written = to_bytes(with_lines(layout, replace(line, text="rice", words=())), "alto")
    assert read(written).text == "rice"
    assert (b"<Processing ID" in written) == (version == 4)
    assert (b"<OCRProcessing ID" in written) == (version < 4)


@pytest.mark.parametrize(
    "unit, dpi, expected",
    [
        ("pixel", None, (10, 20, 90, 40)),
        ("inch1200", 1200, (10, 20, 90, 40)),
        ("inch1200", 300, (2, 5, 22, 10)),
        ("mm10", 254, (10, 20, 90, 40)),
        ("mm10", 508, (20, 40, 180, 80)),
        ("mm10", None, (12, 24, 106, 47)),  # at 300 dots per inch
    ],
)
def test_units_without_sizes(unit, dpi, expected):
    """Where the page has no size, the image's resolution counts."""
    data = alto(block("b", alto_line("l")), unit=unit, page=" ")
    assert read(data, (400, 300), dpi).lines[0].box == expected


@pytest.mark.parametrize("unit", ["pixel", "mm10", "inch1200"])
def test_units_with_sizes(unit):
    """Where it has one, the two are laid over each other, and words go back in the file's units."""
    layout = read(alto(block("b", alto_line("l")), unit=unit), (1200, 900))
    (line,) = layout.lines
    assert line.box == (30, 60, 270, 120)
    new = replace(
        line, text="a b", words=(Word("a", (30, 60, 90, 120)), Word("b", (91, 60, 270, 120)))
    )
    written = to_bytes(with_lines(layout, new), "alto")
    assert b'HPOS="10" VPOS="20" WIDTH="20" HEIGHT="20" CONTENT="a"' in written
    assert b'HPOS="30.33"' in written


def test_another_unit_is_refused():
    with pytest.raises(LayoutError, match="measures in 'cubit'; expected pixel, mm10, inch1200"):
        read(alto(block("b", alto_line("l")), unit="cubit"))


LINE = '<TextLine ID="l">{}</TextLine>'.format


@pytest.mark.parametrize(
    "inner, text",
    [
        ('<String CONTENT="a"/><SP/><String CONTENT="b"/><String CONTENT="."/>', "a b."),
        ('<String CONTENT="a"/><String CONTENT="b"/>', "a b"),
        ('<String CONTENT="a"/><SP/><String CONTENT="be"/><HYP CONTENT="-"/>', "a be-"),
        ('<String CONTENT="be"/><HYP/>', "be-"),
        ('<String CONTENT=""/>', ""),
        ("", ""),
    ],
)
def test_spaces(inner, text):
    assert read(alto(block("b", LINE(inner)))).lines[0].text == text


def test_baselines():
    for said, expected in [
        ("35", ((10, 35), (90, 35))),
        ("10,30 90,33", ((10, 30), (90, 33))),
        ("10 30 50 32 90 33", ((10, 30), (50, 32), (90, 33))),
    ]:
        line = alto_line("l").replace("<TextLine", f'<TextLine BASELINE="{said}"')
        assert read(alto(block("b", line))).lines[0].baseline == expected


def test_a_baseline_is_a_height():
    """On an image that is a little flatter than the page, down has a scale of its own."""
    line = alto_line("l").replace("<TextLine", '<TextLine BASELINE="100"')
    layout = read(alto(block("b", line)), (800, 585))
    assert {y for _, y in layout.lines[0].baseline} == {195}


def ordered(*refs: str, name: str = "g", more: str = "") -> str:
    inner = "".join(f'<ElementRef ID="{name}{i}" REF="{ref}"/>' for i, ref in enumerate(refs))
    return f'<OrderedGroup ID="{name}" {more}>{inner}</OrderedGroup>'


ORDERS = {
    "missing": ("", "xyz"),
    "blocks": (ordered("c", "b"), "zxy"),
    "lines": (ordered("y", "z x"), "yzx"),
    "strings": (ordered("s_z", "s_y"), "zyx"),
    "nested": (
        '<UnorderedGroup ID="u">' + ordered("y", more='REF="c"') + "</UnorderedGroup>",
        "zyx",
    ),
    "two ways": (ordered("c") + ordered("y", name="h"), "zxy"),
    "block with a line elsewhere": (ordered("b", "c", "x"), "yzx"),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_reading_order(kind):
    order, expected = ORDERS[kind]
    lines = [alto_line(name).replace("<String", f'<String ID="s_{name}"') for name in "xyz"]
    order = f"<ReadingOrder>{order}</ReadingOrder>" if order else ""
    layout = read(alto(block("b", *lines[:2]) + block("c", lines[2]), order=order))
    assert [line.id for line in layout.lines] == [*expected]


def test_next_blocks():
    a, b, c = (alto_line(name) for name in "xyz")
    blocks = block("a", a, more='IDNEXT="c"') + block("b", b) + block("c", c)
    assert [line.id for line in read(alto(blocks)).lines] == ["x", "z", "y"]
    circle = block("a", a, more='IDNEXT="b"') + block("b", b, more='IDNEXT="a"')
    assert [line.id for line in read(alto(circle)).lines] == ["x", "y"]


def test_alternatives_stand_at_their_words():
    layout = read(alto(block("b", alto_line("l"))))
    words = (Word("a", (0, 0, 5, 5)), Word("b", (6, 0, 9, 5)))
    line = replace(
        layout.lines[0],
        text="a b",
        words=words,
        alternatives=(Alternative("a d"), Alternative("ab")),
    )
    written = to_bytes(with_lines(layout, line), "alto")
    assert b"<ALTERNATIVE>d</ALTERNATIVE>" in written
    assert b'<ALTERNATIVE PURPOSE="line">ab</ALTERNATIVE>' in written
    assert {a.text for a in read(written).lines[0].alternatives} == {"a d", "ab"}


@pytest.mark.parametrize("name", ["kant_0017.alto.xml", "bsb00084914_00007.alto.xml"])
def test_only_texts_change_in_real_files(name, shared):
    path = shared / "pages" / name
    (layout,) = layouts_of(read_document(path), name)
    regions = tuple(
        replace(r, lines=tuple(replace(x, text="new " + x.text, words=()) for x in r.lines))
        for r in layout.regions
    )
    written = to_bytes(replace(layout, regions=regions, model="m"), "alto")
    ids, refs = references(written)
    assert refs <= ids and (len(refs) > 20) == ("bsb" in name)
    (again,) = layouts_of(parse(written, name), name)
    assert [line.text for line in again.lines] == ["new " + line.text for line in layout.lines]
    assert stripped(written) == stripped(path.read_bytes())


def references(data):
    """The ids of a file, and those that its reading order names."""
    attributes = [element.attributes for element in parse(data, "x").root.below()]
    refs = {name for a in attributes for name in a.get("REF", "").split()}
    return {a["ID"] for a in attributes if "ID" in a}, refs


def stripped(data):
    root = parse(data, "x")
    for element in list(root.root.below()):
        if "o_str" in element.attributes.get("ID", ""):  # references to strings
            del element.attributes["REF"]
        for child in element.all("String", "SP", "HYP", "Processing", "OCRProcessing"):
            element.remove(child)
    return canonical(root.to_bytes())


# hOCR

HOCR = b"""<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><!-- kept --><body>
<div class="ocr_page" title='image "a; b.png"; bbox 0 0 400 300; ppageno 0'>
 <div class="ocr_carea" title="bbox 0 0 100 100"><p class="ocr_par" id="p1">
  <span class="ocr_line" id="l1" title="bbox 10 10 90 30; baseline 0.01 -4; x_size 20">
   <span class="ocrx_word" title="bbox 10 10 40 30; x_wconf 91">Tea</span>
   <span class="ocrx_word" title="bbox 45 10 90 30; x_wconf 51"><strong>ri</strong>ce</span></span>
  <span class="ocr_header" title="bbox 10 40 90 60">a  plain
  line</span></p></div>
 <span class="ocrx_line" title="poly 10 70 90 70 90 90 10 90">outside</span>
</div></body></html>"""


def test_hocr():
    layout = read(HOCR)
    assert layout.image == "a; b.png" and layout.size == (400, 300)
    assert layout.text == "Tea rice\na plain line\n\noutside"
    first, _, last = layout.lines
    assert first.words[1] == Word("rice", (45, 10, 90, 30), 0.51)
    assert first.baseline == ((10, 26), (90, 27))
    assert last.box == (10, 70, 90, 90) and len(last.polygon) == 4
    assert canonical(to_bytes(layout, "hocr")) == canonical(HOCR)


def test_texts_into_hocr():
    layout = read(HOCR)
    new = replace(
        layout.lines[0],
        text="x y",
        words=(Word("x", (10, 10, 20, 30), 0.5), Word("y", (30, 10, 40, 30))),
    )
    region = replace(layout.regions[0], lines=(new, layout.lines[1]))
    written = to_bytes(replace(layout, regions=(region, layout.regions[1])), "hocr")
    assert read(written).text == "x y\na plain line\n\noutside"
    assert b"x_wconf 50" in written and b"<!-- kept -->" in written and b"x_size 20" in written


def test_pages_of_one_file():
    """Of several pages in a file, each is its own layout."""
    two = HOCR.replace(b"</body>", b'<div class="ocr_page" title="image c.png"/></body>')
    assert [x.image for x in layouts_of(parse(two, "a"), "a")] == ["a; b.png", "c.png"]


def test_references_to_strings_that_are_gone():
    """They lead to the string that stands for them, so that the file stays valid."""
    strings = "".join(f'<String ID="{name}" CONTENT="{name}" STYLEREFS="f"/>' for name in "pqr")
    order = f"<ReadingOrder>{ordered('r', 'p')}</ReadingOrder>"
    layout = read(alto(block("b", LINE(strings)), order=order))
    line = replace(layout.lines[0], text="one text", words=())
    written = to_bytes(with_lines(layout, line), "alto").decode()
    assert written.count('REF="p"') == 2 and 'REF="r"' not in written
    assert 'ID="p" STYLEREFS="f"' in written
