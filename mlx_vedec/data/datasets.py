"""Data as people have it: what a folder holds says how it is read.

- a table: `metadata.jsonl` or `metadata.csv` as the Hub's image folders have them, or another file
  `.jsonl`, `.tsv` or `.csv`, with a row for each image;
- or images, each with its text in a file `.txt` of the same name.

A folder of splits has one of these for each: `train.jsonl`, or a folder `train`, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from pathlib import Path

from PIL import Image

from ..errors import DataError
from .problems import Problems
from .samples import Dataset, Sample
from .tables import READERS, read_table, read_text

__all__ = ["Dataset", "Sample", "load_dataset", "load_splits"]

SPLITS = {
    "train": ("train",),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
NAMES = {name: split for split, names in SPLITS.items() for name in names}
ACCEPTED = """expected one of
  a table with a row per image: metadata.jsonl, metadata.csv or another .jsonl, .tsv or .csv
  images, each with a .txt of the same name
  for splits, train.jsonl, valid.jsonl, test.jsonl (or .tsv, .csv), or folders of these names"""


def load_dataset(
    folder_or_file: str | Path, *, split: str | None = None, added_vocab: Container[str] = ()
) -> Dataset:
    """The samples of a table or a folder; of a folder of splits, those of one.

    split -- train, valid (or validation, val, dev) or test. added_vocab -- tokens of Donut's
    tokenizer: a value x in `ground_truth` becomes `<x/>` where that is one of them.

    Texts are read here, images are not. A `DataError` lists every line that gives no sample.

    >>> load_dataset("mlx_vedec/missing")
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: mlx_vedec/missing does not exist; expected a table or a folder
    """
    path = Path(folder_or_file).expanduser()
    splits = _splits(path) if path.is_dir() else {}
    if split is not None:
        path = splits.get(NAMES.get(split, split)) or _no_split(path, split, splits)
    elif splits:
        raise DataError(f"{path} has the splits {', '.join(splits)}; expected one; give split")
    return Dataset(_read(path, added_vocab))


def load_splits(folder: str | Path, *, added_vocab: Container[str] = ()) -> dict[str, Dataset]:
    """The splits of a folder, among "train", "valid" and "test"; without any, it is all "train".

    added_vocab -- `load_dataset`'s.
    """
    folder = Path(folder).expanduser()
    splits = (_splits(folder) if folder.is_dir() else {}) or {"train": folder}
    return {split: Dataset(_read(path, added_vocab)) for split, path in splits.items()}


def _no_split(path: Path, split: str, splits: dict[str, Path]) -> Path:
    found = f"the splits {', '.join(splits)}" if splits else "no splits"
    raise DataError(f"{path} has {found}; expected {split}, as {split}.jsonl or a folder {split}")


def _read(path: Path, added_vocab: Container[str]) -> list[Sample]:
    if path.is_dir():
        path = _only_source(path) or path
    elif not path.exists():
        raise DataError(f"{path} does not exist; expected a table or a folder")
    if path.is_dir():
        return _read_texts(path)
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path} is no table; expected a file {', '.join(READERS)}")
    return read_table(path, added_vocab)


def _only_source(folder: Path) -> Path | None:
    """The table of a folder, None where texts stand beside images; an error where both or none."""
    tables, texts = _tables(folder), bool(_pairs(folder))
    sources = [table.name for table in tables] + ["images with .txt beside them"] * texts
    if len(sources) > 1:
        raise DataError(
            f"{folder} has {', '.join(sources)}; expected one of them; name the file you mean, "
            "or move the others"
        )
    if not sources:
        raise DataError(f"{folder} has no training data; {ACCEPTED}")
    return tables[0] if tables else None


def _tables(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and p.is_file())


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Images and the texts of the same name beside them."""
    texts = {p.stem: p for p in folder.iterdir() if p.suffix.lower() == ".txt"}
    return [(image, texts[image.stem]) for image in _images(folder) if image.stem in texts]


def _images(folder: Path) -> list[Path]:
    endings = Image.registered_extensions()
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in endings)


def _read_texts(folder: Path) -> list[Sample]:
    """Images in the order of their names, without the line break at the end of their texts."""
    pairs, problems, samples = _pairs(folder), Problems(), []
    paired = {image for image, _ in pairs}
    for image in _images(folder):
        if image not in paired:
            problems.add(f"{image}: has no text; expected {image.stem}.txt beside it")
    images_of = Counter(text for _, text in pairs)
    for image, text in pairs:
        with problems.at(str(image)):
            if images_of[text] > 1:
                raise DataError(f"{text.name} is beside several images of its name; rename them")
            samples.append(Sample(str(image), read_text(text).rstrip("\r\n"), where=str(text)))
    problems.raise_any()
    return samples


def _splits(folder: Path) -> dict[str, Path]:
    """The table or the folder of each split that there is."""
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    others = []
    for path in [*_tables(folder), *_folders(folder)]:
        split = NAMES.get(path.stem if path.is_file() else path.name)
        (found[split] if split else others).append(path)
    several = [paths for paths in found.values() if len(paths) > 1]
    splits = {split: paths[0] for split, paths in found.items() if paths}
    tables = [path for path in others if path.is_file()]
    if splits and tables:
        several.append([*splits.values(), *tables])
    if several:
        names = "; ".join(", ".join(path.name for path in paths) for paths in several)
        raise DataError(f"{folder} has {names}; expected one of them; move the others elsewhere")
    return splits


def _folders(folder: Path) -> list[Path]:
    """Folders inside that are data by themselves, and not only the images of a table."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and (_tables(p) or _pairs(p)))
