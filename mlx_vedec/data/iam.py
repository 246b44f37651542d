"""The IAM handwriting database as it is unpacked: lines or words, with texts of `ascii` or `xml`.

`lines.txt` has `a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to`: the line, whether its words were
cut rightly, the grey of the ink, parts, a box, and its words; `words.txt` has the tag of the word
and the word. The image is `lines/a01/a01-000u/a01-000u-00.png`, and `a01-000u` is the page.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, counted, listed
from ..files import near
from ..pages.xml_parsing import parse
from .listing import SPLITS, DataLayout, Listing, Source, head_of, is_there
from .samples import CollectedErrors, RowOptions, Sample, check_no_columns, whole
from .tables import lines_of, read_bytes, read_text

FORM = r"[a-z]\d\d-\d{3}[a-z]{0,2}"
ID = re.compile(rf"({FORM})(?:-\d\d){{0,2}}")
PARTS = 9  # of a line of these files; the last is the text
KINDS = {"lines.txt": "lines", "words.txt": "words"}  # the file, and the folder of images
ENDINGS = (".txt", ".uttlist", ".lst")  # of the files that say what belongs to a split
EXAMPLE = "a01-000u-00"
LONGEST_ID = 40
LOOKED_AT = 20_000  # bytes of a table, in which its comments end
DOCTYPE = re.compile(rb"<!DOCTYPE\s+form\b[^>\[]*>")  # of a grammar that nothing here needs


class Entry(NamedTuple):
    """What a file says of an image: its name, whether its words were cut well, its text, where."""

    id: str
    well_cut: bool
    text: str
    where: str


@dataclass(frozen=True)
class Part:
    """The lines or the words of the database.

    table -- the file that has them, or the folder `xml`. images -- the folder of their images.
    chosen -- the names of those that belong to a split, or of their pages; None for all
    """

    table: Path
    images: Path
    chosen: frozenset[str] | None = None

    def read(self, options: RowOptions) -> list[Sample]:
        """The samples; words whose box is wrong are left out, with a warning."""
        check_no_columns(options, "the lines of IAM")
        errors, samples, left_out = CollectedErrors(), [], 0
        words = self.images.name == "words"
        self._check_images()
        for entry in self._entries(errors):
            form = _form(entry.id)
            if self.chosen is not None and not {entry.id, form} & self.chosen:
                continue
            if words and not entry.well_cut:
                left_out += 1
                continue
            places = [place(self.images, entry.id) for place in PLACES]
            image = next(filter(is_there, places), places[0])
            samples.append(Sample(str(image), entry.text, where=entry.where, page=form))
        errors.raise_any()
        if left_out:
            warnings.warn(
                f"{self.table}: left out {counted(left_out, 'word')} marked err, for a wrong box",
                stacklevel=2,
            )
        if not samples:
            what = "no samples" if self.chosen is None else f"none of {listed(self.chosen, 3)}"
            raise DataError(f"{self.table} has {what}; expected lines as {EXAMPLE} ok 154 …")
        return samples

    def _entries(self, errors: CollectedErrors) -> Iterator[Entry]:
        if self.table.is_dir():
            yield from _of_forms(self.table, errors)
            return
        for number, line in lines_of(read_text(self.table)):
            if not line.startswith("#"):
                where = f"{self.table}:{number}"
                with errors.at(where):
                    yield _entry(line, where)

    def _check_images(self) -> None:
        """Raise where the folder of images is not there at all."""
        kind = self.images.name
        if not self.images.is_dir():
            raise DataError(
                f"{self.table} is of images such as {PLACES[0](self.images, EXAMPLE)}, but the "
                f"folder {kind} is not there; unpack {kind}.tgz; {near(self.images)}"
            )


def _nested(images: Path, name: str) -> Path:
    return images / name[:3] / _form(name) / f"{name}.png"


def _flat(images: Path, name: str) -> Path:
    return images / f"{name}.png"


PLACES = (_nested, _flat)


def _form(name: str) -> str:
    found = ID.match(name)
    return found[1] if found else name


def _entry(line: str, where: str) -> Entry:
    parts = line.split(" ", PARTS - 1)
    if len(parts) < PARTS or not ID.fullmatch(parts[0]) or parts[1] not in ("ok", "err"):
        raise DataError(f"is {ascii(line)[:60]}; expected nine parts, as {EXAMPLE} ok 154 …")
    return Entry(parts[0], parts[1] == "ok", whole(parts[-1].strip().replace("|", " ")), where)


def _of_forms(folder: Path, errors: CollectedErrors) -> Iterator[Entry]:
    """The lines that the files of `xml` have."""
    for path in Listing(folder).ending(".xml"):
        with errors.at():
            form = parse(DOCTYPE.sub(b"", read_bytes(path), count=1), str(path)).root
            lines = [e for e in form.below() if e.name == "line" and "text" in e.attributes]
            for line in lines:
                said = line.attributes
                where = f"{path}:{said.get('id', '')[:LONGEST_ID]}"
                with errors.at(where):
                    if not ID.fullmatch(said.get("id", "")):
                        raise DataError("the line has no id such as a01-000u-00")
                    cut = said.get("segmentation") != "err"
                    yield Entry(said["id"], cut, whole(said["text"]), where)


# What of it is there


def _find(listing: Listing) -> list[Source]:
    """The lines; where they are not there the words; where no such file is, the lines of `xml`."""
    for name, kind in KINDS.items():
        for place in (*listing.inner("ascii"), listing):
            table = place.file(name)
            if table and _is_table(table) and (folder := listing.folder / kind).is_dir():
                return _in_splits(listing, Part(table, folder), f"{name} of IAM")
    for forms in listing.inner("xml"):
        if (listing.folder / "lines").is_dir() and _has_forms(forms):
            part = Part(forms.folder, listing.folder / "lines")
            return _in_splits(listing, part, "xml of IAM")
    return []


def _is_table(path: Path) -> bool:
    """Whether a file has lines of the database, after comments."""
    lines = lines_of(head_of(path, LOOKED_AT).decode("utf-8", "replace"))
    first = next((line for _, line in lines if line[0] != "#"), "")
    return ID.match(first) is not None and first.split(" ")[1:2] in (["ok"], ["err"])


def _has_forms(listing: Listing) -> bool:
    files = listing.ending(".xml")
    return bool(files) and re.fullmatch(FORM, files[0].stem) is not None


def _in_splits(listing: Listing, part: Part, name: str) -> list[Source]:
    """The part as a whole, or in the splits that lists of names beside it say."""
    lists: dict[str, list[str]] = {}
    for place in (listing, *listing.inner("splits", "split", TASK)):
        for path in place.ending(*ENDINGS):
            split = _split_of(path.stem)
            names = _names(path) if split else []
            if split and names:
                lists.setdefault(split, []).extend(names)
    if not lists:
        return [Source(name, part.read)]
    return [
        Source(f"{name} ({split})", Part(part.table, part.images, frozenset(names)).read, split)
        for split, names in lists.items()
    ]


TASK = "largeWriterIndependentTextLineRecognitionTask"


def _split_of(stem: str) -> str | None:
    """The split of `trainset`, `validationset1`, `test` and the like."""
    found = re.fullmatch(r"([a-z]+?)(?:set)?\d*", stem.lower())
    names = [split for split, known in SPLITS.items() if found and found[1] in known]
    return names[0] if names else None


def _names(path: Path) -> list[str]:
    """The names that a list has; none where it is of something else."""
    lines = [line.strip() for _, line in lines_of(read_text(path))]
    return lines if lines and all(ID.fullmatch(line) for line in lines) else []


def _of_file(path: Path) -> Source | None:
    """`lines.txt` or `words.txt`, in `ascii` or beside the images."""
    kind = KINDS.get(path.name)
    if kind is None or not _is_table(path):
        return None
    root = path.parent.parent if path.parent.name == "ascii" else path.parent
    return Source(path.name, Part(path, root / kind).read)


def _near(listing: Listing) -> Sequence[str]:
    tables = [
        table
        for place in (listing, *listing.inner("ascii"))
        for name in KINDS
        if (table := place.file(name)) and _is_table(table)
    ]
    return [
        f"{table.relative_to(listing.folder)} is IAM's, but there is no folder "
        f"{KINDS[table.name]} with its images"
        for table in tables[:1]
    ]


IAM = DataLayout(
    "iam",
    "IAM as it is unpacked: ascii/lines.txt with lines, ascii/words.txt with words, or xml",
    _find,
    _of_file,
    _near,
)
