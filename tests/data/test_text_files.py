"""Texts beside images, and lists of images with their texts."""

import pytest

from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.errors import DataError
from tests.data.folders import save, write


def seen(dataset):
    return [(sample.image, sample.text) for sample in dataset]


# one beside each image


@pytest.mark.parametrize(
    ("images", "taken"),
    [
        (["1.png"], "1.png"),
        (["1.bin.png"], "1.bin.png"),
        (["1.nrm.png", "1.bin.png"], "1.nrm.png"),
        (["1.png", "1.nrm.png", "1.bin.png"], "1.png"),
    ],
)
def test_truth_beside_an_image(tmp_path, images, taken):
    """As kraken and Calamari keep it: of a line's images the plain one, then the grey one."""
    for number, name in enumerate(images):
        save(tmp_path / name, number)
    write(tmp_path / "1.gt.txt", "Tea, \n")
    write(tmp_path / "1.txt", "what was read")
    assert seen(load_dataset(tmp_path)) == [(str(tmp_path / taken), "Tea, ")]


def test_truth_and_images_without_each_other(tmp_path):
    for name in ("1.png", "2.png"):
        save(tmp_path / name)
    for name in ("1.gt.txt", "3.gt.txt"):
        write(tmp_path / name, "tea")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    said = str(caught.value)
    assert f"{tmp_path / '2.png'}: has no text; expected 2.gt.txt beside it" in said
    assert f"{tmp_path / '3.gt.txt'}: has no image; expected 3.png beside it" in said


def test_two_images_of_one_kind(tmp_path):
    for name in ("1.png", "1.tif", "2.png"):
        save(tmp_path / name)
    for name in ("1.gt.txt", "2.gt.txt"):
        write(tmp_path / name, "tea")
    with pytest.raises(DataError, match=r"1\.gt\.txt is beside several images of its name"):
        load_dataset(tmp_path)


def test_hidden_files_are_none(tmp_path):
    """A Mac's archives bring a `._1.txt` for each `1.txt`."""
    for name in ("1.png", "._1.png"):
        save(tmp_path / name)
    write(tmp_path / "1.txt", "tea")
    write(tmp_path / "._1.txt", b"\x00\x05\x16\x07\xff")
    assert seen(load_dataset(tmp_path)) == [(str(tmp_path / "1.png"), "tea")]


@pytest.mark.parametrize("texts", ["labels", "gt", "transcriptions"])
def test_texts_in_a_folder_of_their_own(tmp_path, texts):
    save(tmp_path / "images" / "1.png")
    write(tmp_path / texts / "1.txt", "tea")
    assert seen(load_dataset(tmp_path)) == [(str(tmp_path / "images" / "1.png"), "tea")]


@pytest.mark.parametrize(("folders", "pages"), [(("0001", "0002"), 2), (("anna", "0002"), 0)])
def test_truth_in_folders(tmp_path, folders, pages):
    """As OCRopus has it, a folder for each page, named by its number."""
    for folder in folders:
        for line in ("010001", "010002"):
            save(tmp_path / folder / f"{line}.bin.png")
            write(tmp_path / folder / f"{line}.gt.txt", f"{folder} {line}\n")
    dataset = load_dataset(tmp_path)
    assert [sample.text for sample in dataset][1:3] == [
        f"{folders[0] if pages else '0002'} 010002",
        f"{folders[1] if pages else 'anna'} 010001",
    ]
    assert len({sample.page for sample in dataset} - {""}) == pages
    (tmp_path / folders[0]).rename(tmp_path / "train")
    assert [sample.text for sample in load_splits(tmp_path)["train"]] == [
        f"{folders[0]} {line}" for line in ("010001", "010002")
    ]


# lists

LISTS = [
    ("gt_test.txt", "a01-000u-00.png\tA MOVE to\n", "A MOVE to"),  # TrOCR's
    ("gt_test.txt", "a01-000u-00.png  A MOVE to\n", "A MOVE to"),
    ("gt.txt", 'a01-000u-00.png, "Sue\\"s"\n', 'Sue"s'),  # ICDAR's
    ("gt.txt", 'a01-000u-00.png\t"tea"\n', '"tea"'),
    ("labels.txt", "a01-000u-00.png tea, 1.png\n", "tea, 1.png"),
]


@pytest.mark.parametrize(("name", "content", "text"), LISTS)
@pytest.mark.parametrize("inner", [".", "image", "images"])
def test_lists(tmp_path, name, content, text, inner):
    image = save(tmp_path / inner / "a01-000u-00.png")
    write(tmp_path / name, content)
    (found,) = load_splits(tmp_path).values()
    assert seen(found) == [(str(image), text)]


def test_names_that_are_cut_short(tmp_path):
    """Some lines of TrOCR's list say `.jp` for `.jpg`."""
    image = save(tmp_path / "image" / "c04-110-00.jpg")
    write(tmp_path / "gt_test.txt", "c04-110-00.jp\tBecause\n")
    assert seen(load_dataset(tmp_path, split="test")) == [(str(image), "Because")]


def test_lists_of_splits(tmp_path):
    """As PaddleOCR has them, with the folder of each split before the names."""
    for number, (split, folder) in enumerate((("train", "train"), ("val", "test"))):
        save(tmp_path / folder / "word_1.png", number)
        write(tmp_path / f"rec_gt_{split}.txt", f"{folder}/word_1.png\t{split}\n")
    splits = load_splits(tmp_path)
    assert {name: found[0].text for name, found in splits.items()} == {
        "train": "train",
        "valid": "val",
    }
    assert splits["valid"][0].image == str(tmp_path / "test" / "word_1.png")


def test_lines_of_a_list_that_are_none(tmp_path):
    save(tmp_path / "1.png")
    path = write(tmp_path / "gt.txt", "1.png\ttea\n\nmilk\n2.png\n")
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    for line, said in ((3, "'milk'"), (4, "'2.png'")):
        expected = "expected an image's name, a tab or space, its text"
        assert f"{path}:{line}: is {said}; {expected}" in str(caught.value)


def test_other_text_files_are_no_lists(tmp_path):
    save(tmp_path / "1.png")
    write(tmp_path / "README.txt", "These are lines, such as 1.png\n")
    write(tmp_path / "1.txt", "tea.png is nice")
    assert [sample.text for sample in load_dataset(tmp_path)] == ["tea.png is nice"]
