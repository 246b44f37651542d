"""PAGE: every version read, its reading order followed, texts put in and nothing else touched."""

from dataclasses import replace

import pytest
from PIL import Image

from mlx_vedec.errors import ImageError, LayoutError
from mlx_vedec.pages.formats import layouts_of, read_document, to_bytes
from mlx_vedec.pages.layout import Alternative, Word
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.strips import cut
from mlx_vedec.pages.xml_parsing import parse
from tests.pages.layouts import canonical, page_xml, text_line, text_region


def read(data, picture=None):
    (layout,) = layouts_of(parse(data, "page.xml"), "page.xml", picture)
    return layout


def ids(layout):
    return [region.id for region in layout.regions]


ORDERS = {
    "missing": ("", "abc"),
    "ordered": (
        '<OrderedGroup id="g"><RegionRefIndexed index="2" regionRef="a"/>'
        '<RegionRefIndexed index="10" regionRef="b"/><RegionRefIndexed index="0" regionRef="c"/>'
        "</OrderedGroup>",
        "cab",
    ),
    "unordered": (
        '<UnorderedGroup id="g"><RegionRef regionRef="b"/><RegionRef regionRef="a"/>'
        '<RegionRef regionRef="c"/></UnorderedGroup>',
        "bac",
    ),
    "nested": (
        '<OrderedGroup id="g"><RegionRefIndexed index="1" regionRef="a"/>'
        '<UnorderedGroupIndexed id="h" index="0"><OrderedGroup id="i">'
        '<RegionRefIndexed index="1" regionRef="b"/><RegionRefIndexed index="0" regionRef="c"/>'
        "</OrderedGroup></UnorderedGroupIndexed></OrderedGroup>",
        "cba",
    ),
    "partly": (
        '<OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="c"/></OrderedGroup>',
        "cab",
    ),
    "to nothing": (
        '<OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="nowhere"/>'
        '<RegionRefIndexed index="1" regionRef="b"/></OrderedGroup>',
        "bac",
    ),
    "twice": (
        '<OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="b"/>'
        '<RegionRefIndexed index="1" regionRef="a"/><RegionRefIndexed index="2" regionRef="b"/>'
        "</OrderedGroup>",
        "bac",
    ),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_reading_order(kind):
    order, expected = ORDERS[kind]
    holder = f"<ReadingOrder>{order}</ReadingOrder>" if order else ""
    layout = read(page_xml(holder + "".join(map(text_region, "abc"))))
    assert ids(layout) == [*expected]


def test_order_noted_in_custom():
    """Transkribus notes the order in each region and line."""
    note = 'custom="readingOrder {{index:{};}} structure {{type:heading;}}"'.format
    one, two = (
        text_line(name).replace("<TextLine", f"<TextLine {note(i)}")
        for name, i in (("x", 1), ("y", 0))
    )
    layout = read(
        page_xml(text_region("a", one, two, more=note(1)) + text_region("b", more=note(0)))
    )
    assert ids(layout) == ["b", "a"]
    assert [line.id for line in layout.regions[1].lines] == ["y", "x"]
    assert layout.regions[0].kind == "heading"


def test_regions_inside_regions():
    inner = text_region("inner")
    layout = read(page_xml(text_region("outer", inner=inner) + text_region("last")))
    assert ids(layout) == ["outer", "inner", "last"]
    order = (
        '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="inner"/>'
        '<RegionRefIndexed index="1" regionRef="outer"/></OrderedGroup></ReadingOrder>'
    )
    assert ids(read(page_xml(order + text_region("outer", inner=inner)))) == ["inner", "outer"]
    cells = f'<TableRegion id="t"><Coords points="0,0 1,0 1,1"/>{text_region("cell")}</TableRegion>'
    assert ids(read(page_xml(cells))) == ["cell"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("version", ["2010-03-19", "2013-07-15", "2017-07-15", "2019-07-15"])
def test_versions(version, scheme):
    space = f"{scheme}://schema.primaresearch.org/PAGE/gts/pagecontent/{version}"
    line = text_line("l", more="<TextEquiv><Unicode>old</Unicode></TextEquiv>")
    if version.startswith("2010"):  # points were elements then
        corners = [(10, 10), (90, 10), (90, 30), (10, 30)]
        points = "".join(f'<Point x="{x}" y="{y}"/>' for x, y in corners)
        line = line.replace(
            '<Coords points="10,10 90,10 90,30 10,30"/>', f"<Coords>{points}</Coords>"
        )
    layout = read(page_xml(text_region("r", line), namespace=space))
    (found,) = layout.lines
    assert (found.text, found.box, len(found.polygon)) == ("old", (10, 10, 90, 30), 4)
    word = Word("new", (10, 10, 40, 30), 0.5)
    new = replace(
        found, text="new", confidence=0.5, words=(word,), alternatives=(Alternative("nev"),)
    )
    region = replace(layout.regions[0], lines=(new,))
    again = read(to_bytes(replace(layout, regions=(region,), model="m"), "page"))
    (line,) = again.lines
    assert (line.text, line.confidence, line.words) == ("new", 0.5, (word,))
    assert line.alternatives == ((Alternative("nev"),) if version >= "2017" else ())


def test_texts():
    equivs = (
        '<TextEquiv index="1" conf="0.25"><Unicode>second</Unicode></TextEquiv>'
        '<TextEquiv index="0" conf="0.75"><PlainText>no</PlainText><Unicode>first</Unicode>'
        "</TextEquiv>"
    )
    words = (
        '<Word id="w"><Coords points="1,2 3,4"/><TextEquiv><Unicode>a</Unicode></TextEquiv></Word>'
        '<Word id="v"><Coords points="5,2 7,4"/><Glyph id="g"><Coords points="5,2 7,4"/>'
        "<TextEquiv><Unicode>b</Unicode></TextEquiv></Glyph></Word>"
    )
    one, two, three = read(
        page_xml(
            text_region(
                "r", text_line("x", more=equivs), text_line("y", more=words), text_line("z")
            )
        )
    ).lines
    assert (one.text, one.confidence, one.alternatives) == (
        "first",
        0.75,
        (Alternative("second", 0.25),),
    )
    assert (two.text, two.words[1]) == ("a b", Word("b", (5, 2, 7, 4)))
    assert three.text == "" and three.confidence is None


@pytest.mark.parametrize(
    "name",
    [
        "kant_0017.page.xml",
        "170025120000003,0074.xml",
        "kant_0017.alto.xml",
        "bsb00084914_00007.alto.xml",
    ],
)
def test_real_files_come_back_as_they_were(name, shared):
    path = shared / "pages" / name
    document = read_document(path)
    (layout,) = layouts_of(document, name)
    assert len(layout.lines) >= 20 and all(
        line.text and line.polygon or line.box for line in layout.lines
    )
    kind = "alto" if "alto" in name else "page"
    assert canonical(to_bytes(layout, kind)) == canonical(path.read_bytes())


@pytest.mark.parametrize("name", ["kant_0017.page.xml", "170025120000003,0074.xml"])
def test_only_texts_change_in_real_files(name, shared):
    """Without texts, words and the notes on the reading, old and new are the same."""
    path = shared / "pages" / name
    (layout,) = layouts_of(read_document(path), name)
    layout = replace(
        layout,
        model="m",
        regions=tuple(
            replace(r, lines=tuple(replace(x, text="new " + x.text, words=()) for x in r.lines))
            for r in layout.regions
        ),
    )
    written = to_bytes(layout, "page")
    (again,) = layouts_of(parse(written, name), name)
    assert [line.text for line in again.lines] == [line.text for line in layout.lines]
    assert stripped(written) == stripped(path.read_bytes())


def stripped(data):
    root = parse(data, "x")
    for element in list(root.root.below()):
        for child in element.all("TextEquiv", "Word", "MetadataItem", "Comments"):
            element.remove(child)
    return canonical(root.to_bytes())


def test_a_step_is_noted_once_texts_change():
    layout = replace(read(page_xml(text_region("r"))), model="a/b")
    assert b"MetadataItem" not in to_bytes(layout, "page")
    line = replace(layout.lines[0], text="new")
    written = to_bytes(
        replace(layout, regions=(replace(layout.regions[0], lines=(line,)),)), "page"
    )
    assert b'type="processingStep"' in written and b'value="a/b"' in written


def test_the_layout_is_scaled_to_the_image():
    layout = read(page_xml(text_region("r")), picture=(800, 600))
    assert (layout.lines[0].box, layout.size) == ((20, 20, 180, 60), (800, 600))
    line = replace(layout.lines[0], text="t", words=(Word("t", (20, 20, 60, 60)),))
    written = to_bytes(
        replace(layout, regions=(replace(layout.regions[0], lines=(line,)),)), "page"
    )
    assert b'points="10,10 30,10 30,30 10,30"' in written


def test_the_layout_of_another_image():
    with pytest.raises(LayoutError, match="400x300 .* 300x900 .*same proportions"):
        read(page_xml(text_region("r")), picture=(300, 900))


@pytest.mark.slow
def test_a_hundred_thousand_lines():
    """In proportion to their number, not its square."""
    lines = [text_line(f"l{number}") for number in range(100_000)]
    layout = read(page_xml(text_region("r", *lines)))
    assert len(layout.lines) == 100_000
    changed = replace(layout.lines[-1], text="last")
    region = replace(layout.regions[0], lines=(*layout.lines[:-1], changed))
    assert b"last" in to_bytes(replace(layout, regions=(region,)), "page")


@pytest.mark.parametrize("number", ["31e99900", "-1", "nan", "9" * 30])
def test_sizes_that_no_page_has(number):
    said = f'imageHeight="{number}"'.encode()
    data = page_xml(text_region("r")).replace(b'imageHeight="300"', said)
    with pytest.raises(LayoutError, match="expected numbers of pixels"):
        layouts_of(parse(data, "a.xml"), "a.xml", (400, 300))


@pytest.mark.parametrize("points", ["10,10 1e999,10 1e999,30 10,30", f"10,10 {'9' * 30},30 10,30"])
def test_outlines_that_leave_the_page_far_behind(points):
    """Straightening such a line would take the memory of a page of kilometres."""
    region = text_region("r", text_line("l", points))
    (layout,) = layouts_of(parse(page_xml(region), "a.xml"), "a.xml", (400, 300))
    with pytest.raises(LayoutError, match="outside the page of 400x300"):
        cut(Image.new("RGB", (400, 300)), layout.lines[0])


def test_a_baseline_far_outside_does_not_count():
    far = '<Baseline points="10,28 1e999,28"/>'
    region = text_region("r", text_line("l", more=far))
    (layout,) = layouts_of(parse(page_xml(region), "a.xml"), "a.xml", (400, 300))
    assert cut(Image.new("RGB", (400, 300)), layout.lines[0]).image.size == (80, 20)


def test_a_region_of_one_point_is_drawn_by_its_box():
    data = page_xml(text_region("r")).replace(b"0,0 100,0 100,40 0,40", b"7,7")
    (layout,) = layouts_of(parse(data, "a.xml"), "a.xml")
    assert Page.of(layout).overlay().size == (400, 300)
    with pytest.raises(ImageError, match="the page is .* pixels; expected at most"):
        Page(size=(10**6, 10**6)).overlay()
