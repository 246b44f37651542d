"""Archives of WebDataset."""

import io
import json
import tarfile

import pytest

from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.errors import DataError
from mlx_vedec.images.loading import load_image
from tests.data.folders import same, write
from tests.support import training_parts as parts


def png(number=0):
    data = io.BytesIO()
    parts.picture(number).save(data, "PNG")
    return data.getvalue()


def pack(path, mode="w", **files):
    """An archive of files, whose names have a bar in the place of each dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode("utf-8")
            member = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_texts_and_json(tmp_path):
    files = {
        "a__1_png": png(1),
        "a__1_txt": "Tea\n",
        "b__1_json": json.dumps({"text": "rice", "prompt": "p"}),
        "b__1_jpg": png(2),
    }
    path = pack(tmp_path / "000000.tar", **files)
    for given in (tmp_path, path):
        one, two = load_dataset(given)
        assert (one.text, two.text, two.prompt) == ("Tea", "rice", "p")
        assert one.where == str(one.image) == f"{path}:a/1"
        assert same(load_image(two.image), 2) and same(load_image(one.image), 1)


def test_shards_and_splits(tmp_path):
    for number, (name, text) in enumerate((("train-0", "a"), ("train-1", "b"), ("val-0", "c"))):
        pack(tmp_path / f"{name}.tar", **{f"{text}_png": png(number), f"{text}_txt": text})
    splits = load_splits(tmp_path)
    assert {n: [s.text for s in found] for n, found in splits.items()} == {
        "train": ["a", "b"],
        "valid": ["c"],
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1_png": b"", "1_cls": "3"}, "a.tar:1: has .png, .cls; expected a .txt or .json beside"),
        ({"1_png": b"", "1_jpg": b"", "1_txt": "a"}, "has .png, .jpg, .txt; expected an image and"),
        ({"1_txt": "a"}, "a.tar:1: has .txt; expected an image and a text"),
        ({"1_png": b"", "1_txt": b"\xe9"}, "1.txt is not UTF-8"),
        ({"1_png": b"", "1_json": "["}, "its .json is no JSON"),
        ({"1_png": b"", "1_json": "3"}, "its .json is no object"),
        ({"1_png": b"", "1_json": "{}"}, "the row has image; expected one of text"),
        ({}, "a.tar has no samples"),
    ],
)
def test_archives_that_are_none(tmp_path, files, message):
    pack(tmp_path / "a.tar", **files)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_archives_that_are_compressed_or_cut(tmp_path):
    path = pack(tmp_path / "a.tar", "w:gz", **{"1_png": png(), "1_txt": "a"})
    with pytest.raises(DataError, match="is no whole archive that is not compressed"):
        load_dataset(path)
    path.rename(tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match="\na.tar.gz is packed; unpack it"):
        load_dataset(tmp_path)
    whole = pack(tmp_path / "b.tar", **{"1_png": png(), "1_txt": "a"}).read_bytes()
    write(tmp_path / "b.tar", whole[:600])
    with pytest.raises(DataError, match="b.tar is no whole archive"):
        load_dataset(tmp_path / "b.tar")
