"""Which layout a folder is, what is said of one that is none, and how layouts come to commands."""

import json
import warnings

import pytest

from mlx_vedec.commands.flags import SHARED
from mlx_vedec.data.datasets import labelled_images, load_dataset, load_splits
from mlx_vedec.data.layouts import ACCEPTED, LAYOUTS
from mlx_vedec.data.listing import split_of
from mlx_vedec.errors import DataError
from tests.data.folders import dump, iam, save, write
from tests.data.test_archives import pack, png
from tests.pages.layouts import page_xml, printed, text_line, text_region


def make(folder, name):
    """A small folder of a layout."""
    if name == "table":
        save(folder / "1.png")
        dump(folder / "metadata.jsonl", {"file_name": "1.png", "text": "tea"})
    elif name == "beside":
        save(folder / "1.png")
        write(folder / "1.txt", "tea")
    elif name == "list":
        save(folder / "image" / "1.png")
        write(folder / "gt.txt", "1.png\ttea\n")
    elif name == "iam":
        iam(folder)
    elif name == "pages":
        line = text_line("l", more="<TextEquiv><Unicode>tea</Unicode></TextEquiv>")
        write(folder / "page" / "page.xml", page_xml(text_region("r", line)))
        printed("tea").save(folder / "page.png")
    elif name == "webdataset":
        pack(folder / "0.tar", **{"1_png": png(), "1_txt": "tea"})
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        folder.mkdir(parents=True, exist_ok=True)
        rows = pa.table({"image": [png()], "text": ["tea"]})
        if name == "parquet":
            pq.write_table(rows, folder / "0.parquet")
        else:
            with pa.ipc.new_stream(folder / "data.arrow", rows.schema) as sink:
                sink.write_table(rows)
            write(folder / "state.json", json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout(name, tmp_path):
    """As a folder, as a split, by its name, and to measure on."""
    folder = make(tmp_path / "data" / "train", name)
    whole, named = load_dataset(folder), load_dataset(folder, layout=name)
    texts = [sample.text for sample in whole]
    assert [sample.text for sample in named] == texts and texts[0] in ("tea", "A MOVE to stop")
    splits = load_splits(folder.parent)
    assert {n: [s.text for s in found] for n, found in splits.items()} == {"train": texts}
    found = labelled_images(folder)
    assert found.labels == tuple(texts)
    assert len(found.images) == len(texts)
    others = [other for other in LAYOUTS if other not in (name, "table")]
    with pytest.raises(DataError, match="has no training data"):
        load_dataset(folder, layout=others[0])


@pytest.mark.parametrize("name", ["beside", "list", "iam", "pages"])
def test_a_column_of_data_without_columns_is_an_error(name, tmp_path):
    folder = make(tmp_path / "data", name)
    for column in ("image_column", "text_column"):
        for load in (load_dataset, load_splits):
            with pytest.raises(DataError, match=f"{column} is for tables, and .* no columns"):
                load(folder, **{column: "scan"})


def test_every_layout_has_a_name_and_a_line():
    help, *_ = SHARED["data_layout"]
    assert all(name in help for name in LAYOUTS)
    assert all(layout.expected in ACCEPTED for layout in LAYOUTS.values())
    with pytest.raises(DataError, match="layout is 'tabel'; did you mean table?"):
        load_dataset(".", layout="tabel")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("table", "pages", "metadata.jsonl, page.xml"),
        ("beside", "list", "images with .txt beside them, gt.txt"),
        ("iam", "webdataset", "lines.txt of IAM, 0.tar"),
        ("table", "webdataset", "metadata.jsonl, 0.tar"),
    ],
)
def test_what_could_be_read_in_two_ways(one, other, said, tmp_path):
    make(make(tmp_path, one), other)
    with pytest.raises(
        DataError, match=f"has {said}; expected one of them; name the file"
    ) as caught:
        load_dataset(tmp_path)
    assert f"or give the layout: {', '.join(LAYOUTS)}" in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(load_dataset(tmp_path, layout=one))
        assert len(load_dataset(tmp_path, layout=other))


def test_a_split_that_could_be_read_in_two_ways(tmp_path):
    make(make(tmp_path / "train", "table"), "webdataset")
    with pytest.raises(DataError, match="train has metadata.jsonl, 0.tar; expected one of them"):
        load_splits(tmp_path)


NEAR = [
    (["cat/1.png", "dog/1.png"], "folders cat, dog hold images without texts; if they name"),
    (["1.png", "a.txt"], "no text has the name of an image: a.txt, but 1.png"),
    (["1.gt.txt"], "1.gt.txt has no image of its name beside it"),
    (["data.mdb", "lock.mdb"], "data.mdb is LMDB, which is not read; write its images"),
    (["images.zip"], "images.zip is packed; unpack it"),
    (["archive.tgz"], "archive.tgz is packed; unpack it"),
    (["train/a.png", "val/b.png"], "the folder train has 1 .png, and no texts\nthe folder val has"),
    (["train/cat/1.png", "test/cat/1.png"], "the folders test/cat, train/cat hold images without"),
    (["inner/metadata.csv"], "the folder inner has metadata.csv; give that folder"),
    (["trian/a.csv"], r"and it has the folder trian \(did you mean train\?\)\n.*has a.csv; give"),
]


@pytest.mark.parametrize(("names", "said"), NEAR)
def test_what_comes_near(names, said, tmp_path):
    """One error: what is expected, what there is, and what comes near."""
    for name in names:
        if name.endswith(".png"):
            save(tmp_path / name)
        else:
            write(tmp_path / name, "tea")
    with pytest.raises(DataError, match=said) as caught:
        load_splits(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path} has no training data; {ACCEPTED}\nand it has ")
    assert len(text) < 2000


def test_a_folder_of_very_many_things_is_told_of_in_short(tmp_path):
    for number in range(300):
        write(tmp_path / f"{number}.{number}", "")
        (tmp_path / f"{'folder' * 30}{number}").mkdir()
    with pytest.raises(DataError) as caught:
        load_splits(tmp_path)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Train_2", "train"),
        ("labels.val", "valid"),
        ("test-00000-of-00001", "test"),
        ("trains", None),
        ("train_or_test", None),
        ("train_training", "train"),
        ("labels", None),
    ],
)
def test_splits_by_names(name, split):
    assert split_of(name) == split


def test_what_is_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match="does not exist; .*; what is on the Hub is downloaded with"
    ):
        load_dataset("Teklia/IAM-line")
