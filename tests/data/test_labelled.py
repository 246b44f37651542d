"""Images with and without labels, and labels that do not match."""

import shutil

import pytest

from mlx_vedec.data.labelled import LINES, labelled
from mlx_vedec.errors import ImageError, OptionError
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
    found = labelled(None, line_aspect_ratio=12.0)
    assert len(found.images) == len(found.labels) == 64
    assert {path.name[:4] for path in found.images} == {"seen", "held"}
    assert all(path.is_file() for path in found.images) and all(found.labels)
    assert sum(path.stat().st_size for path in LINES.iterdir()) <= 1_000_000


@pytest.mark.parametrize("aspect", [None, 10.0])
def test_other_models_need_images(aspect):
    with pytest.raises(OptionError, match="images are needed.*give a folder"):
        labelled(None, line_aspect_ratio=aspect)


def test_a_folder_without_labels(folder):
    assert labelled(folder) == (tuple(folder / name for name in NAMES), None)
    assert labelled(str(folder / NAMES[1])) == ((folder / NAMES[1],), None)


@pytest.mark.parametrize("header", [(), ("file\ttext\tfont",), ("image\ttext",)])
def test_a_table(folder, header):
    """In any order, with further columns, quotes and spaces as they are."""
    table(folder, *header, "seen_000.png\t_VANE_\tLato", 'held_000.png\t "a" ', "seen_001.png\tb")
    found = labelled(folder)
    assert [path.name for path in found.images] == [*NAMES]
    assert found.labels == (' "a" ', "_VANE_", "b")
    assert labelled([folder / NAMES[2]]).labels == ("b",)
    assert labelled(folder / NAMES[1]).labels == ("_VANE_",)


def test_texts_beside(folder):
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_bytes(f"{name}\né \r\n".encode())
    assert labelled(folder).labels == tuple(f"{name}\né " for name in NAMES)


def test_an_empty_label_is_a_label(folder):
    table(folder, *(f"{name}\t" for name in NAMES))
    assert labelled(folder).labels == ("", "", "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["held_000.png\ta"], "2 of 3 images have no label: .*seen_000.png, .*seen_001.png"),
        ([f"{n}\ta" for n in (*NAMES, "x.png")], "labels for 1 images that are not there: x.png"),
        ([f"{n}\ta" for n in (*NAMES, NAMES[0])], "held_000.png more than once"),
        (["file\ttext", "held_000.png"], "no text for held_000.png; expected file, a tab, text"),
    ],
)
def test_a_table_that_does_not_match(folder, rows, message):
    table(folder, *rows)
    with pytest.raises(OptionError, match=message):
        labelled(folder)


def test_a_text_that_is_missing(folder):
    (folder / "seen_000.txt").write_text("a")
    with pytest.raises(OptionError, match=r"2 of 3 images have no label: .*held_000.png"):
        labelled(folder)


def test_labels_that_are_not_utf8(folder):
    (folder / "labels.tsv").write_bytes("held_000.png\té\n".encode("latin-1"))
    with pytest.raises(OptionError, match="labels.tsv is not UTF-8"):
        labelled(folder)


def test_no_images(tmp_path):
    with pytest.raises(ImageError, match="has no images"):
        labelled(tmp_path)
    with pytest.raises(OptionError, match="there are no images"):
        labelled([])
