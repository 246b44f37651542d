"""What is written: valid by the schemas, and the same when it is read again."""

import csv
import io
import json
import re
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.pages.formats import ENDINGS, format_of, layouts_of, to_bytes
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.xml_parsing import parse
from tests.pages.layouts import example, printed

SCHEMAS = {"page": "page-2019-07-15.xsd", "alto": "alto-4-4.xsd"}


@pytest.fixture(scope="module")
def schemas():
    """The schemas of the formats; the one that ALTO's imports is the file beside it."""
    from tests.conftest import SHARED

    xmlschema = pytest.importorskip("xmlschema")
    folder = SHARED / "schemas"
    if not folder.is_dir():
        pytest.skip("../shared is not here")
    links = {"http://www.w3.org/1999/xlink": (folder / "xlink.xsd").as_uri()}
    return {
        name: xmlschema.XMLSchema(folder / file, locations=links, allow="local")
        for name, file in SCHEMAS.items()
    }


EMPTY = Layout(size=(10, 10))
NO_LINES = Layout(regions=(Region((), (1, 1, 5, 5)),), size=(10, 10), model="m")
ODD = Layout(
    regions=(
        Region((Line("\x00\x0b<&", (-3, -3, 5, 5), id="9 a"), Line("b", (0, 0, 1, 1), id="9 a"))),
    ),
    size=(10, 10),
)


@pytest.mark.parametrize(
    "layout", [example(), EMPTY, NO_LINES, ODD], ids=["full", "empty", "no lines", "odd"]
)
@pytest.mark.parametrize("name", SCHEMAS)
def test_new_files_are_valid(name, layout, schemas):
    schemas[name].validate(io.BytesIO(to_bytes(layout, name)))


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_that_got_texts_are_valid(name, schemas):
    (layout,) = layouts_of(parse(to_bytes(example(), name), "x"), "x")
    regions = tuple(
        replace(r, lines=tuple(replace(line, text="new") for line in r.lines))
        for r in layout.regions
    )
    schemas[name].validate(io.BytesIO(to_bytes(replace(layout, regions=regions, model="m"), name)))


@pytest.mark.parametrize("name", ["page", "alto", "hocr"])
def test_what_is_written_is_read_again(name):
    layout = example()
    (again,) = layouts_of(parse(to_bytes(layout, name), "x"), "x")
    assert again.text == layout.text
    assert (again.size, again.image.replace("%22", '"')) == (layout.size, layout.image)
    for new, old in zip(again.lines, layout.lines, strict=True):
        assert new.text == old.text and new.box == old.box
        if old.words:
            assert [w.box for w in new.words] == [w.box for w in old.words]
            assert [w.confidence for w in new.words] == [w.confidence for w in old.words]
            assert new.baseline == old.baseline
    assert to_bytes(again, name) == to_bytes(again, name)
    if name != "hocr":  # which has no place for them
        assert again.lines[0].alternatives[0].text == "Tea & <nice>"
        assert b"tests/tiny" in to_bytes(layout, name)


def test_page_has_regions_in_order_words_and_kinds():
    written = to_bytes(example(), "page").decode()
    assert re.findall(r'regionRef="(\w+)"', written) == ["r1", "r2"]
    assert written.count("<Word ") == 3 and 'type="heading"' in written
    assert '<TextEquiv index="0" conf="0.9000">' in written


def test_hocr_as_hocr_pdf_takes_it():
    """hocr-pdf wants lines of exactly this class, boxes in whole numbers, two plain decimals."""
    root = parse(to_bytes(example(), "hocr"), "x").root
    lines = [e for e in root.below() if e.attributes.get("class") == "ocr_line"]
    assert len(lines) == 3
    for line in lines:
        assert re.search(r"bbox((\s+\d+){4})", line.attributes["title"])
        for word in line.below():
            assert re.search(r"bbox((\s+\d+){4})", word.attributes["title"])
    assert re.search(r"baseline((\s+[\d\.\-]+){2})", lines[0].attributes["title"])


def test_json():
    values = json.loads(to_bytes(example(), "json"))
    assert values["text"] == example().text and values["width"] == 200
    first = values["regions"][0]["lines"][0]
    assert first["words"][0] == {"text": "Tea", "box": [10, 10, 40, 30], "confidence": 0.99}
    assert first["alternatives"] == [{"text": "Tea & <nice>", "confidence": 0.5}]


def test_tsv():
    rows = list(
        csv.DictReader(
            io.StringIO(to_bytes(example(), "tsv").decode()), delimiter="\t", quoting=csv.QUOTE_NONE
        )
    )
    assert [row["level"] for row in rows] == [*"1234555", *"45", *"2345"]
    word = rows[5]
    assert (word["text"], word["conf"], word["left"], word["width"]) == ("&", "80.00", "45", "10")
    assert (rows[0]["width"], rows[0]["conf"]) == ("200", "-1")


def test_text_and_markdown():
    assert to_bytes(example(), "text").decode() == 'Tea & <rice>\n9,50 "é" 茶\n'
    two = Layout(
        (Region((Line("a"), Line(""), Line("b"))), Region((Line(""),)), Region((Line("c"),)))
    )
    assert to_bytes(two, "text") == b"a\nb\n\nc\n"
    assert to_bytes(example(), "markdown").decode() == '## Tea & <rice> 9,50 "é" 茶\n'
    assert to_bytes(EMPTY, "text") == b"" == to_bytes(EMPTY, "markdown")


def test_names():
    assert format_of(Path("a.XML")) == "page" and format_of(Path("a.html")) == "hocr"
    for name, ending in ENDINGS.items():
        assert ENDINGS[format_of(Path("a" + ending))] == ending, name
    with pytest.raises(OptionError, match="names no format"):
        format_of(Path("a.docx"))
    with pytest.raises(OptionError, match="format is 'word'; expected text, json"):
        to_bytes(EMPTY, "word")


def test_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    page = Page.of(example())
    page.save(tmp_path / "a.xml")
    assert Page.from_file(tmp_path / "a.xml").text == page.text

    def fail(self, data):
        self.touch()
        raise OSError("full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="full"):
        page.save(tmp_path / "b.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]
    with pytest.raises(OptionError, match="folder of .* does not exist"):
        page.save(tmp_path / "none" / "a.xml")


def test_seen():
    page = replace(Page.of(example()), picture=printed(size=(200, 100)))
    shown = page.overlay()
    assert shown.size == (200, 100) and len(shown.getcolors(9999) or ()) > 3
    assert page._repr_png_().startswith(b"\x89PNG")
    assert Page()._repr_png_().startswith(b"\x89PNG")


def test_links_of_images_are_quoted():
    """A name with signs that titles and addresses use is read as it was."""
    layout = replace(example(), image='a; b "c".png')
    (again,) = layouts_of(parse(to_bytes(layout, "hocr"), "x"), "x")
    assert urllib.parse.unquote(again.image) == 'a; b "c".png'


def test_long_lines_count_for_more():
    lines = Line("a", confidence=0.0), Line("bbb", confidence=1.0), Line("unknown")
    assert Layout((Region(lines),)).confidence == 0.75
    assert Layout((Region(lines[2:]),)).confidence is None
