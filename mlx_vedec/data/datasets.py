"""Images with their texts as people have them: what a folder holds says how it is read.

- a table: `metadata.jsonl` or `metadata.csv` as the Hub's image folders have them, or another file
  `.jsonl`, `.tsv` or `.csv`, with a row for each image;
- or images, each with its text in a file `.txt` of the same name.

A folder of splits has one of these for each: `train.jsonl`, or a folder `train`, and so on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, OptionError, as_path, listed, nearest, shown
from ..files import near
from ..images.loading import image_files, images_in
from ..reading.load import BUNDLED
from .samples import CollectedErrors, Dataset, Sample
from .tables import PARSERS, read_table, read_text

Paths = str | os.PathLike[str]
LINES = BUNDLED / "lines"  # 64 lines of the bundled model's validation set, labelled
LINES_ASPECT = 12.0  # `line_aspect_ratio` of the checkpoints that read those lines
SPLITS = {
    "train": ("train",),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
NAMES = {name: split for split, names in SPLITS.items() for name in names}
ACCEPTED = """expected one of
  a table with a row per image: metadata.jsonl, metadata.csv or another .jsonl, .tsv or .csv
  images, each with a .txt of the same name
  images of pages, each with PAGE, ALTO or hOCR of its name, to evaluate
  for splits, train.jsonl, valid.jsonl, test.jsonl (or .tsv, .csv), or folders of these names"""


def load_dataset(
    folder_or_file: str | Path, *, split: str | None = None, added_vocab: Container[str] = ()
) -> Dataset:
    """The samples of a table or a folder; of a folder of splits, those of one.

    split -- train, valid (or validation, val, dev) or test. added_vocab -- tokens of Donut's
    tokenizer: a value x in `ground_truth` becomes `<x/>` where that is one of them.

    Texts are read here, images are not. A `DataError` lists every line that gives no sample.

    >>> load_dataset("lines/lost.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: lines/lost.csv does not exist; expected a table or a folder; ...
    """
    path = as_path(folder_or_file, "folder_or_file")
    splits = _splits(path) if path.is_dir() else {}
    if split is not None:
        if not isinstance(split, str):
            raise DataError(f"split is {shown(split)}; expected {', '.join(NAMES)}")
        path = splits.get(NAMES.get(split, split)) or _no_split(path, split, splits)
    elif splits:
        raise DataError(f"{path} has the splits {', '.join(splits)}; expected one; give split")
    return Dataset(_read(path, added_vocab))


def load_splits(folder: str | Path, *, added_vocab: Container[str] = ()) -> dict[str, Dataset]:
    """The splits of a folder, among "train", "valid" and "test"; without any, it is all "train".

    added_vocab -- `load_dataset`'s.
    """
    folder = as_path(folder, "folder")
    splits = (_splits(folder) if folder.is_dir() else {}) or {"train": folder}
    return {split: Dataset(_read(path, added_vocab)) for split, path in splits.items()}


def is_dataset(folder: Path) -> bool:
    """Whether a folder has samples that `load_dataset` reads, or splits of them."""
    return bool(_tables(folder) or _pairs(folder) or _splits(folder))


class LabelledImages(NamedTuple):
    """Images, and the text that each shows; `labels` is None where none of them has a text."""

    images: tuple[Path, ...]
    labels: tuple[str, ...] | None


def labelled_images(
    images: Paths | Iterable[Paths] | None, *, line_aspect_ratio: float | None = None
) -> LabelledImages:
    """The images of a folder, one image, or several, to measure a model on; texts are optional.

    A text stands in a table in the image's folder, such as `labels.tsv`, or in a `.txt` beside the
    image. All images have a text, or none. None for images is 64 validation lines of the package;
    they suit the bundled model, which line_aspect_ratio, the processor's, has to be that of.

    >>> found = labelled_images(None, line_aspect_ratio=12.0)
    >>> len(found.images), found.images[-1].name, found.labels[-1]
    (64, 'seen_093.png', "curtsy Beverly's")
    """
    if images is None and line_aspect_ratio != LINES_ASPECT:
        raise OptionError(
            "images are needed: the lines that the package has suit the bundled model alone; give "
            "a folder of images such as the model is to read, with their labels if you can"
        )
    paths = _listed(LINES if images is None else images)
    texts: dict[Path, str] = {}
    for folder in {path.parent for path in paths}:
        texts |= _texts(folder)
    bare = [str(path) for path in paths if path not in texts]
    if 0 < len(bare) < len(paths):
        raise DataError(
            f"{len(bare)} of {len(paths)} images have no label: {listed(bare, 5)}; give each a row "
            "in a table such as labels.tsv or a .txt of its name, or give none labels"
        )
    lost = sorted(path.name for path in texts.keys() - set(paths) if not path.is_file())
    if lost:
        raise DataError(
            f"there are labels for {len(lost)} images that are not there: {listed(lost, 5)}; add "
            "the images, or take out the rows"
        )
    return LabelledImages(tuple(paths), None if bare else tuple(texts[path] for path in paths))


def _listed(images: Paths | Iterable[Paths]) -> list[Path]:
    """The image files that are meant by a folder, a file or several; each has to be there."""
    if isinstance(images, (str, os.PathLike)):
        path = Path(images)
        paths = images_in(path) if path.is_dir() else [path]
    else:
        paths = [Path(path) for path in images]
    if not paths:
        raise OptionError("there are no images; give one or more")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise OptionError(f"there is no {listed(missing, 5)}; give images, or a folder of them")
    return paths


def _texts(folder: Path) -> dict[Path, str]:
    """The texts of a folder's images, by path; nothing where there is neither table nor text."""
    table = _table(folder)
    samples = read_table(table) if table else _beside(folder, CollectedErrors())
    texts = {Path(str(sample.image)): sample.text for sample in samples}
    if len(texts) < len(samples):
        counts = Counter(Path(str(sample.image)).name for sample in samples)
        twice = [name for name, count in counts.items() if count > 1]
        raise DataError(f"{table} has {listed(twice, 5)} more than once; expected a row per image")
    return texts


def _no_split(path: Path, split: str, splits: dict[str, Path]) -> Path:
    found = f"the splits {', '.join(splits)}" if splits else "no splits"
    split = split[:60]
    hint = "" if split in NAMES else f"; {nearest(split, NAMES)}"
    raise DataError(
        f"{path} has {found}; expected {split}, as {split}.jsonl or a folder {split}{hint}"
    )


def _read(path: Path, added_vocab: Container[str]) -> list[Sample]:
    """The samples of a table, or of a folder without splits."""
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a table or a folder; {near(path)}")
    table = _table(path) if path.is_dir() else path
    if table is None:
        return _with_texts(path)
    if table.suffix.lower() not in PARSERS:
        raise DataError(
            f"{table} is no table; expected a file {', '.join(PARSERS)}; "
            f"{nearest(table.suffix, PARSERS, 'rename it if it is one')}"
        )
    return read_table(table, added_vocab)


def _table(folder: Path) -> Path | None:
    """The only table of a folder, if there is one; an error where texts could be read two ways."""
    tables = _tables(folder)
    sources = [path.name for path in tables]
    sources += ["images with .txt beside them"] * bool(_pairs(folder))
    if len(sources) > 1:
        raise DataError(
            f"{folder} has {', '.join(sources)}; expected one of them; name the file you mean, "
            "or move the others"
        )
    return tables[0] if tables else None


def _tables(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PARSERS and p.is_file())


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Images and the texts of the same name beside them."""
    texts = {p.stem: p for p in folder.iterdir() if p.suffix.lower() == ".txt"}
    return [(image, texts[image.stem]) for image in image_files(folder) if image.stem in texts]


def _seen(folder: Path) -> str:
    """What is in a folder, by the endings of its files, the most usual first."""
    inside = [*folder.iterdir()]
    kinds = Counter(p.suffix.lower() or "files without ending" for p in inside if not p.is_dir())
    folders = sorted(path.name for path in inside if path.is_dir())
    parts = [f"{count} {kind[:20]}" for kind, count in kinds.most_common(4)]
    hints = (nearest(name, NAMES, "") for name in folders)
    named = zip(folders[:3], hints, strict=False)
    parts += [f"the folder {name[:60]}" + (f" ({hint})" if hint else "") for name, hint in named]
    return ", ".join(parts) or "nothing at all"


def _with_texts(folder: Path) -> list[Sample]:
    """The images of a folder, each of which has to have a text beside it."""
    pairs, errors = _pairs(folder), CollectedErrors()
    if not pairs:
        raise DataError(f"{folder} has no training data; {ACCEPTED}\nand it has {_seen(folder)}")
    paired = {image for image, _ in pairs}
    for image in image_files(folder):
        if image not in paired:
            errors.add(f"{image}: has no text; expected {image.stem}.txt beside it")
    return _beside(folder, errors)


def _beside(folder: Path, errors: CollectedErrors) -> list[Sample]:
    """Images that have a text beside them, by name; texts without the line break at their end."""
    pairs, samples = _pairs(folder), []
    images_of = Counter(text for _, text in pairs)
    for image, text in pairs:
        with errors.at(str(image)):
            if images_of[text] > 1:
                raise DataError(f"{text.name} is beside several images of its name; rename them")
            samples.append(Sample(str(image), read_text(text).rstrip("\r\n"), where=str(text)))
    errors.raise_any()
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
