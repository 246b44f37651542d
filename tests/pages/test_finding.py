"""Which pages a name stands for, and which layout belongs to which image."""

import os

import pytest
from PIL import Image

from mlx_vedec.errors import ImageError, LayoutError
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.sheets import all_sheets, bare_stem, image_of, layout_for, sheets_of
from tests.pages.layouts import alto, alto_line, block, page_xml, printed, text_region


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    printed().save(path)
    return path


def put(path, image="page.png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page_xml(text_region("r"), image=image))
    return path


# Pages


def test_folders_patterns_and_lists(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.png"):
        touch(tmp_path / name)
    put(tmp_path / "a.xml")
    names = [sheet.stem for sheet in sheets_of(tmp_path)]
    assert names == ["a", "b"]
    assert [s.stem for s in sheets_of(str(tmp_path / "*.png"))] == ["b"]
    assert [s.stem for s in sheets_of(str(tmp_path / "**/*.png"))] == ["b", "c"]
    assert [s.stem for s in all_sheets([tmp_path / "b.png", tmp_path])] == ["b", "a", "b"]
    with pytest.raises(ImageError, match="matches no files"):
        sheets_of(str(tmp_path / "*.bmp"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="has no images"):
        sheets_of(tmp_path / "empty")


def test_a_name_that_looks_like_a_pattern(tmp_path):
    assert [s.stem for s in sheets_of(touch(tmp_path / "a[1].png"))] == ["a[1]"]


def test_a_folder_of_layouts(tmp_path):
    put(tmp_path / "page/a.page.xml", image="../a.png")
    touch(tmp_path / "a.png")
    (sheet,) = sheets_of(tmp_path / "page")
    assert sheet.stem == "a" and sheet.layout == tmp_path / "page/a.page.xml"


@pytest.mark.parametrize(
    "name, stem", [("a.xml", "a"), ("a.page.xml", "a"), ("a.png.xml", "a"), ("a.b.xml", "a.b")]
)
def test_names_without_formats(name, stem, tmp_path):
    assert bare_stem(tmp_path / name) == stem


# From an image to its layout


def found(path, given=None):
    (sheet,) = sheets_of(path)
    return layout_for(sheet, given, Image.new("RGB", (400, 300)))


@pytest.mark.parametrize(
    "name",
    [
        "page.xml",
        "page.page.xml",
        "page.alto.xml",
        "page.png.xml",
        "page/page.xml",
        "alto/page.xml",
    ],
)
def test_beside_the_image(name, tmp_path):
    touch(tmp_path / "page.png")
    put(tmp_path / name)
    assert len(found(tmp_path / "page.png").lines) == 1


def test_what_is_no_layout_is_left(tmp_path):
    touch(tmp_path / "page.png")
    (tmp_path / "page.xml").write_text("<mets/>")
    (tmp_path / "page.html").write_text("<!DOCTYPE html><p>about the page")
    assert found(tmp_path / "page.png") is None


def test_two_layouts_for_a_page(tmp_path):
    touch(tmp_path / "page.png")
    put(tmp_path / "page.xml")
    put(tmp_path / "page.alto.xml")
    with pytest.raises(LayoutError, match="has 2 layouts: .*give one as --layout"):
        found(tmp_path / "page.png")
    assert found(tmp_path / "page.png", tmp_path / "page.xml") is not None


def test_a_folder_of_layouts_for_images(tmp_path):
    touch(tmp_path / "page.png")
    put(tmp_path / "other/page.xml")
    assert found(tmp_path / "page.png", tmp_path / "other") is not None
    touch(tmp_path / "second.png")
    with pytest.raises(LayoutError, match="has no layout of .*second.png; expected second.xml"):
        found(tmp_path / "second.png", tmp_path / "other")


def test_a_file_of_several_pages(tmp_path):
    """The page that names the image is the one."""
    one = alto(block("b", alto_line("l")))
    page = one[one.index(b"<Page") : one.index(b"</Layout>")]
    second = page.replace(b'"p"', b'"q"').replace(b"tea", b"rice")
    (tmp_path / "both.xml").write_bytes(one.replace(page, page + second))
    touch(tmp_path / "a.png")
    with pytest.raises(LayoutError, match="has 2 pages"):
        found(tmp_path / "a.png", tmp_path / "both.xml")
    frames = [printed(), printed()]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    sheets = sheets_of(tmp_path / "two.tif")
    texts = [layout_for(s, tmp_path / "both.xml", printed()).text for s in sheets]
    assert texts == ["tea", "rice"]


# From a layout to its image


@pytest.mark.parametrize(
    "name",
    [
        "page.png",
        "a%20b.png",
        "../scans/deep.png",
        "C:\\scans\\page.png",
        "/no/such/folder/page.png",
        "file:///no/such/page.png",
        "https://example.org/iiif/page.png?size=full",
        "",
        "gone.png",
    ],
)
def test_images_by_name(name, tmp_path):
    """As it is named, unquoted, in another folder, by its last part, or by the layout's name."""
    for image in ("page.png", "a b.png", "scans/deep.png", "own.png"):
        touch(tmp_path / "work" / image)
        touch(tmp_path / image)
    path = put(tmp_path / "work/own.xml", image=name)
    expected = {
        "a%20b.png": "a b.png",
        "../scans/deep.png": "deep.png",
        "": "own.png",
        "gone.png": "own.png",
    }
    assert image_of(path).name == expected.get(name, "page.png")


def test_images_in_the_folder_above(tmp_path):
    touch(tmp_path / "page.png")
    assert image_of(put(tmp_path / "page/page.xml")).samefile(tmp_path / "page.png")


def test_xml_without_images(tmp_path):
    path = put(tmp_path / "page/own.xml", image="gone.png")
    with pytest.raises(ImageError, match="names the image 'gone.png', and neither"):
        image_of(path)
    (sheet,) = sheets_of(path)
    with pytest.raises(ImageError):
        sheet.load()
    assert Page.from_file(path).lines[0].id == "r_l"


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("reached out"))
    with pytest.raises(ImageError):
        image_of(put(tmp_path / "own.xml", image="http://example.org/a.png"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_layouts_that_may_not_be_read(tmp_path):
    path = put(tmp_path / "page.xml")
    path.chmod(0)
    with pytest.raises(LayoutError, match="cannot be read"):
        Page.from_file(path)
