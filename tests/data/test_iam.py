"""The IAM handwriting database, as it is unpacked."""

import shutil

import pytest

from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.errors import DataError
from tests.data.folders import FORM, IAM_FORM, IAM_LINES, IAM_WORDS, LINES, iam, write

TEXTS = ["A MOVE to stop", "nominating any .", '# of "Labour"']


def texts(dataset):
    return [sample.text for sample in dataset]


@pytest.mark.parametrize("flat", [False, True])
def test_lines(tmp_path, flat):
    """Lines that are marked err are whole: it is their words that were cut wrongly."""
    dataset = load_dataset(iam(tmp_path, flat=flat))
    inner = "lines" if flat else f"lines/a01/{FORM}"
    assert texts(dataset) == TEXTS
    assert dataset[0].image == str(tmp_path / inner / f"{LINES[0]}.png")
    assert dataset[1].where == f"{tmp_path / 'ascii' / 'lines.txt'}:6"
    assert [sample.page for sample in dataset] == [FORM, FORM, "b02-045"]


def test_words(tmp_path):
    """Where there are no lines, or where their file is named; a wrong box is left out."""
    iam(tmp_path)
    with pytest.warns(UserWarning, match="left out 1 word marked err"):
        dataset = load_dataset(tmp_path / "ascii" / "words.txt")
    assert texts(dataset) == ["A", "MOVE", "#"]
    assert dataset[0].image == str(tmp_path / f"words/a01/{FORM}/{LINES[0]}-00.png")
    shutil.rmtree(tmp_path / "lines")
    with pytest.warns(UserWarning, match="left out 1"):
        assert texts(load_dataset(tmp_path)) == ["A", "MOVE", "#"]


def test_forms_where_there_is_no_table(tmp_path):
    """Their texts have the spaces as they were written."""
    iam(tmp_path)
    shutil.rmtree(tmp_path / "ascii")
    path = write(tmp_path / "xml" / "a01-000u.xml", IAM_FORM)
    dataset = load_dataset(tmp_path)
    assert texts(dataset) == ['A MOVE to "stop"', "nominating any."]
    assert dataset[1].where == f"{path}:a01-000u-01"
    assert dataset[1].image == str(tmp_path / f"lines/a01/{FORM}/{LINES[1]}.png")


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        (".", ("train.uttlist", "validation.uttlist", "test.uttlist")),
        ("splits", ("train.txt", "val.txt", "test.txt")),
        (
            "largeWriterIndependentTextLineRecognitionTask",
            ("trainset.txt", "validationset1.txt", "testset.txt"),
        ),
    ],
)
def test_splits_by_lists_of_pages_or_lines(tmp_path, folder, names):
    iam(tmp_path)
    by_name = (FORM, "b02-045", LINES[2])
    for name, members in zip(names, by_name, strict=True):
        write(tmp_path / folder / name, f"{members}\n")
    with pytest.warns(UserWarning, match="share images, or lines of a page: 1 of 1 in test are"):
        splits = load_splits(tmp_path)
    assert {split: texts(found) for split, found in splits.items()} == {
        "train": TEXTS[:2],
        "valid": TEXTS[2:],
        "test": TEXTS[2:],
    }


def test_pages_stay_whole(tmp_path):
    splits = load_splits(iam(tmp_path), valid_fraction=0.3)
    pages = [{sample.page for sample in splits[name]} for name in ("train", "valid")]
    assert not pages[0] & pages[1] and pages[0] | pages[1] == {FORM, "b02-045"}


@pytest.mark.parametrize("name", ["lines.txt", "words.txt"])
def test_images_that_are_missing(tmp_path, name):
    """One error says which folder is missing, and not that each image is."""
    text = {"lines.txt": IAM_LINES, "words.txt": IAM_WORDS}[name]
    table = write(tmp_path / "ascii" / name, text)
    kind = name.split(".")[0]
    message = f"ascii/{name} is IAM's, but there is no folder {kind} with its images"
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match=f"the folder {kind} is not there; unpack {kind}.tgz"):
        load_dataset(table)


def test_lines_that_are_none(tmp_path):
    iam(tmp_path)
    path = write(tmp_path / "ascii" / "lines.txt", IAM_LINES + "a01-000u-02 ok 154 19\n../x ok 1\n")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert str(caught.value).split("\n") == [
        "2 problems in the data:",
        f"  {path}:8: is 'a01-000u-02 ok 154 19'; expected nine parts, as a01-000u-00 ok 154 …",
        f"  {path}:9: is '../x ok 1'; expected nine parts, as a01-000u-00 ok 154 …",
    ]


def test_a_split_of_lines_that_are_not_there(tmp_path):
    write(iam(tmp_path) / "train.txt", "z09-999\n")
    with pytest.raises(DataError, match="lines.txt has none of z09-999; expected lines as a01-"):
        load_splits(tmp_path)


def test_a_table_of_comments_alone(tmp_path):
    iam(tmp_path)
    path = write(tmp_path / "ascii" / "words.txt", "# nothing\na01-000u-00-00 err 1 2 3 4 5 AT A\n")
    with (
        pytest.warns(UserWarning, match="left out 1"),
        pytest.raises(DataError, match="has no sam"),
    ):
        load_dataset(path)
