"""PDFs in and out, with the extra and without."""

import sys

import pytest

from mlx_vedec.errors import ImageError, OptionError
from mlx_vedec.pages import pdf
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.sheets import sheets_of
from tests.pages.layouts import example, printed

pdfium = pytest.importorskip("pypdfium2")
pikepdf = pytest.importorskip("pikepdf")


def written(*layouts):
    pages = [(layout, printed(size=layout.size)) for layout in layouts]
    return pdf.to_pdf(pages)


def texts(data):
    with pdfium.PdfDocument(data) as document:
        return [page.get_textpage().get_text_range().replace("\r\n", "\n") for page in document]


def test_texts_are_found():
    layout = example()
    (text,) = texts(written(layout))
    assert text.split() == layout.text.split()


def test_words_are_where_they_stand():
    layout = example()
    with pdfium.PdfDocument(written(layout)) as document:
        page = document[0]
        text = page.get_textpage()
        searcher = text.search("<rice>")
        index, count = searcher.get_next()
        boxes = [text.get_charbox(i, loose=True) for i in range(index, index + count)]
        left, right = min(b[0] for b in boxes), max(b[2] for b in boxes)
        bottom = min(b[1] for b in boxes)
        scale, height = 72 / 300, page.get_height()
        assert height == pytest.approx(100 * scale)
        assert (left, right) == pytest.approx((60 * scale, 110 * scale), abs=0.5)
        assert bottom == pytest.approx(height - 30 * scale, abs=1)


def test_nothing_is_seen_of_the_text():
    layout = example()
    bare = Layout(size=layout.size)
    shown = []
    for one in (layout, bare):
        with pdfium.PdfDocument(written(one)) as document:
            shown.append(document[0].render(scale=2).to_pil().tobytes())
    assert shown[0] == shown[1]


def test_any_script():
    """More kinds of characters than one font has codes, and some beyond the first plane."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 600))) + "𝔸𝕒"
    layout = Layout((Region((Line(text, (0, 0, 190, 20)),)),), size=(200, 100))
    (found,) = texts(written(layout))
    assert found.strip() == text


def test_pages_of_a_pdf(tmp_path):
    path = tmp_path / "doc.pdf"
    path.write_bytes(written(example(), example()))
    sheets = sheets_of(path)
    assert [sheet.stem for sheet in sheets] == ["doc-1", "doc-2"]
    assert sheets[1].load().size == (200, 100)
    assert sheets[1].name == f"{path} page 2"


def test_a_pdf_with_a_password(tmp_path):
    path = tmp_path / "locked.pdf"
    with pikepdf.open(__import__("io").BytesIO(written(example()))) as document:
        document.save(path, encryption=pikepdf.Encryption(owner="a", user="b"))
    (sheet,) = sheets_of(path)
    with pytest.raises(ImageError, match="needs a password.*save it without"):
        sheet.load()


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\nnothing"])
def test_broken_pdfs(data, tmp_path):
    (tmp_path / "a.pdf").write_bytes(data)
    with pytest.raises(ImageError, match="cannot be read"):
        pdf.count_pages(tmp_path / "a.pdf")
    with pytest.raises(ImageError, match="does not exist"):
        pdf.render(tmp_path / "none.pdf", 0)


@pytest.mark.parametrize("name", ["pypdfium2", "pikepdf"])
def test_without_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match=r"pip install 'mlx-vedec\[pdf\]'"):
        if name == "pikepdf":
            written(example())
        else:
            pdf.count_pages(tmp_path / "a.pdf")


@pytest.mark.parametrize("said", [(1, 1), (300, 300), None])
def test_a_resolution_that_says_nothing_is_none(said):
    """Of 600 pixels, 144 points: an image that says 1 dot per inch would be a page of 50 feet."""
    picture = printed(size=(600, 300))
    picture.info = {"dpi": said} if said else {}
    with pdfium.PdfDocument(pdf.to_pdf([(Layout(size=(600, 300)), picture)])) as document:
        assert document[0].get_size() == pytest.approx((144, 72), abs=0.1)
