"""The layouts that data are read in: which of them a folder or a file is, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import DataError, nearest
from ..files import near
from . import archives, arrow_files, iam, page_lines, tables, text_files
from .listing import NAMES, SPLITS, DataLayout, Listing, Source
from .samples import RowOptions, Sample

LAYOUTS: dict[str, DataLayout] = {
    layout.name: layout
    for layout in (
        tables.TABLE,
        text_files.PAIRS,
        text_files.LIST,
        iam.IAM,
        page_lines.PAGES,
        arrow_files.PARQUET,
        arrow_files.SAVED,
        archives.ARCHIVE,
    )
}
ACCEPTED = "\n  ".join(
    (
        "expected one of",
        *(layout.expected for layout in LAYOUTS.values()),
        "for splits, train.jsonl, valid.jsonl, test.jsonl (or .tsv, .csv), or folders of these "
        "names",
    )
)
ORDER = (*SPLITS, None)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
ON_THE_HUB = "what is on the Hub is downloaded with hf download --repo-type dataset --local-dir"
MOST_NEAR = 3  # of the things that come close, that are told

Splits = dict[str | None, Source]


def sources_of(path: Path, layout: str | None = None) -> Splits:
    """The data of a file or a folder by their splits; under None what belongs to no split.

    layout -- the name of the only one to look for. An error says what could be read in two ways,
    or what there is instead of data.
    """
    if not path.exists():
        hint = f"; {ON_THE_HUB}" if HUB_ID.fullmatch(str(path)) else ""
        raise DataError(f"{path} does not exist; expected a table or a folder; {near(path)}{hint}")
    chosen = _chosen(layout)
    if not path.is_dir():
        return {None: _of_file(path, chosen)}
    listing = Listing(path)
    found = [*_found(listing, chosen), *_in_folders(listing, chosen)]
    found.sort(key=lambda source: ORDER.index(source.split))
    splits: Splits = {source.split: source for source in found}
    if len(splits) < len(found) or (None in splits and len(splits) > 1):
        _refuse(path, found)
    if not splits:
        raise DataError(_nothing(listing, chosen))
    return splits


def has_samples(folder: Path) -> bool:
    """Whether a folder holds data of its own, or splits of data, and not only lines of pages."""
    listing = Listing(folder)
    layouts = [layout for layout in LAYOUTS.values() if layout is not page_lines.PAGES]
    return bool(_found(listing, layouts) or _in_folders(listing, [*LAYOUTS.values()]))


def source_in(folder: Path) -> Source | None:
    """The data that a folder holds itself, whatever split its name says; None for none."""
    found = _found(Listing(folder), [*LAYOUTS.values()])
    if len(found) > 1:
        _refuse(folder, found)
    return found[0] if found else None


def _chosen(layout: str | None) -> list[DataLayout]:
    if layout is None:
        return [*LAYOUTS.values()]
    if layout not in LAYOUTS:
        raise DataError(f"layout is {layout[:60]!r}; {nearest(layout, LAYOUTS)}")
    return [LAYOUTS[layout]]


def _found(listing: Listing, layouts: Sequence[DataLayout]) -> list[Source]:
    return [source for layout in layouts for source in layout.find(listing)]


def _in_folders(listing: Listing, layouts: Sequence[DataLayout]) -> list[Source]:
    """The data of the folders inside that have the name of a split."""
    found = []
    for path in listing.folders:
        split = NAMES.get(path.name.lower())
        inner = _found(Listing(path), layouts) if split else []
        if inner:
            found.append(Source(path.name, partial(_read_only, path, inner), split))
    return found


def _read_only(folder: Path, sources: Sequence[Source], options: RowOptions) -> list[Sample]:
    if len(sources) > 1:
        _refuse(folder, sources)
    return sources[0].read(options)


def _of_file(path: Path, layouts: Sequence[DataLayout]) -> Source:
    for layout in layouts:
        if (source := layout.of_file(path)) is not None:
            return source
    endings = (*tables.PARSERS, ".parquet", ".arrow", ".tar")
    raise DataError(
        f"{path} is no table; expected a file {', '.join(endings)}, a list .txt, or PAGE, ALTO or "
        f"hOCR; {nearest(path.suffix, endings, 'rename it if it is one')}"
    )


def _refuse(folder: Path, found: Sequence[Source]) -> None:
    """Raise the error of data that could be read in several ways."""
    by_split: dict[str | None, list[str]] = {}
    for source in found:
        by_split.setdefault(source.split, []).append(source.name)
    several = [names for names in by_split.values() if len(names) > 1]
    mixed = [] if several else [[source.name for source in found]]
    names = "; ".join(", ".join(names) for names in several + mixed)
    raise DataError(
        f"{folder} has {names}; expected one of them; name the file you mean, move the others "
        f"elsewhere, or give the layout: {', '.join(LAYOUTS)}"
    )


def _nothing(listing: Listing, layouts: Sequence[DataLayout]) -> str:
    """What is said of a folder without data: what is expected, what there is, what comes close."""
    close = [said for layout in layouts for said in layout.near(listing)]
    for path in listing.folders:
        inner = Listing(path)
        found = _found(inner, layouts)
        if path.name.lower() in NAMES:
            close.append(f"the folder {path.name} has {inner.seen()}, and no texts")
        elif found:
            close.append(f"the folder {path.name} has {found[0].name}; give that folder")
            break
    said = "".join(f"\n{hint}" for hint in close[:MOST_NEAR])
    return f"{listing.folder} has no training data; {ACCEPTED}\nand it has {listing.seen()}{said}"
