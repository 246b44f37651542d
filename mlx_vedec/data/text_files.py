"""Texts in files `.txt`: one beside each image, or a list of images and their texts.

`1.gt.txt` beside `1.png` is how kraken, Calamari and tesstrain keep lines. Lists, such as
`gt_test.txt` of TrOCR's data or PaddleOCR's `rec_gt_train.txt`, have a line for each image: its
name, then a tab, a comma or spaces, then the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from ..errors import DataError, listed
from ..images.loading import image_endings
from .listing import NAMES, DataLayout, Listing, Source, head_of, split_of
from .samples import CollectedErrors, RowOptions, Sample, check_no_columns, whole
from .tables import lines_of, read_rows, read_text

TRUTH, PLAIN = ".gt.txt", ".txt"
KINDS = ("", ".nrm", ".bin", ".raw")  # of one line's images, the first that is there is taken
IMAGES, TEXTS = ("images", "image"), ("labels", "texts", "text", "gt", "transcriptions")
LOOKED_AT = 4096  # bytes of a file that may be a list


@dataclass(frozen=True)
class Pairing:
    """Images of a folder, and the texts that belong to them by their names.

    texts -- files by the names that they share with images. images -- those of each such name.
    page -- that they are all of, where it is known
    """

    ending: str
    texts: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]
    page: str = ""

    @property
    def names(self) -> list[str]:
        """The names that have both."""
        return [name for name in self.images if name in self.texts]


def pairing(listing: Listing, texts: Listing | None = None) -> Pairing:
    """The images and texts of a folder, or its images and the texts of another one.

    Where there is a `.gt.txt` of an image, the other `.txt` are passed over: they are what was
    read, not what is right.
    """
    texts = texts or listing
    truths = Pairing(TRUTH, _by_name(texts, TRUTH), _by_stem(listing.images, _bare))
    if truths.names:
        return truths
    return Pairing(PLAIN, _by_name(texts, PLAIN), _by_stem(listing.images, str))


def _by_name(texts: Listing, ending: str) -> dict[str, Path]:
    """The texts by their names without the ending."""
    return {path.name[: -len(ending)]: path for path in texts.ending(ending)}


def _bare(stem: str) -> str:
    """A stem without what says how the image was prepared: `1` of `1.bin` and `1.nrm`."""
    kind = next((kind for kind in KINDS[1:] if stem.endswith(kind)), "")
    return stem.removesuffix(kind)


def _by_stem(images: Sequence[Path], change: Callable[[str], str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in images:
        found.setdefault(change(path.stem), []).append(path)
    return found


def read_pairs(pairs: Pairing, *, all_images: bool = True) -> list[Sample]:
    """Images with the texts beside them, without the line break at their end.

    all_images -- whether an image without a text is an error
    """
    errors, samples = CollectedErrors(), []
    for name, paths in pairs.images.items():
        if name not in pairs.texts:
            if all_images:
                errors.add(f"{paths[0]}: has no text; expected {name}{pairs.ending} beside it")
            continue
        text = pairs.texts[name]
        with errors.at(str(paths[0])):
            image = _one_of(paths, name, text)
            content = whole(read_text(text).rstrip("\r\n"))
            samples.append(Sample(str(image), content, where=str(text), page=pairs.page))
    if pairs.ending == TRUTH:
        for name in pairs.texts.keys() - pairs.images.keys():
            errors.add(f"{pairs.texts[name]}: has no image; expected {name}.png beside it")
    errors.raise_any()
    return samples


def _one_of(paths: Sequence[Path], name: str, text: Path) -> Path:
    """Of a line's images the one to learn from; an error where two are of one kind."""
    ranked = sorted(paths, key=lambda path: KINDS.index(path.stem[len(name) :]))
    if len(ranked) > 1 and ranked[0].stem == ranked[1].stem:
        raise DataError(f"{text.name} is beside several images of its name; rename them")
    return ranked[0]


def _find_pairs(listing: Listing) -> list[Source]:
    found = [(pairing(listing), "beside them")]
    for images in listing.inner(*IMAGES):
        for texts in listing.inner(*TEXTS):
            where = f"in {images.folder.name} and {texts.folder.name}"
            found.append((pairing(images, texts), where))
    sources = [
        Source(f"images with {pairs.ending} {where}", partial(_read_pairs, [pairs]))
        for pairs, where in found
        if pairs.names
    ]
    inner = [] if listing.images or sources else _truths_in_folders(listing)
    name = f"folders of images with {TRUTH} beside them"
    return sources or ([Source(name, partial(_read_pairs, inner))] if inner else [])


def _truths_in_folders(listing: Listing) -> list[Pairing]:
    """Lines in folders, of a book or a writer each; folders of numbers are pages, as OCRopus's.

    None where there are folders of splits.
    """
    places = listing.folders
    if any(path.name.lower() in NAMES for path in places):
        return []
    pages = all(path.name.isdecimal() for path in places)
    pairs = [replace(pairing(Listing(p)), page=str(p) if pages else "") for p in places]
    return [own for own in pairs if own.ending == TRUTH and own.names]


def _read_pairs(found: Sequence[Pairing], options: RowOptions) -> list[Sample]:
    check_no_columns(options, "images with texts beside them")
    return [sample for pairs in found for sample in read_pairs(pairs)]


def _near_pairs(listing: Listing) -> list[str]:
    pairs = pairing(listing)
    said = []
    if pairs.texts and pairs.images and not pairs.names:
        text, image = next(iter(pairs.texts.values())), listing.images[0]
        said.append(f"no text has the name of an image: {text.name}, but {image.name}")
    truths = listing.ending(TRUTH)
    if truths and not listing.images:
        said.append(f"{truths[0].name} has no image of its name beside it")
    classes = _classes(listing)
    if classes and not listing.images:
        said.append(
            f"the folders {listed(classes, 4)} hold images without texts; if they name "
            "classes, they are for classification: a class is no text to read"
        )
    return said


def _classes(listing: Listing) -> list[str]:
    """The folders of images inside, or in the folders of splits there."""
    places = [listing, *(Listing(path) for path in listing.folders if path.name.lower() in NAMES)]
    return [
        str(path.relative_to(listing.folder))
        for place in places
        for path in place.folders
        if path.name.lower() not in NAMES and Listing(path).images
    ]


# Lists


@cache
def _line() -> re.Pattern[str]:
    """A list's line: an image, a mark or spaces, the text.

    TrOCR's `gt_test.txt` has names that end in `.jp`, one letter short.
    """
    endings = "|".join(re.escape(ending[1:]) for ending in [*image_endings(), ".jp"])
    return re.compile(rf"(\S.*?\.(?:{endings}))(?:\t| *, *| +)(.*)", re.IGNORECASE)


def is_list(path: Path) -> bool:
    """Whether a file begins as a list of images with their texts."""
    head = head_of(path, LOOKED_AT).decode("utf-8-sig", "ignore")
    first = next(lines_of(head), (0, ""))[1]
    return _line().fullmatch(first.strip("\r")) is not None


def read_list(path: Path, options: RowOptions) -> list[Sample]:
    """The samples of a list; a `DataError` names the lines that are none."""
    check_no_columns(options, "lists of images and texts")
    lines = lines_of(read_text(path))
    return read_rows(path, ((number, partial(_row, line)) for number, line in lines))


def _row(line: str) -> dict[str, str]:
    found = _line().fullmatch(line)
    if found is None:
        raise DataError(
            f"is {ascii(line)[:60]}; expected an image's name, a tab or space, its text"
        )
    name, between = found[1], line[found.end(1) : found.start(2)]
    text = _unquoted(found[2]) if "," in between else found[2]
    return {"image": name + "g" * name.lower().endswith(".jp"), "text": text}


def _unquoted(text: str) -> str:
    """A text without the quotes that lists with commas put around it."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('\\"', '"') if quoted else text


def _list_of(path: Path) -> Source | None:
    if path.suffix.lower() != PLAIN or not is_list(path):
        return None
    return Source(path.name, partial(read_list, path), split_of(path.stem))


def _find_lists(listing: Listing) -> list[Source]:
    beside = {path.stem for path in listing.images}
    texts = (path for path in listing.ending(PLAIN) if path.stem not in beside)
    return [found for path in texts if (found := _list_of(path))]


PAIRS = DataLayout(
    "beside", "images, each with a .txt or .gt.txt of the same name", _find_pairs, near=_near_pairs
)
LIST = DataLayout(
    "list",
    "a .txt with an image's name, a tab or a space, and its text in each line: gt_test.txt",
    _find_lists,
    _list_of,
)
