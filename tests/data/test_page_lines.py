"""Lines of pages in PAGE, ALTO and hOCR, with their texts."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlx_vedec.data.batches import Batches
from mlx_vedec.data.dataset_checks import checked_ids
from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.data.labels import Labeller
from mlx_vedec.errors import DataError, ImageError
from mlx_vedec.images.loading import load_image
from mlx_vedec.pages import sheets
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.strips import cut, pieces_of
from mlx_vedec.reading.processor import Processor
from tests.data.folders import write
from tests.pages.layouts import alto, alto_line, block, page_xml, printed, text_line, text_region
from tests.support import training_parts as parts

SLANTED = "20,40 380,80 380,110 20,70"
BASELINE = '<Baseline points="20,66 380,106"/>'


def said(text, more=""):
    return f"{more}<TextEquiv><Unicode>{text}</Unicode></TextEquiv>"


PAGE = page_xml(
    text_region(
        "r",
        text_line("l1", "20,10 200,10 200,36 20,36", said("Tea, שלום")),
        text_line("l2", SLANTED, said("rice", BASELINE)),
        text_line("l3", "20,120 200,120 200,140 20,140"),
    )
)
ALTO = alto(block("b", alto_line("l1", "Tea"), alto_line("l2", " ")))
HOCR = (
    b"<html><head><title>x</title></head><body><div class='ocr_page' title='image \"page.png\"; "
    b"bbox 0 0 400 300'><span class='ocr_line' id='l1' title='bbox 10 20 90 40'><span "
    b"class='ocrx_word' title='bbox 10 20 90 40'>Tea</span></span></div></body></html>"
)
SILENT = "left out 1 line without a text"


def folder_of(tmp_path, name, layout, image="page.png"):
    path = write(tmp_path / name, layout)
    page = printed("Tea, x", "rice")
    page.save(tmp_path / image)
    return path, page


@pytest.mark.parametrize("name", ["page.xml", "page/page.xml", "xml/page.xml", "page.png.xml"])
def test_page(tmp_path, name):
    """Cut along outline and baseline, as `read_page` does it; lines without a text are left out."""
    path, page = folder_of(tmp_path, name, PAGE)
    with pytest.warns(UserWarning, match=SILENT):
        dataset = load_dataset(tmp_path)
    assert [sample.text for sample in dataset] == ["Tea, שלום", "rice"]
    assert [sample.where for sample in dataset] == [f"{path}:l1", f"{path}:l2"]
    assert {sample.page for sample in dataset} == {str(tmp_path / "page.png")}
    lines = Page.from_file(path).lines
    for number in (1, 0, 1):
        expected = cut(page, lines[number]).image
        found = load_image(dataset[number].image)
        assert found.size == expected.size and found.tobytes() == expected.tobytes()
    assert load_image(dataset[1].image).height < 45, "straight, and not as high as its box"


@pytest.mark.parametrize(
    ("name", "layout", "silent"),
    [("page.xml", ALTO, True), ("page.hocr", HOCR, False), ("page.html", HOCR, False)],
)
def test_alto_and_hocr(tmp_path, name, layout, silent):
    path, page = folder_of(tmp_path, name, layout)
    if silent:
        with pytest.warns(UserWarning, match=SILENT):
            (sample,) = load_dataset(tmp_path)
        with pytest.warns(UserWarning, match=SILENT):
            assert load_dataset(path)[0].text == "Tea"
    else:
        (sample,) = load_dataset(tmp_path)
    assert (sample.text, sample.where) == ("Tea", f"{path}:l1")
    assert load_image(sample.image).tobytes() == page.crop((10, 20, 90, 40)).tobytes()


def test_of_several_layouts_of_a_page_one_is_read(tmp_path):
    folder_of(tmp_path, "page/page.xml", PAGE)
    folder_of(tmp_path, "alto/page.xml", ALTO)
    write(tmp_path / "page.hocr", HOCR)
    write(tmp_path / "mets.xml", "<mets/>")
    with pytest.warns(UserWarning, match=SILENT):
        assert [sample.text for sample in load_dataset(tmp_path)] == ["Tea, שלום", "rice"]


def test_the_page_is_read_once(tmp_path, monkeypatch):
    """And its lines are not held in memory."""
    folder_of(tmp_path, "page.xml", PAGE)
    opened, load = [], sheets.load_image

    def watched(source):
        opened.append(source)
        return load(source)

    monkeypatch.setattr(sheets, "load_image", watched)
    with pytest.warns(UserWarning, match=SILENT):
        dataset = load_dataset(tmp_path)
    for number in (0, 1, 0, 1):
        dataset[number].image.load()
    assert opened == [tmp_path / "page.png"]


def test_an_image_of_another_size_is_cut_in_its_own_pixels(tmp_path):
    path, page = folder_of(tmp_path, "page.xml", ALTO)
    page.resize((800, 600)).save(tmp_path / "page.png")
    with pytest.warns(UserWarning, match=SILENT):
        assert load_image(load_dataset(path)[0].image).size == (160, 40)


def test_an_image_that_lies_on_its_side(tmp_path):
    """The layout is of the page the way up its EXIF data says."""
    path, page = folder_of(tmp_path, "page.xml", PAGE, "page.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    page.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "page.jpg", exif=turned, quality=100)
    with pytest.warns(UserWarning, match=SILENT):
        image = load_image(load_dataset(path)[0].image)
    expected = page.crop((20, 10, 200, 36))
    apart = np.asarray(image, float) - np.asarray(expected, float)
    assert image.size == expected.size and abs(apart).mean() < 3


def test_pages_of_one_file(tmp_path):
    """A page of a TIFF each, in their order."""
    pages = [Image.new("RGB", (400, 300), colour) for colour in ("red", "blue")]
    for page in pages:
        ImageDraw.Draw(page).text((20, 24), "Tea")
    pages[0].save(tmp_path / "page.tif", save_all=True, append_images=pages[1:])
    both = HOCR.replace(b"page.png", b"page.tif")
    start, end = both.index(b"<div"), both.index(b"</body>")
    write(tmp_path / "page.hocr", both[:end] + both[start:end] + both[end:])
    dataset = load_dataset(tmp_path)
    for sample, page in zip(dataset, pages, strict=True):
        assert load_image(sample.image).tobytes() == page.crop((10, 20, 90, 40)).tobytes()
    assert dataset[0].page != dataset[1].page
    write(tmp_path / "page.hocr", both[:end] + 2 * both[start:end] + both[end:])
    with pytest.raises(DataError, match="page.hocr has 3 pages of 1 images; expected an image for"):
        load_dataset(tmp_path)
    write(tmp_path / "page.hocr", both[:end] + both[start:end] + both[end:])
    splits = load_splits(tmp_path, valid_fraction=0.5)
    assert [len(splits[name]) for name in ("train", "valid")] == [1, 1]


def test_pages_without_texts(tmp_path):
    bare = page_xml(text_region("r", text_line("l1"), text_line("l2", more=said(" "))))
    path, _ = folder_of(tmp_path, "page.xml", bare)
    write(tmp_path / "other.xml", bare)
    expected = "other.xml and 1 more have 4 lines, and none has a text; expected lines with TextEq"
    with pytest.raises(DataError, match=expected):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="page.xml have 2 lines, and none has a text"):
        load_dataset(path)


def test_lines_that_cannot_be_cut_are_named(tmp_path):
    lines = [
        text_line("l1", "20,10 200,10", said("Tea")),
        text_line("l2", "5000,10 5100,10 5100,40", said("rice")),
        text_line("l3", more=said("milk")),
    ]
    path, _ = folder_of(tmp_path, "page.xml", page_xml(text_region("r", *lines)))
    write(tmp_path / "lost.xml", PAGE.replace(b"page.png", b"none.png"))
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    found = str(caught.value)
    assert found.startswith("3 problems in the data:")
    assert f"{path}:l1: line l1 has an outline of 2 points" in found
    assert f"{path}:l2: line l2 is at 5000,10" in found
    assert "lost.xml names the image 'none.png', and neither that nor one of its own" in found


def test_a_page_that_is_damaged_later(tmp_path):
    """Its header is whole; the line says what is wrong when it is asked for."""
    path, _ = folder_of(tmp_path, "page.xml", ALTO)
    with pytest.warns(UserWarning, match=SILENT):
        (sample,) = load_dataset(path)
    image = tmp_path / "page.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(ImageError, match="page.png is damaged"):
        sample.image.load()


def test_lines_are_learned_from(tmp_path):
    path, _ = folder_of(tmp_path, "page.xml", ALTO.replace(b'"Tea"', b'"tea"'))
    with pytest.warns(UserWarning, match=SILENT):
        dataset = load_dataset(path)
    processor: Processor = parts.processor()
    (found,) = checked_ids(dataset, Labeller(parts.model(), processor))
    assert processor.required_tokenizer.decode(found.ids[1:-1].tolist()) == "tea"
    (tmp_path / "page.png").unlink()
    with pytest.raises(DataError, match="page.png' does not exist|page.png does not exist"):
        checked_ids(dataset, Labeller(parts.model(), processor), ask=False)


@pytest.mark.parametrize("aspect", [None, 12.0])
def test_lines_are_shown_as_read_page_shows_them(tmp_path, aspect):
    """On the canvas of a checkpoint of lines, where it is of one."""
    path, page = folder_of(tmp_path, "page.xml", PAGE)
    with pytest.warns(UserWarning, match=SILENT):
        dataset = load_dataset(path)
    processor = parts.processor()
    processor.image_processor.line_aspect_ratio = aspect
    made = Batches(
        [(sample.image, "tea") for sample in dataset], parts.model(), processor, batch_size=2
    )
    for number, line in enumerate(Page.from_file(path).lines[:2]):
        (piece,) = pieces_of(page, line, aspect)
        expected = processor.image_processor([piece.picture])
        assert np.array_equal(made._image(0, number), expected)


def test_other_xml_is_no_page(tmp_path):
    write(tmp_path / "mets.xml", "<mets/>")
    with pytest.raises(DataError, match="\nmets.xml is neither PAGE nor ALTO nor hOCR"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="mets.xml is no table; expected a file .jsonl"):
        load_dataset(tmp_path / "mets.xml")


def test_real_pages(shared, tmp_path):
    """Of one page PAGE goes before ALTO."""
    for name in ("kant_0017.png", "kant_0017.page.xml", "kant_0017.alto.xml"):
        (tmp_path / name).symlink_to(shared / "pages" / name)
    dataset = load_dataset(tmp_path)
    assert (len(dataset), dataset[0].text) == (24, "Berliniſche Monatsſchrift.")
    assert load_image(dataset[0].image).size == (804, 72)
