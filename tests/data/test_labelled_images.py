"""Images with and without labels, and labels that do not match."""

import shutil

import pytest

from mlx_vedec.data.datasets import LINES, labelled_images
from mlx_vedec.errors import DataError, ImageError, OptionError
from tests.conftest import DATA

NAMES = ("held_000.png", "seen_000.png", "seen_001.png")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        shutil.copy(DATA / "lines" / name, tmp_path)
    return tmp_path


def table(folder, *rows):
    (folder / "labels.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def test_the_lines_of_the_package():
    """Both kinds of typeface, a label for each, small enough to be shipped."""
    found = labelled_images(None, line_aspect_ratio=24.0)
    assert len(found.images) == len(found.labels) == 64
    assert {path.name[:4] for path in found.images} == {"seen", "held"}
    assert all(path.is_file() for path in found.images) and all(found.labels)
    assert sum(path.stat().st_size for path in LINES.iterdir()) <= 1_000_000


@pytest.mark.parametrize("aspect", [None, 10.0])
def test_other_models_need_images(aspect):
    with pytest.raises(OptionError, match="images are needed.*give a folder"):
        labelled_images(None, line_aspect_ratio=aspect)


def test_a_folder_without_labels(folder):
    assert labelled_images(folder) == (tuple(folder / name for name in NAMES), None)
    assert labelled_images(str(folder / NAMES[1])) == ((folder / NAMES[1],), None)


@pytest.mark.parametrize(
    ("header", "end"),
    [((), ""), ((), "\tLato\t1"), (("file\ttext\tfont",), "\tLato"), (("image\ttext",), "")],
)
def test_a_table(folder, header, end):
    """In any order, with further columns, quotes and spaces as they are."""
    rows = "seen_000.png\t_VANE_", 'held_000.png\t "a" ', "seen_001.png\tb"
    table(folder, *header, *(row + end for row in rows))
    found = labelled_images(folder)
    assert [path.name for path in found.images] == [*NAMES]
    assert found.labels == (' "a" ', "_VANE_", "b")
    assert labelled_images([folder / NAMES[2]]).labels == ("b",)
    assert labelled_images(folder / NAMES[1]).labels == ("_VANE_",)


def test_texts_beside(folder):
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_bytes(f"{name}\né \r\n".encode())
    assert labelled_images(folder).labels == tuple(f"{name}\né " for name in NAMES)


def test_other_tables_and_images_that_are_chosen(folder):
    """Every table that can be trained on is read; of a folder, images may be left out."""
    rows = "".join(f'{{"file_name": "{n}", "text": "{n[:4]}"}}\n' for n in NAMES[:2])
    (folder / "metadata.jsonl").write_text(rows)
    chosen = [folder / NAMES[1], folder / NAMES[0]]
    assert labelled_images(chosen).labels == ("seen", "held")
    assert labelled_images([folder / NAMES[2]]).labels is None
    with pytest.raises(DataError, match=r"1 of 3 images have no label: .*seen_001.png"):
        labelled_images(folder)
    (folder / NAMES[2]).with_suffix(".txt").write_text("b")
    with pytest.raises(DataError, match=r"has metadata.jsonl, images with .txt beside them"):
        labelled_images(folder)


def test_images_in_another_folder_and_in_files(folder, tmp_path):
    """Whatever can be trained on, with all its images."""
    inner = tmp_path / "data"
    (inner / "images").mkdir(parents=True)
    shutil.move(folder / NAMES[0], inner / "images")
    (inner / "labels.csv").write_text(f"file,text\n{NAMES[0]},tea\n")
    assert labelled_images(inner) == ((inner / "images" / NAMES[0],), ("tea",))
    assert labelled_images(inner / "labels.csv") == labelled_images(inner)
    (inner / "labels.csv").write_text(f"file,text\n{NAMES[0]},tea\n{'x' * 5000}.png,rice\n")
    with pytest.raises(DataError, match="labels for 1 images that are not there: xxx") as caught:
        labelled_images(inner)
    assert len(str(caught.value)) < 600


def test_an_empty_label_is_a_label(folder):
    table(folder, *(f"{name}\t" for name in NAMES))
    assert labelled_images(folder).labels == ("", "", "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["held_000.png\ta"], "2 of 3 images have no label: .*seen_000.png, .*seen_001.png"),
        ([f"{n}\ta" for n in (*NAMES, "x.png")], "labels for 1 images that are not there: x.png"),
        ([f"{n}\ta" for n in (*NAMES, NAMES[0])], "held_000.png more than once"),
        (["file\ttext", "held_000.png"], "labels.tsv:2: has 1 columns; expected 2: file, text"),
    ],
)
def test_a_table_that_does_not_match(folder, rows, message):
    table(folder, *rows)
    with pytest.raises(DataError, match=message):
        labelled_images(folder)


def test_a_text_that_is_missing(folder):
    (folder / "seen_000.txt").write_text("a")
    with pytest.raises(DataError, match=r"2 of 3 images have no label: .*held_000.png"):
        labelled_images(folder)


def test_labels_that_are_not_utf8(folder):
    (folder / "labels.tsv").write_bytes("held_000.png\té\n".encode("latin-1"))
    with pytest.raises(DataError, match="labels.tsv:1: is not UTF-8"):
        labelled_images(folder)


def test_no_images(tmp_path):
    with pytest.raises(ImageError, match="has no images"):
        labelled_images(tmp_path)
    with pytest.raises(OptionError, match="there are no images"):
        labelled_images([])
