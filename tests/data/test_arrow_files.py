"""Parquet files and folders of `datasets`, as these are written."""

import builtins
import contextlib
import io
import json
import os

import numpy as np
import pytest

from mlx_vedec.data import arrow_files
from mlx_vedec.data.dataset_checks import checked_ids
from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.data.labels import Labeller
from mlx_vedec.data.stored import Spool
from mlx_vedec.errors import DataError, ImageError, OptionError
from mlx_vedec.images.loading import load_image
from tests.data.folders import same, save, write
from tests.support import training_parts as parts

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number):
    data = io.BytesIO()
    parts.picture(number).save(data, "PNG")
    return data.getvalue()


def table(numbers=(0, 1, 2), **columns):
    """Images as `datasets` has them, and texts."""
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in numbers]
    found = {"image": pa.array(images, IMAGE), "text": [f"text {n}" for n in numbers], **columns}
    return pa.table(found)


def saved(folder, found, shards=1):
    """A folder of `save_to_disk`."""
    folder.mkdir(parents=True)
    names = [f"data-{n:05}-of-{shards:05}.arrow" for n in range(shards)]
    step = -(-len(found) // shards)
    for number, name in enumerate(names):
        with pa.ipc.new_stream(folder / name, found.schema) as sink:
            sink.write_table(found.slice(number * step, step))
    write(folder / "state.json", json.dumps({"_data_files": [{"filename": n} for n in names]}))
    write(folder / "dataset_info.json", "{}")
    return folder


def check(dataset, numbers=(0, 1, 2)):
    """The images and texts of these numbers, twice, in another order."""
    assert [sample.text for sample in dataset] == [f"text {number}" for number in numbers]
    for place in [*range(len(numbers))][::-1] * 2:
        assert same(load_image(dataset[place].image), numbers[place])


def test_bytes_and_paths(tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    check(load_dataset(tmp_path))
    dataset = load_dataset(tmp_path / "a.parquet")
    check(dataset)
    assert dataset[1].where == str(dataset[1].image) == f"{tmp_path / 'a.parquet'}:2"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_alone(tmp_path, kind):
    images = pa.array([png(0), png(1)], kind)
    rows = pa.table({"img": images, "transcription": ["text 0", "text 1"]})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=1)
    named = {"image_column": "img", "text_column": "transcription"}
    check(load_dataset(tmp_path, **named), (0, 1))
    message = "a.parquet: the row has img, transcription; expected one of image.*did you mean image"
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_paths_alone(tmp_path):
    """As `metadata.parquet` beside the images; a row may have a path where others have bytes."""
    path = save(tmp_path / "in" / "0.png")
    rows = pa.table({"file_name": ["in/0.png"], "text": ["text 0"], "prompt": ["p"]})
    pq.write_table(rows, tmp_path / "metadata.parquet")
    (sample,) = load_dataset(tmp_path)
    assert (sample.image, sample.text, sample.prompt) == (str(path), "text 0", "p")
    images = [{"bytes": None, "path": "in/0.png"}, {"bytes": png(1), "path": None}]
    rows = pa.table({"image": pa.array(images, IMAGE), "text": ["text 0", "text 1"]})
    pq.write_table(rows, tmp_path / "metadata.parquet")
    check(load_dataset(tmp_path), (0, 1))


def test_splits_of_the_hub(tmp_path):
    """Several files of one split are one."""
    (tmp_path / "data").mkdir()
    for name, numbers in (
        ("train-00000-of-00002", (0, 1)),
        ("train-00001-of-00002", (2, 3)),
        ("validation-00000-of-00001", (4,)),
    ):
        pq.write_table(table(numbers), tmp_path / "data" / f"{name}.parquet")
    splits = load_splits(tmp_path)
    check(splits["train"], (0, 1, 2, 3))
    check(splits["valid"], (4,))


@pytest.mark.parametrize("shards", [1, 2])
def test_a_saved_dataset(tmp_path, shards):
    saved(tmp_path / "saved", table((0, 1, 2)), shards)
    check(load_dataset(tmp_path / "saved"))
    check(
        load_dataset(tmp_path / "saved" / f"data-00000-of-{shards:05}.arrow"),
        (0, 1, 2)[: 4 - shards],
    )


def test_saved_splits(tmp_path):
    write(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    saved(tmp_path / "train", table((0, 1)))
    saved(tmp_path / "test", table((2,)))
    splits = load_splits(tmp_path)
    assert list(splits) == ["train", "test"]
    check(splits["test"], (2,))


def test_saved_splits_of_other_names(tmp_path):
    write(tmp_path / "dataset_dict.json", '{"splits": ["lines", "words"]}')
    saved(tmp_path / "lines", table((0, 1)))
    message = "names the splits lines, words; expected folders of train, valid or test\n.*lines has"
    with pytest.raises(DataError, match=message):
        load_splits(tmp_path)


def test_documents(tmp_path):
    truth = json.dumps({"gt_parses": [{"a": "x"}, {"a": "y"}]})
    rows = table((0,)).drop_columns(["text"]).append_column("ground_truth", pa.array([truth]))
    pq.write_table(rows, tmp_path / "a.parquet")
    one, two = load_dataset(tmp_path)
    assert (one.text, two.text) == ("<s_a>x</s_a>", "<s_a>y</s_a>")
    assert one.image is two.image


def test_images_are_not_held(tmp_path, monkeypatch):
    """Of a file in one piece a few rows are in memory, and none once it has been read."""
    count, size = 6000, 2000
    noise = np.random.default_rng(0).bytes(count * size)
    images = [noise[n * size : (n + 1) * size] for n in range(count)]
    pq.write_table(pa.table({"image": images, "text": ["tea"] * count}), tmp_path / "a.parquet")
    before, most = pa.total_allocated_bytes(), []
    add = Spool.add

    def watched(spool, data):
        most.append(pa.total_allocated_bytes() - before)
        return add(spool, data)

    monkeypatch.setattr(Spool, "add", watched)
    dataset = load_dataset(tmp_path)
    assert len(dataset) == len(most) == count and max(most) < count * size / 2
    assert pa.total_allocated_bytes() <= before
    assert dataset[count - 1].image.read() == images[-1]


def broken(path):
    write(path, b"PAR1" + bytes(20))


def cut(path):
    pq.write_table(table(), path)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("make", [broken, cut])
def test_files_that_are_not_whole(tmp_path, make):
    make(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="a.parquet is no whole parquet file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": pa.array([1, 2, 3])}, "a.parquet:1: text is 1; expected a string"),
        ({"text": pa.array(["a", None, "c"])}, "a.parquet:2: text is None; expected a string"),
        ({"image": pa.array([1.5, 2, 3])}, "a.parquet:1: image is 1.5; expected a path"),
        (
            {"image": pa.array([["a.png"]] * 3)},
            r"a.parquet:1: image is \['a.png'\]; expected a path",
        ),
    ],
)
def test_rows_that_are_none(tmp_path, columns, message):
    pq.write_table(table(**columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_images_that_cannot_be_read_are_named(tmp_path):
    """Before the training, by a look at their headers."""
    images = [png(0), b"tea", png(1)[:30]]
    pq.write_table(pa.table({"image": images, "text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    labeller = Labeller(parts.model(), parts.processor())
    with pytest.raises(DataError, match="2 problems") as caught:
        checked_ids(load_dataset(tmp_path), labeller, ask=False)
    assert f"{tmp_path / 'a.parquet'}:2: an image of 3 bytes is in no format" in str(caught.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": [{"filename": "../a.arrow"}]}, "names no files beside it"),
        ({"_data_files": [3]}, "names no files beside it"),
        ({}, "names no files beside it"),
        (
            {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{}]},
            "rows are chosen by indices",
        ),
        ({"_data_files": [{"filename": "a.arrow"}]}, "a.arrow is no whole Arrow file"),
    ],
)
def test_states_that_are_wrong(tmp_path, state, message):
    write(tmp_path / "state.json", json.dumps(state))
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_without_pyarrow(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", b"")
    real = builtins.__import__

    def importing(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(OptionError, match=r"needs pyarrow, not installed; pip install 'mlx-vedec"):
        load_dataset(tmp_path)
    assert "mlx-vedec[parquet]" in arrow_files.INSTALL


@pytest.mark.parametrize("seed", range(8))
def test_bytes_that_were_changed(tmp_path, seed):
    """An error of ours, and not one of the process: offsets of Arrow files are not trusted."""
    folder = saved(tmp_path / "saved", table())
    path = folder / "data-00000-of-00001.arrow"
    data, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in random.integers(0, len(data), 40):
        data[place] = random.integers(256)
    path.write_bytes(data)
    with contextlib.suppress(DataError, ImageError):
        for sample in load_dataset(folder):
            load_image(sample.image)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_pipes_are_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} is a pipe; expected a regular file"):
        load_dataset(tmp_path)
