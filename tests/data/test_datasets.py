"""What folders and files of training data are read as, and what is said of those that are none."""

from __future__ import annotations

import json
import re

import pytest

from mlx_vedec.data.dataset_checks import missing_tokens
from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.data.layouts import ACCEPTED
from mlx_vedec.data.samples import Dataset, Sample
from mlx_vedec.errors import DataError, TokenError
from mlx_vedec.reading.new_tokens import add_tokens
from mlx_vedec.reading.processor import DonutProcessor
from mlx_vedec.tasks.donut import token2json
from tests.support import training_parts as parts


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def seen(dataset):
    return [(sample.image, sample.text) for sample in dataset]


# tables


def test_json_lines(tmp_path):
    rows = (
        {"image": "in/a.png", "text": " tea\u2028"},
        {"image": "/b.png", "text": "x", "prompt": "p"},
    )
    path = write(tmp_path / "train.jsonl", rows[0], "", rows[1])
    first, second = load_dataset(path)
    assert first == Sample(str(tmp_path / "in/a.png"), " tea\u2028", None, f"{path}:1")
    assert second == Sample("/b.png", "x", "p", f"{path}:3")


def test_lines_break_at_line_feeds_only(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(
        '\ufeff{"image": "a", "text": "one\u2028two"}\r\n{"image": "b", "text": "c"}'.encode()
    )
    assert seen(load_dataset(path)) == [
        (str(tmp_path / "a"), "one\u2028two"),
        (str(tmp_path / "b"), "c"),
    ]


@pytest.mark.parametrize("header", ["", "file\ttext\n", "file_name\ttext\n"])
def test_tabs(tmp_path, header):
    (tmp_path / "labels.tsv").write_text(f'{header}a.png\tsays "tea", not\nb.png\t two \n')
    dataset = load_dataset(tmp_path)
    assert [sample.text for sample in dataset] == ['says "tea", not', " two "]
    assert dataset[0].where == f"{tmp_path / 'labels.tsv'}:{1 + bool(header)}"


def test_tabs_with_other_columns(shared):
    dataset = load_splits(shared / "checkpoints/tiny-ocr")["valid"]
    assert len(dataset) == 200
    assert dataset[2].text == "62.935 Rn sustainable"
    assert dataset[2].image == str(shared / "checkpoints/tiny-ocr/val/seen_001.png")


def test_commas(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text('text,file_name,font\n"a ""b"",\nc",1.png,x\nd,2.png,y\n')
    assert seen(load_dataset(tmp_path)) == [
        (str(tmp_path / "1.png"), 'a "b",\nc'),
        (str(tmp_path / "2.png"), "d"),
    ]
    assert [sample.where for sample in load_dataset(path)] == [f"{path}:2", f"{path}:4"]


def test_url_stays(tmp_path):
    path = write(tmp_path / "a.jsonl", {"image": "HTTPS://x.org/a.png", "text": "t"})
    assert load_dataset(path)[0].image == "HTTPS://x.org/a.png"


BAD_LINES = [
    ("[1", "is no JSON"),
    ("[1]", "expected an object with image and text"),
    ({"image": "a"}, "the row has image; expected one of text, ground_truth"),
    ({"image": "a", "file_name": "b", "text": "c"}, "expected one of image, file_name, file"),
    ({"image": 3, "text": "c"}, "image is 3; expected a path"),
    ({"image": "a", "text": {"x": 1}}, 'goes under "ground_truth"'),
    ({"image": "a", "text": "b", "prompt": 3}, "prompt is 3; expected a string"),
    ({"image": "a", "text": "\ud800"}, "half a surrogate pair"),
    ({"image": "\ud800.png", "text": "b"}, "png' has half a surrogate pair"),
    ({"image": "a", "text": "b", "prompt": "\ud800"}, "half a surrogate pair"),
    ({"image": "a", "ground_truth": "{"}, "ground_truth is no JSON"),
    ({"image": "a", "ground_truth": {"x": 1}}, 'expected an object with "gt_parse"'),
    ({"image": "a", "ground_truth": {"gt_parses": {}}}, "expected a list of objects"),
    ({"image": "a", "ground_truth": {"gt_parse": {"a": [["b"]]}}}, "a list stands in a list"),
]


def test_all_bad_lines_are_named_at_once(tmp_path):
    good = {"image": "a", "text": "b"}
    path = write(tmp_path / "train.jsonl", good, *[line for line, _ in BAD_LINES])
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    head, *lines = str(caught.value).split("\n")
    assert head == f"{len(BAD_LINES)} problems in the data:"
    for number, (line, (_, message)) in enumerate(zip(lines, BAD_LINES, strict=True), start=2):
        assert line.startswith(f"  {path}:{number}: ")
        assert message in line


def test_a_long_list_of_problems_is_cut(tmp_path):
    path = write(tmp_path / "train.jsonl", *["3"] * 25)
    with pytest.raises(DataError, match=r"^25 problems(?s:.*):20: .*\n  and 5 more$"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"a.png\n", "a.tsv:1: has 1 columns; expected 2: file, text"),
        ("a.tsv", b"a\tb\nc\td\te\n", "a.tsv:2: has 3 columns"),
        ("a.csv", b"file,text\na,b,c\n", "a.csv:2: has 3 columns"),
        ("a.csv", b'file,text\na,b\n"c', "a.csv:3: is no CSV"),
        ("a.csv", b"x,text\na,b\n", "a.csv:1: the row has x, text"),
        ("a.csv", b"file,text\n", "a.csv has no samples"),
        ("a.jsonl", b"\n\n", "a.jsonl has no samples"),
        ("a.jsonl", b'\n{"image": "\xff"}', "a.jsonl:2: is not UTF-8"),
        ("a.json", b"{}", "a.json has no samples"),
        ("a.yaml", b"{}", "is no table; expected a file .jsonl, .tsv, .csv, .json, .parquet"),
    ],
)
def test_bad_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / name)


# documents

TEA = {"menu": [{"nm": "tea"}, {"nm": "rice"}], "kind": "memo"}
TEA_TEXT = "<s_menu><s_nm>tea</s_nm><sep/><s_nm>rice</s_nm></s_menu><s_kind>memo</s_kind>"
TAGS = ("<s_menu>", "</s_menu>", "<sep/>", "<s_nm>", "</s_nm>", "<s_kind>", "</s_kind>")


@pytest.mark.parametrize("encode", [json.dumps, lambda value: value])
def test_documents_become_tags(tmp_path, encode):
    row = {"file_name": "a.png", "ground_truth": encode({"gt_parse": TEA, "meta": 1})}
    write(tmp_path / "metadata.jsonl", row)
    (sample,) = load_dataset(tmp_path)
    assert sample.text == TEA_TEXT
    assert token2json(sample.text) == TEA
    assert set(sample.tags) == set(TAGS)
    (sample,) = load_dataset(tmp_path, added_vocab={"<memo/>"})
    assert sample.text == TEA_TEXT.replace("memo", "<memo/>")
    assert set(sample.tags) == set(TAGS)


def test_several_parses_are_several_samples(tmp_path):
    asked = [{"question": "who?", "answer": "me"}, {"question": "who?", "answer": "I"}]
    path = write(tmp_path / "train.jsonl", {"image": "a", "ground_truth": {"gt_parses": asked}})
    samples = load_dataset(path)
    assert [(sample.prompt, sample.text) for sample in samples] == [
        ("who?", "me</s_answer>"),
        ("who?", "I</s_answer>"),
    ]
    assert {sample.where for sample in samples} == {f"{path}:1"}
    with pytest.raises(DataError, match="sample 0 has 2 gt_parses; expected one"):
        Dataset([{"image": "a", "ground_truth": {"gt_parses": asked}}])[0]


def test_tags_that_are_no_tokens_yet(tmp_path):
    data = [{"image": parts.picture(), "ground_truth": {"gt_parse": TEA}}]
    made, reader = parts.model(), parts.processor(["<sep/>", "<s_task>"], DonutProcessor)
    missing = missing_tokens(Dataset(data), reader)
    assert missing == [tag for tag in TAGS if tag != "<sep/>"]
    before = reader.tokenizer.encode("tea <sep/>")
    ids = add_tokens(made, reader, missing)
    assert ids == list(range(33, 33 + len(missing)))
    assert made.config.decoder.vocab_size == 39
    assert made.decoder.embed_tokens.weight.shape[0] == 39
    assert missing_tokens(Dataset(data), reader) == []
    assert add_tokens(made, reader, missing) == ids
    assert reader.tokenizer.encode("tea <sep/>") == before
    reader.save_pretrained(tmp_path)
    again = DonutProcessor.from_pretrained(tmp_path)
    assert again.tokenizer.encode(TEA_TEXT) == reader.tokenizer.encode(TEA_TEXT)
    assert again.tokenizer.decode(again.tokenizer.encode(TEA_TEXT, False)) == TEA_TEXT
    with pytest.raises(TokenError, match="expected texts without spaces"):
        add_tokens(made, reader, ["<a>", " "])


# folders


def test_texts_beside_images(tmp_path):
    paths = parts.pictures(tmp_path, 3)
    for number, path in enumerate(paths):
        path.with_suffix(".txt").write_text(f" text {number}\n")
    dataset = load_dataset(tmp_path)
    assert seen(dataset) == [(str(path), f" text {n}") for n, path in enumerate(paths)]
    assert dataset[1].where == str(tmp_path / "001.txt")


def test_texts_beside_only_some_images(tmp_path):
    (path, other, third) = parts.pictures(tmp_path, 3)
    path.with_suffix(".txt").write_text("a")
    third.with_suffix(".txt").write_text("b")
    third.with_suffix(".jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert f"{other}: has no text; expected 001.txt beside it" in str(caught.value)
    assert "002.txt is beside several images of its name" in str(caught.value)


@pytest.mark.parametrize("names", [("valid", "test"), ("validation", "test"), ("dev", "test")])
@pytest.mark.parametrize("as_folders", [False, True])
def test_splits(tmp_path, names, as_folders):
    for name in ("train", *names):
        path = tmp_path / name / "metadata.jsonl" if as_folders else tmp_path / f"{name}.jsonl"
        write(path, {"file_name": f"{name}.png", "text": name})
    (tmp_path / "images").mkdir()
    splits = load_splits(tmp_path)
    assert {split: dataset[0].text for split, dataset in splits.items()} == {
        "train": "train",
        "valid": names[0],
        "test": "test",
    }
    assert [sample.text for sample in load_dataset(tmp_path, split="valid")] == [names[0]]
    assert load_dataset(tmp_path, split=names[0])[0].text == names[0]
    with pytest.raises(DataError, match="has the splits train, valid, test; expected one"):
        load_dataset(tmp_path)


def test_a_folder_of_images_is_no_split(tmp_path):
    parts.pictures(tmp_path / "train", 2)
    write(tmp_path / "train.jsonl", {"image": "train/000.png", "text": "a"})
    assert list(load_splits(tmp_path)) == ["train"]
    (tmp_path / "train.jsonl").rename(tmp_path / "metadata.jsonl")
    assert seen(load_splits(tmp_path)["train"]) == [(str(tmp_path / "train/000.png"), "a")]


def test_a_split_that_is_not_there(tmp_path):
    write(tmp_path / "train.jsonl", {"image": "a", "text": "b"})
    with pytest.raises(DataError, match="has the splits train; expected test, as test.jsonl or"):
        load_dataset(tmp_path, split="test")
    assert [sample.text for sample in load_dataset(tmp_path)] == ["b"]  # the only one there is
    with pytest.raises(DataError, match="has no splits; expected train"):
        load_dataset(tmp_path / "train.jsonl", split="train")
    for name, said in {
        "": "split is ''; known are train",
        "tset": "'tset'; did you mean test?",
    }.items():
        with pytest.raises(DataError, match=f"has the splits train; .*{re.escape(said)}"):
            load_dataset(tmp_path, split=name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["valid.jsonl", "val.jsonl"], "has val.jsonl, valid.jsonl; expected one of them"),
        (["train.jsonl", "train.tsv"], "has train.jsonl, train.tsv; expected one of them"),
        (["train.jsonl", "train/a.tsv"], "has train.jsonl, train; expected one of them"),
        (["train.jsonl", "labels.tsv"], "has train.jsonl, labels.tsv; expected one of them"),
        (["metadata.jsonl", "labels.tsv"], "has labels.tsv, metadata.jsonl; expected one of them"),
        (["labels.tsv", "000.txt"], "has labels.tsv, images with .txt beside them; expected one"),
    ],
)
def test_ambiguous_folders(tmp_path, names, message):
    parts.pictures(tmp_path, 1)
    for name in names:
        write(tmp_path / name, {"image": "a", "text": "b"})
    for read in (load_splits, load_dataset):
        with pytest.raises(DataError, match=message):
            read(tmp_path)


@pytest.mark.parametrize("images", [0, 2])
def test_folders_without_data(tmp_path, images):
    parts.pictures(tmp_path, images)
    with pytest.raises(DataError) as caught:
        load_splits(tmp_path)
    has = "2 .png" if images else "nothing at all"
    assert str(caught.value) == f"{tmp_path} has no training data; {ACCEPTED}\nand it has {has}"
    with pytest.raises(DataError, match="does not exist"):
        load_splits(tmp_path / "missing")


@pytest.mark.parametrize("value", ["[" * 100_000, "1" * 5000])
def test_json_that_no_parser_takes(tmp_path, value):
    truth = json.dumps({"image": "a.png", "ground_truth": value})
    for line in (f'{{"image": "a.png", "text": {value}}}', truth):
        (tmp_path / "a.jsonl").write_text(line)
        with pytest.raises(DataError, match="is no JSON") as caught:
            load_dataset(tmp_path / "a.jsonl")
        assert len(str(caught.value)) < 600


def test_errors_name_what_is_nearest(tmp_path):
    parts.pictures(tmp_path, 1)
    write(tmp_path / "train.jsonl", {"images": "0.png", "text": "a"})
    for call, message in [
        (lambda: load_dataset(tmp_path / "trian.jsonl"), "not exist.*did you mean train.jsonl"),
        (lambda: load_dataset(tmp_path, split="trian"), "splits train;.*did you mean train"),
        (lambda: load_dataset(tmp_path, split=5), "split is 5; expected train"),
        (lambda: load_dataset(tmp_path, split="train"), "has images, text; .*did you mean image"),
    ]:
        with pytest.raises(DataError, match=message):
            call()


# sequences


def test_rows_of_python():
    image = parts.picture()
    rows = [(image, "a"), {"image": image, "text": "b", "prompt": "p"}, Sample("x", "c")]
    dataset = Dataset(rows)
    assert [sample.text for sample in dataset] == ["a", "b", "c"]
    assert dataset[0].image is image
    assert (dataset[1].where, dataset[1].prompt) == ("sample 1", "p")
    assert dataset[1:][0].where == "sample 1"
    for row, message in [
        (3, "sample 0 is a int; expected a Sample, a pair"),
        ({"image": image}, "sample 0: the row has image"),
    ]:
        with pytest.raises(DataError, match=message):
            Dataset([row])[0]


def test_rows_are_asked_for_one_by_one():
    asked = []

    class Rows(list):
        def __getitem__(self, index):
            asked.append(index)
            return f"{index}.png", "text"

    dataset = Dataset(Rows([None] * 5))
    assert (len(dataset), asked) == (5, [])
    assert dataset[3].image == "3.png"
    assert asked == [3]
