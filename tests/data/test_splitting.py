"""Splits by a part of the pages and by folders, images that two of them share, normal forms."""

import os
import shutil

import pytest

from mlx_vedec.data.datasets import load_dataset, load_splits
from mlx_vedec.data.samples import Sample
from mlx_vedec.data.splitting import origins, part
from mlx_vedec.errors import DataError, OptionError
from tests.data.folders import dump, save, write
from tests.data.test_archives import pack, png
from tests.pages.layouts import page_xml, printed, text_line, text_region

# a part of the pages becomes the split valid


def lines_of_pages(folder, pages, lines):
    rows = [
        {"file_name": f"{page}.png", "text": f"{page} {line}"}
        for page in range(pages)
        for line in range(lines)
    ]
    return dump(folder / "metadata.jsonl", *rows)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.99])
def test_a_part_of_the_pages(fraction, tmp_path):
    lines_of_pages(tmp_path, 20, 3)
    options = {"valid_fraction": fraction, "seed": 3}
    splits = load_splits(tmp_path, **options)
    images = {name: {sample.image for sample in found} for name, found in splits.items()}
    assert not images["train"] & images["valid"]
    assert len(splits["train"]) + len(splits["valid"]) == 60
    wanted = min(max(round(60 * fraction), 1), 57)
    assert wanted <= len(splits["valid"]) < wanted + 3
    for name, found in splits.items():
        assert [*load_dataset(tmp_path, split=name, **options)] == [*found]
        order = [tuple(map(int, sample.text.split())) for sample in found]
        assert order == sorted(order)
    other = load_splits(tmp_path, valid_fraction=fraction, seed=4)
    assert fraction == 0.99 or [*other["valid"]] != [*splits["valid"]]


def test_a_part_is_the_same_in_any_order_of_rows(tmp_path):
    path = lines_of_pages(tmp_path, 9, 1)
    before = {sample.text for sample in load_splits(tmp_path, valid_fraction=0.3)["valid"]}
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert {s.text for s in load_splits(tmp_path, valid_fraction=0.3)["valid"]} == before


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2, float("nan"), True, "0.1"])
def test_fractions_that_are_none(fraction, tmp_path):
    lines_of_pages(tmp_path, 3, 1)
    for read in (load_splits, lambda path, **how: load_dataset(path, split="valid", **how)):
        with pytest.raises(OptionError, match="expected more than 0, less than 1"):
            read(tmp_path, valid_fraction=fraction)


@pytest.mark.parametrize("seed", [-1, "1", 0.5, None])
def test_seeds_that_are_none(seed, tmp_path):
    lines_of_pages(tmp_path, 3, 1)
    with pytest.raises(OptionError, match="seed is .*; expected a whole number, at least 0"):
        load_splits(tmp_path, valid_fraction=0.5, seed=seed)


def test_a_part_beside_other_splits(tmp_path):
    for name in ("train", "test"):
        lines_of_pages(tmp_path / name, 4, 1)
    splits = load_splits(tmp_path, valid_fraction=0.25)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 3,
        "test": 4,
        "valid": 1,
    }
    lines_of_pages(tmp_path / "val", 4, 1)
    for read in (load_splits, lambda path, **how: load_dataset(path, split="valid", **how)):
        with pytest.raises(DataError, match="has a split valid, which valid_fraction would make"):
            read(tmp_path, valid_fraction=0.25)


def test_what_cannot_be_parted(tmp_path):
    lines_of_pages(tmp_path / "one", 1, 5)
    with pytest.raises(DataError, match="all 5 samples are of one page, which cannot be in two"):
        load_splits(tmp_path / "one", valid_fraction=0.2)
    lines_of_pages(tmp_path / "two" / "test", 4, 1)
    with pytest.raises(DataError, match="has no split train for valid_fraction"):
        load_splits(tmp_path / "two", valid_fraction=0.2)


def test_splits_that_share_images(tmp_path):
    lines_of_pages(tmp_path, 4, 2).rename(tmp_path / "train.jsonl")
    lines_of_pages(tmp_path, 2, 1).rename(tmp_path / "valid.jsonl")
    message = "share images, or lines of a page: 2 of 2 in valid are in train too, such as .*0.png"
    with pytest.warns(UserWarning, match=message):
        load_splits(tmp_path)


# normal forms


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_texts_in_two_normal_forms(form, tmp_path):
    rows = [{"file_name": f"{n}.png", "text": t} for n, t in enumerate(("\u00e9", "e\u0301", "a"))]
    dump(tmp_path / "metadata.jsonl", *rows)
    said = "in 1 of 3 a letter and its accent are apart .NFD., first at .*jsonl:2, and in 1 they"
    for read in (load_dataset, load_splits):
        with pytest.warns(UserWarning, match=said):
            read(tmp_path)
    texts = [sample.text for sample in load_dataset(tmp_path, normal_form=form)]
    assert texts == [{"NFC": "\u00e9", "NFD": "e\u0301"}[form]] * 2 + ["a"]
    with pytest.raises(OptionError, match="normal_form is 'nfx'; expected NFC, NFD"):
        load_dataset(tmp_path, normal_form="nfx")


def test_texts_in_one_normal_form(tmp_path):
    dump(
        tmp_path / "a.jsonl", *({"file_name": "a", "text": t} for t in ("e\u0301", "a", "e\u0323"))
    )
    assert load_dataset(tmp_path)[0].text == "e\u0301"


# a metadata file whose images are in folders of splits


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_metadata_above_the_folders_of_splits(tmp_path, ending):
    """As on the Hub: each row belongs to the split whose folder its image is in."""
    names = ["train/a.png", "./train/b/c.png", "validation/a.png"]
    for number, name in enumerate(names):
        save(tmp_path / name, number)

    def write_rows(names):
        rows = [
            {"file_name": name, "text": text} for name, text in zip(names, "abcd", strict=False)
        ]
        if ending == "parquet":
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
        elif ending == "jsonl":
            dump(tmp_path / "metadata.jsonl", *rows)
        else:
            lines = "".join(f"{row['file_name']},{row['text']}\n" for row in rows)
            write(tmp_path / "metadata.csv", f"file_name,text\n{lines}")

    write_rows(names)
    splits = load_splits(tmp_path)
    assert {name: [s.text for s in found] for name, found in splits.items()} == {
        "train": ["a", "b"],
        "valid": ["c"],
    }
    write_rows([*names, "d.png"])
    with pytest.raises(
        DataError, match=r"metadata\..*: image .*d.png is in none of the folders tr"
    ):
        load_splits(tmp_path)


def test_the_same_image_by_two_paths(tmp_path):
    (tmp_path / "in").mkdir()
    dump(tmp_path / "train.jsonl", {"file_name": "a.png", "text": "a"})
    dump(tmp_path / "valid.jsonl", {"file_name": "in/../a.png", "text": "a"})
    with pytest.warns(UserWarning, match="1 of 1 in valid are in train too"):
        load_splits(tmp_path)


@pytest.mark.parametrize("kind", ["files", "archives", "pages"])
def test_copies_of_an_image(kind, tmp_path):
    """Under another name, in another folder or file, they are the same image."""
    for split, numbers in (("train", (0, 1)), ("valid", (1, 2))):
        for number in numbers:
            if kind == "files":
                save(tmp_path / split / f"{split}{number}.png", number)
                write(tmp_path / split / f"{split}{number}.txt", "tea")
            elif kind == "pages":
                line = text_line("l", more="<TextEquiv><Unicode>tea</Unicode></TextEquiv>")
                page = page_xml(text_region("r", line), image=f"{split}{number}.png")
                write(tmp_path / split / f"{split}{number}.xml", page)
                printed(f"tea {number}").save(tmp_path / split / f"{split}{number}.png")
        if kind == "archives":
            files = {f"{n}_png": png(n) for n in numbers} | {f"{n}_txt": "tea" for n in numbers}
            pack(tmp_path / f"{split}.tar", **dict(sorted(files.items())))
    with pytest.warns(UserWarning, match="1 of 2 in valid are in train too"):
        splits = load_splits(tmp_path)
    samples = [sample for found in splits.values() for sample in found]
    names = origins(samples)
    assert len(set(names)) == 3 and names[1] == names[2]
    for seed in range(6):
        parted = [{names[samples.index(s)] for s in half} for half in part(samples, 0.3, seed)]
        assert not parted[0] & parted[1]


def test_images_that_begin_and_end_alike_are_others(tmp_path):
    """Prints of parts of a file are only looked at first."""
    for number, middle in enumerate((b"a", b"b")):
        content = bytes(3000) + middle * 100 + bytes(7000)
        write(tmp_path / f"{number}.png", content)
        write(tmp_path / f"{number}.txt", "tea")
    names = origins([*load_dataset(tmp_path)])
    assert names == [str(tmp_path / f"{number}.png") for number in (0, 1)]
    shutil.copy(tmp_path / "0.png", tmp_path / "1.png")
    assert origins([*load_dataset(tmp_path)]) == names[:1] * 2
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"")
    samples = [*load_dataset(tmp_path), Sample(str(tmp_path / "2.png"), ""), Sample(b"", "")]
    os.mkfifo(tmp_path / "2.png")
    assert len(set(origins(samples))) == 3
