"""Tables with other columns, marks and encodings, and JSON."""

import json
import re

import pytest

from mlx_vedec.data.dataset_checks import checked_ids
from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.data.labels import Labeller
from mlx_vedec.data.samples import Sample
from mlx_vedec.errors import DataError, OptionError
from tests.data.folders import dump, save, write
from tests.support import training_parts as parts


def seen(dataset):
    return [(sample.image, sample.text) for sample in dataset]


NAMED = {"image_column": "filename", "text_column": "words"}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_other_columns_and_marks(tmp_path, mark, start):
    """In a `.csv` any of three marks; quotes hold marks and line breaks together."""
    rows = f'{start}id{mark}filename{mark}words\r\n1{mark}a.png{mark}"tea, 1;2\r\nor ""two"""\r\n'
    path = write(tmp_path / "labels.csv", rows)
    assert seen(load_dataset(tmp_path, **NAMED)) == [
        (str(tmp_path / "a.png"), 'tea, 1;2\r\nor "two"')
    ]
    with pytest.raises(
        DataError, match=r"labels\.csv:1: the row has id, filename, words; expected"
    ):
        load_dataset(path)


def test_other_columns_of_tabs(tmp_path):
    write(tmp_path / "labels.tsv", 'words\tfilename\n"tea", 1\ta.png\n')
    assert seen(load_dataset(tmp_path, **NAMED)) == [(str(tmp_path / "a.png"), '"tea", 1')]
    with pytest.raises(DataError, match=r"labels\.tsv:1: the row has words, filename"):
        load_dataset(write(tmp_path / "labels.tsv", "words\tfilename\na.png\ta.png\n"))


def test_other_columns_of_json_lines(tmp_path):
    dump(tmp_path / "metadata.jsonl", {"filename": "a.png", "words": "tea", "text": 3})
    assert seen(load_dataset(tmp_path, **NAMED)) == [(str(tmp_path / "a.png"), "tea")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "filenam"}, "expected one of filenam; did you mean filename"),
        ({"image_column": "filename"}, "expected one of text, ground_truth, or text_column to"),
        ({}, "expected one of image, file_name, file, or image_column to name another"),
    ],
)
def test_columns_that_are_not_there(tmp_path, options, message):
    """Said once, and not for each row."""
    write(tmp_path / "labels.csv", "filename,words\n" + "a.png,tea\n" * 30)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(tmp_path, **options)
    assert str(caught.value).startswith("1 problem in the data:")


def test_names_of_columns_are_texts(tmp_path):
    for options in ({"image_column": 3}, {"text_column": ["a"]}, {"layout": 1}):
        with pytest.raises(OptionError, match="expected the name of a"):
            load_dataset(tmp_path, **options)


def test_a_column_of_the_hub_with_another_name(tmp_path):
    """Any `*_file_name`, where none has a name that is known."""
    write(tmp_path / "metadata.csv", "page_file_name,text\na.png,tea\n")
    assert seen(load_dataset(tmp_path)) == [(str(tmp_path / "a.png"), "tea")]
    write(tmp_path / "metadata.csv", "a_file_name,b_file_name,text\na.png,b.png,tea\n")
    with pytest.raises(
        DataError, match="has a_file_name, b_file_name, text; expected one of image"
    ):
        load_dataset(tmp_path)


def test_a_column_that_is_there_twice(tmp_path):
    write(tmp_path / "labels.csv", "file,text,text\na.png,tea,milk\n")
    with pytest.raises(DataError, match="names the column 'text' more than once"):
        load_dataset(tmp_path)


def test_commas_without_names_of_columns(tmp_path):
    write(tmp_path / "labels.csv", 'a.png,tea\n"b.png","a, b"\n')
    assert seen(load_dataset(tmp_path)) == [
        (str(tmp_path / "a.png"), "tea"),
        (str(tmp_path / "b.png"), "a, b"),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_encodings_that_say_what_they_are(tmp_path, encoding):
    (tmp_path / "labels.tsv").write_bytes("file\ttext\na.png\té茶\n".encode(encoding))
    assert load_dataset(tmp_path)[0].text == "é茶"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,text\na.png,é\n".encode("latin-1"), "labels.csv:2: is not UTF-8"),
        (b"\xff\xfef", "labels.csv:1: is not UTF-16"),
        (b"", "labels.csv has no samples"),
        (b"\n\n", "labels.csv has no samples"),
    ],
)
def test_encodings_that_are_wrong(tmp_path, content, message):
    write(tmp_path / "labels.csv", content)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize(("table", "folder"), [("metadata.csv", "images"), ("train.csv", "train")])
def test_images_in_a_folder_beside_the_table(tmp_path, table, folder):
    """A table may name them as its folder `images`, or that of its name, has them."""
    save(tmp_path / folder / "a.png")
    write(tmp_path / table, "file_name,text\na.png,tea\nb.png,milk\n")
    (found,) = load_splits(tmp_path).values()
    assert [image for image, _ in seen(found)] == [
        str(tmp_path / folder / name) for name in ("a.png", "b.png")
    ]


@pytest.mark.parametrize("name", ["../a.png", "/somewhere/a.png", "in/../a.png"])
def test_paths_stay_as_they_are_written(tmp_path, name):
    dump(tmp_path / "data" / "metadata.jsonl", {"file_name": name, "text": "tea"})
    assert load_dataset(tmp_path / "data")[0].image == str(tmp_path / "data" / name)


# JSON

SHAPES = [
    {"1.png": "tea"},
    {"1.png": {"text": "tea", "lang": "en"}},
    {"page 1": {"file_name": "1.png", "text": "tea"}},
    [{"image": "1.png", "text": "tea"}],
    {"data": [{"file_name": "1.png", "text": "tea"}], "version": 1},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["labels.json", "annotations.json", "train_labels.json"])
def test_json(tmp_path, shape, name):
    write(tmp_path / name, json.dumps(shape))
    (found,) = load_splits(tmp_path).values()
    assert seen(found) == [(str(tmp_path / "1.png"), "tea")]


def test_json_of_documents(tmp_path):
    rows = [{"file_name": "1.png", "ground_truth": {"gt_parse": {"total": "3"}}}]
    write(tmp_path / "labels.json", json.dumps(rows))
    assert load_dataset(tmp_path)[0].text == "<s_total>3</s_total>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"a.png": "tea", "a.png": "milk"}',
            "labels.json:1: is no JSON .'a.png' stands there twi",
        ),
        ('{"a.png": 3}', "labels.json:a.png: is 3; expected an object with image and text"),
        ('[["a.png", "tea"]]', r"labels.json:entry 1: is \['a.png', 'tea'\]; expected an object"),
        ('{"a.png": {"polygons": []}}', "a.png: the row has polygons, image; expected one of text"),
        ('"tea"', 'labels.json:1: is "tea"; expected an object such as'),
        ("{}", "labels.json has no samples"),
        ("[" * 100_000, "labels.json:1: is no JSON"),
        ('{"a.png": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_json_that_is_no_table(tmp_path, content, message):
    write(tmp_path / "labels.json", content)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(tmp_path)
    assert len(str(caught.value)) < 600


def test_json_about_something_else_is_no_table(tmp_path):
    write(tmp_path / "config.json", "{}")
    dump(tmp_path / "labels.jsonl", {"file_name": "a.png", "text": "tea"})
    assert len(load_dataset(tmp_path)) == 1


# scripts


@pytest.mark.parametrize(
    "text",
    [
        "שָׁלוֹם 12",  # right to left, with marks
        "\u202bسلام\u202c",  # and with marks of direction
        "e\u0301",  # a mark of its own
        "क्‍ष",  # joined by a character without width
        "🇫🇷👩‍🎤",  # beyond 16 bits
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.json", "1.txt", "gt.txt"])
def test_texts_come_as_they_are_written(tmp_path, text, name):
    save(tmp_path / "1.png")
    content = {
        "labels.csv": f"file,text\n1.png,{text}\n",
        "labels.tsv": f"1.png\t{text}\n",
        "labels.json": json.dumps({"1.png": text}),
        "1.txt": f"{text}\n",
        "gt.txt": f"1.png\t{text}\n",
    }
    write(tmp_path / name, content[name])
    assert seen(load_dataset(tmp_path)) == [(str(tmp_path / "1.png"), text)]


@pytest.mark.parametrize("text", ["", " ", "\u00a0\t", "\u200b", "\u202b\u202c", "\ufeff\u3000"])
def test_texts_in_which_nothing_is_seen(tmp_path, text):
    """Spaces of any width, and marks of direction, are no text to learn."""
    rows = [Sample(str(save(tmp_path / "1.png")), text, where="here")]
    blank = f" but for {ascii(text)}" if text else ""
    message = re.escape(f"here: the text is empty{blank}; expected what is to be read")
    with pytest.raises(DataError, match=message):
        checked_ids(rows, Labeller(parts.model(), parts.processor()), ask=False)
