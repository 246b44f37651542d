"""Images with their texts as people have them: what a folder holds says how it is read.

`layouts` has the layouts. A folder of splits has one of these for each: `train.jsonl`, or a folder
`train`, and so on; or a part of its pages becomes the split valid.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, OptionError, as_path, check_type, listed, nearest, shown
from ..images.loading import ImageSource, images_in, is_url
from ..reading.load import BUNDLED
from .layouts import Splits, source_in, sources_of
from .listing import NAMES, Listing, Source, is_image_name, is_there
from .samples import BY_NAMES, Dataset, RowOptions, Sample
from .splitting import check_options, in_form, part, warn_of_overlap
from .text_files import pairing, read_pairs

Paths = str | os.PathLike[str]
LINES = BUNDLED / "lines"  # 64 lines of the bundled model's validation set, labelled
LINES_ASPECT = 24.0  # `line_aspect_ratio` of the checkpoints that read those lines


def load_dataset(
    folder_or_file: str | Path,
    *,
    split: str | None = None,
    added_vocab: Container[str] = (),
    layout: str | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    normal_form: str | None = None,
    valid_fraction: float | None = None,
    seed: int = 0,
) -> Dataset:
    """The samples of a file or a folder; of a folder of splits, those of one.

    split -- train, valid (or validation, val, dev) or test; may be left out where there is only
    one. added_vocab -- tokens of Donut's tokenizer: a value x in `ground_truth` becomes `<x/>`
    where that is one of them. layout -- one of `layouts.LAYOUTS`, where a folder could be read as
    several. image_column, text_column -- of a table whose columns have other names. normal_form --
    of Unicode, to bring texts into: NFC, NFD, NFKC or NFKD. valid_fraction -- the part of the split
    train that becomes the split valid, whole pages that are drawn with the seed; there must be no
    other split valid.

    Texts are read here, images are not. A `DataError` lists every line that gives no sample.

    >>> load_dataset("lines/lost.csv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: lines/lost.csv does not exist; expected a table or a folder; ...
    """
    path = as_path(folder_or_file, "folder_or_file")
    if split is not None and not isinstance(split, str):
        raise DataError(f"split is {shown(split)}; expected {', '.join(NAMES)}")
    options = RowOptions(image_column, text_column, added_vocab)
    sources = _sources(path, layout, options, valid_fraction, normal_form, seed)
    return Dataset(in_form(_source(path, sources, split).read(options), normal_form))


def load_splits(
    folder: str | Path,
    *,
    added_vocab: Container[str] = (),
    layout: str | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    normal_form: str | None = None,
    valid_fraction: float | None = None,
    seed: int = 0,
) -> dict[str, Dataset]:
    """The splits of a folder, among "train", "valid" and "test"; without any, it is all "train".

    The other arguments are `load_dataset`'s. Images that are in two splits are a warning.
    """
    path = as_path(folder, "folder")
    options = RowOptions(image_column, text_column, added_vocab)
    sources = _sources(path, layout, options, valid_fraction, normal_form, seed)
    found = {split or "train": source.read(options) for split, source in sources.items()}
    warn_of_overlap(found)
    return {split: Dataset(in_form(samples, normal_form)) for split, samples in found.items()}


def _sources(
    path: Path,
    layout: str | None,
    options: RowOptions,
    valid_fraction: float | None,
    normal_form: str | None,
    seed: int,
) -> Splits:
    """The data of a file or a folder by their splits, as the options of `load_dataset` say."""
    check_options(valid_fraction, normal_form, seed)
    columns = {name: getattr(options, name) for name in ("image_column", "text_column")}
    for name, value in {"layout": layout, **columns}.items():
        check_type(name, value, (str, type(None)), f"the name of a {name}, or None")
    sources = sources_of(path, layout)
    return sources if valid_fraction is None else _parted(path, sources, valid_fraction, seed)


def _source(path: Path, sources: Splits, split: str | None) -> Source:
    """The data of a split; without one the only data there are."""
    if split is not None:
        return sources.get(NAMES.get(split, split)) or _no_split(path, split, sources)
    if len(sources) > 1:
        names = ", ".join(map(str, sources))
        raise DataError(f"{path} has the splits {names}; expected one; give split")
    [only] = sources.values()
    return only


def _parted(path: Path, sources: Splits, fraction: float, seed: int) -> Splits:
    """The splits with that which is a part of train."""
    if "valid" in sources:
        raise DataError(
            f"{path} has a split valid, which valid_fraction would make; leave one of them out"
        )
    if not {None, "train"} & sources.keys():
        raise DataError(f"{path} has no split train for valid_fraction to take a part of")
    whole = sources.get("train") or sources[None]
    parts: list[list[Sample]] = []  # read once for both

    def read(place: int, options: RowOptions) -> list[Sample]:
        if not parts:
            parts.extend(part(whole.read(options), fraction, seed))
        return parts[place]

    made = {n: Source(n, partial(read, i), n) for i, n in enumerate(("train", "valid"))}
    return {**made, **{n: source for n, source in sources.items() if n not in (None, "train")}}


class LabelledImages(NamedTuple):
    """Images, and the text that each shows; `labels` is None where none of them has a text."""

    images: tuple[ImageSource, ...]
    labels: tuple[str, ...] | None


def labelled_images(
    images: Paths | Iterable[Paths] | None, *, line_aspect_ratio: float | None = None
) -> LabelledImages:
    """The images of a folder, one image, or several, to measure a model on; texts are optional.

    A text stands in a table in the image's folder, such as `labels.tsv`, or in a `.txt` beside the
    image. All images have a text, or none. A folder or a file in another layout, such as parquet or
    PAGE, gives all images that `load_dataset` finds there. None for images is 64 validation lines
    of the package; they suit the bundled model, which line_aspect_ratio, the processor's, has to be
    that of.

    >>> found = labelled_images(None, line_aspect_ratio=24.0)
    >>> len(found.images), found.images[-1].name, found.labels[-1]
    (64, 'seen_093.png', "curtsy Beverly's")
    """
    if images is None and line_aspect_ratio != LINES_ASPECT:
        raise OptionError(
            "images are needed: the lines that the package has suit the bundled model alone; give "
            "a folder of images such as the model is to read, with their labels if you can"
        )
    given = LINES if images is None else images
    if isinstance(given, (str, os.PathLike)) and (whole := _elsewhere(Path(given))):
        return whole
    paths = _listed(given)
    texts: dict[Path, str] = {}
    for folder in {path.parent for path in paths}:
        texts |= _texts(folder)
    bare = [str(path) for path in paths if path not in texts]
    if 0 < len(bare) < len(paths):
        raise DataError(
            f"{len(bare)} of {len(paths)} images have no label: {listed(bare, 5)}; give each a row "
            "in a table such as labels.tsv or a .txt of its name, or give none labels"
        )
    _check_there(sorted(texts.keys() - set(paths)))
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


def _elsewhere(path: Path) -> LabelledImages | None:
    """The images of data that are more than a folder's own image files; else None."""
    if path.is_dir():
        source = None if pairing(Listing(path)).names else source_in(path)
    elif path.is_file() and not is_image_name(path.name):
        source = sources_of(path)[None]
    else:
        return None
    if source is None:
        return None
    samples = source.read(BY_NAMES)
    images = tuple(_as_path(sample.image) for sample in samples)
    if path.is_dir() and all(isinstance(i, Path) and i.parent == path for i in images):
        return None
    _check_there([image for image in images if isinstance(image, Path)])
    return LabelledImages(images, tuple(sample.text for sample in samples))


def _check_there(paths: Iterable[Path]) -> None:
    """Raise for labelled images that are not there."""
    lost = [path.name for path in paths if not is_there(path)]
    if lost:
        raise DataError(
            f"there are labels for {len(lost)} images that are not there: {listed(lost, 5)}; add "
            "the images, or take out the rows"
        )


def _as_path(image: ImageSource) -> ImageSource:
    return Path(image) if isinstance(image, str) and not is_url(image) else image


def _texts(folder: Path) -> dict[Path, str]:
    """The texts of a folder's images, by path; nothing where there is neither table nor text."""
    source = source_in(folder)
    if source is None:
        return {}
    pairs = pairing(Listing(folder))
    samples = read_pairs(pairs, all_images=False) if pairs.names else source.read(BY_NAMES)
    texts = {Path(str(sample.image)): sample.text for sample in samples}
    if len(texts) < len(samples):
        counts = Counter(Path(str(sample.image)).name for sample in samples)
        twice = [name for name, count in counts.items() if count > 1]
        raise DataError(
            f"{folder / source.name} has {listed(twice, 5)} more than once; expected a row per "
            "image"
        )
    return texts


def _no_split(path: Path, split: str, sources: Splits) -> Source:
    names = ", ".join(name for name in sources if name)
    found = f"the splits {names}" if names else "no splits"
    if split not in NAMES:
        raise DataError(f"{path} has {found}; split is {shown(split)}; {nearest(split, NAMES)}")
    raise DataError(f"{path} has {found}; expected {split}, as {split}.jsonl or a folder {split}")
