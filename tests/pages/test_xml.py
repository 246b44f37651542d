"""XML as it was written, and what is refused."""

import pytest
from hypothesis import given, settings, strategies as st

from mlx_vedec.errors import LayoutError
from mlx_vedec.pages.formats import layouts_of, read_document
from mlx_vedec.pages.hocr import properties
from mlx_vedec.pages.page_xml import KIND_IN_CUSTOM, ORDER_IN_CUSTOM
from mlx_vedec.pages.xml_parsing import parse, parse_html
from mlx_vedec.pages.xml_tree import Document, Element, Ids
from tests.pages.layouts import canonical, page_xml

ODD = b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- before --><?style href="a.css"?>
<a:root xmlns:a="urn:a" xmlns="urn:b" xmlns:unused="urn:c" unused:x="1&#10;2&#9;3" y='"q"'>
  text &amp; &lt;tags&gt; &#13; <b/><![CDATA[<raw> & ]]><!-- in -->
  <a:c xmlns:a="urn:other"><?go now?></a:c>  \xe8\x8c\xb6
</a:root>
<!-- after -->
"""


def test_what_was_read_is_written():
    again = parse(ODD, "odd").to_bytes()
    assert canonical(again) == canonical(ODD)
    assert again.count(b"<!--") == 3 and b"<?go now?>" in again and b"<?style" in again


def test_a_copy_is_the_same_and_apart():
    document = parse(ODD, "odd")
    copied, copies = document.copy()
    assert copied.to_bytes() == document.to_bytes()
    copies[id(document.root)].attributes["y"] = "other"
    assert document.root.attributes["y"] == '"q"'


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_written(text, value):
    """What XML cannot say becomes U+FFFD; all else comes back."""
    root = Element("a", {"b": value})
    root.child("c", text=text)
    again = parse(Document(root).to_bytes(), "written").root

    def sayable(t):
        return "".join(
            c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in t
        )

    assert again.attributes["b"] == sayable(value)
    found = again.find("c")
    assert found is not None and found.text == sayable(text)


def test_namespaces_are_told_apart():
    root = parse(
        b'<a xmlns="urn:1" xmlns:o="urn:2"><o:line/><line/><line xmlns="urn:3"/></a>', "x"
    ).root
    assert [element.tag for element in root.all("line")] == ["line"]


ENTITIES = [
    b'<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;&l;">]><a>&m;</a>',
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>',
    b'<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]><html><body>&x;</body></html>',
    b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://example.org/p">%p;]><a/>',
    b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd"/></a>',
]


@pytest.mark.parametrize("data", ENTITIES)
def test_what_expands_or_reaches_out_is_refused(data, tmp_path):
    (tmp_path / "a.xml").write_bytes(data)
    with pytest.raises(LayoutError, match=r"document type|includes other files"):
        read_document(tmp_path / "a.xml")


def test_html_that_is_no_xml_is_refused_with_entities_too():
    with pytest.raises(LayoutError, match="entities"):
        parse_html(b'<!DOCTYPE html [<!ENTITY x "y">]><html><br>&x;</html>', "x")


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "well-formed"),
        (b"<a><b></a>", "well-formed"),
        (b"<a>&nbsp;</a>", "well-formed"),
        (b"<a>" * 200 + b"</a>" * 200, "100 deep"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "well-formed"),
        (b"\x89PNG\r\n", "well-formed"),
        (b"<!DOCTYPE html PUBLIC 'a' 'b'><html>&what;</html>", "unknown entity"),
    ],
)
def test_broken_xml(data, said):
    with pytest.raises(LayoutError, match=said):
        parse(data, "a.xml")


def test_html_entities_without_opening_a_dtd():
    root = parse(b'<!DOCTYPE html PUBLIC "-//x" "http://x"><html>a&nbsp;b</html>', "x").root
    assert root.text == "a\xa0b"


def test_html_with_open_tags():
    data = b"<html><head><meta charset=utf-8><body><p>one<p>two<br>three</body></html>"
    root = parse_html(data, "x").root
    assert root.text == "onetwothree"
    assert parse(parse_html(data, "x").to_bytes(), "again").root.text == "onetwothree"


def test_other_documents_are_named(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"<TEI><text/></TEI>")
    with pytest.raises(LayoutError, match="document of <TEI>; expected PAGE"):
        layouts_of(read_document(tmp_path / "a.xml"), "a.xml")
    with pytest.raises(LayoutError, match="no Page element"):
        layouts_of(parse(page_xml("").split(b"<Page")[0] + b"</PcGts>", "p"), "p")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LayoutError, match="cannot be read"):
        read_document(tmp_path / "none.xml")


def test_new_ids_are_free_and_allowed():
    document = parse(b'<a id="x"><b ID="x_2"/></a>', "a")
    ids = Ids(document)
    assert [ids.new("x"), ids.new("x"), ids.new("9 ü"), ids.new("")] == ["x_3", "x_4", "_9__", "_"]


def test_texts_that_could_hang_a_parser():
    """Found by trying: each took time that grew with the square or the cube of its length."""
    many = 20_000
    title = Element("p", {"title": "a" * many + '"'})
    assert properties(title) == {"a" * many: '"'}
    kept = properties(Element("p", {"title": 'bbox 0 0 9 9; image "a;b.png"; x_wconf 95'}))
    assert kept == {"bbox": "0 0 9 9", "image": '"a;b.png"', "x_wconf": "95"}
    assert ORDER_IN_CUSTOM.search("readingOrder {" * many) is None
    assert KIND_IN_CUSTOM.search("structure {" * many) is None
    with pytest.raises(LayoutError, match="tags that do not end"):
        parse_html(b"<html>" + b"<a" * many, "a.hocr")
