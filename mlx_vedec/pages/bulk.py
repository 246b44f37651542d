"""Thousands of pages into a folder: a file for each, those that are there left alone.

A run that ended early goes on where it was. Of several processes each takes every so-many-th page,
so that none is read twice and none is left out; what one left that died is read by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..errors import OptionError
from ..files import make_folder, write_file
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from . import pdf
from .formats import ENDINGS, check_format
from .page import Page
from .reading import read_sheets
from .sheets import Given, Sheet, failing, sheets_of

ERRORS = "errors.jsonl"


@dataclass(eq=False)
class Folder:
    """A folder of results, one file for each page; of a PDF, one for all its pages.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path:
    ...     folder = Folder(Path(path), "alto")
    ...     folder.file_of(Sheet("scans/a.png", "a", lambda: None)).name
    'a.xml'
    """

    path: Path
    format: str
    overwrite: bool = False
    _parts: dict[Path, list[bytes | None]] = field(default_factory=dict, repr=False)
    _owners: dict[str, Path | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_format(self.format)
        if self.path.exists() and not self.path.is_dir():
            raise OptionError(
                f"{self.path} is a file; expected a folder for results; give another name"
            )

    def file_of(self, sheet: Sheet) -> Path:
        """The file that a page's result is in."""
        whole = self.format == "pdf" and sheet.path is not None
        stem = sheet.path.stem if whole and sheet.path else sheet.stem
        return self.path / (stem + ENDINGS[self.format])

    def missing(self, sheets: Iterable[Sheet], *, share: int = 0, of: int = 1) -> list[Sheet]:
        """The pages whose files are not there, or all to be overwritten; of those, one share.

        Two pages that would have one file are an `OptionError`, before anything is read.
        """
        groups: dict[str, list[Sheet]] = {}
        for sheet in sheets:
            groups.setdefault(self._key(sheet), []).append(sheet)
        for group in groups.values():
            self._check(group)
        own = list(groups.values())[share::of]
        return [
            sheet
            for group in own
            if self.overwrite or not self.file_of(group[0]).exists()
            for sheet in group
        ]

    def claimed(self, sheet: Sheet) -> Sheet:
        """A page that comes by itself, as while a folder is watched; its file becomes its image's.

        Where the file is another image's, which was claimed before or is beside this one, the page
        cannot be read, and says so.
        """
        try:
            owner = self._owner(sheet)
            if owner != sheet.path:
                self._check([replace(sheet, name=str(owner), path=owner), sheet])
        except ValueError as error:
            return failing(sheet, error)
        return sheet

    def _owner(self, sheet: Sheet) -> Path | None:
        """The image whose file a page's file is, the page's own where it is no other's."""
        key = self._key(sheet)
        if key not in self._owners and sheet.path is not None and self.file_of(sheet).exists():
            beside = (other for other in sheets_of(sheet.path.parent) if self._key(other) == key)
            other = next((other for other in beside if other.path != sheet.path), sheet)
            self._owners[key] = other.path
        return self._owners.setdefault(key, sheet.path)

    def _key(self, sheet: Sheet) -> str:
        """A name of a page's file that is the same where file systems hold names to be."""
        return str(self.file_of(sheet)).casefold()

    def _check(self, group: Sequence[Sheet]) -> None:
        """Refuse pages of several files that go by one name, and a PDF in place of itself."""
        own, target = group[0].path, self.file_of(group[0])
        if self.overwrite and own and not group[0].layout and own.resolve() == target.resolve():
            raise OptionError(
                f"{own} would be overwritten by what is read in it; expected another folder for "
                "results; give one"
            )
        sources = list(dict.fromkeys((sheet.path, sheet.number) for sheet in group))
        if self.format == "pdf":
            sources = list(dict.fromkeys(path for path, _ in sources))
        if len(sources) > 1 or len(sources) < len(group) and self.format != "pdf":
            names = " and ".join(sheet.name for sheet in group[:2])
            raise OptionError(
                f"{names} would both be {self.file_of(group[0]).name}; expected pages of different "
                "names; rename one, or read them into different folders"
            )

    def put(self, sheet: Sheet, page: Page) -> None:
        """Write a page's file, whole or not at all; a PDF's once all its pages are there."""
        target = self.file_of(sheet)
        if self.format != "pdf" or sheet.count == 1:
            if page.error is None:
                page.save(target, self.format)
            return
        parts = self._parts.setdefault(target, [])
        parts.append(page.to_bytes("pdf") if page.error is None else None)
        if len(parts) == sheet.count:
            whole = [part for part in self._parts.pop(target) if part is not None]
            if len(whole) == sheet.count:
                data = pdf.joined(whole)
                write_file(target, lambda temporary: temporary.write_bytes(data))


def read_to_folder(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    sheets: Iterable[tuple[Sheet, Given]],
    folder: Folder,
    *,
    group: mx.distributed.Group | None = None,
    plan: Callable[[int], object] | None = None,
    done: Callable[[Page], object] | None = None,
    keep_errors: bool = False,
    **options: Any,
) -> int:
    """Read the pages that a folder has no results of, and write them there; how many were bad.

    sheets -- pages, each with where its layout comes from, as `read_pages` takes it. group -- the
    processes that share them. plan -- is told how many pages this process reads; done -- each page,
    once its file is there. keep_errors -- whether the errors of earlier calls stay in the folder.
    options -- those of `read_pages`.

    What goes wrong with a page or one of its lines is a line of `errors.jsonl` in the folder, which
    is gone where nothing did. Pages that failed have no file, so the next run tries them again.
    """
    rank, size = (group.rank(), group.size()) if group else (0, 1)
    given = [*sheets]
    layouts = {id(sheet): layout for sheet, layout in given}
    own = folder.missing([sheet for sheet, _ in given], share=rank, of=size)
    make_folder(folder.path)
    errors = folder.path / ERRORS
    if rank == 0 and not keep_errors:
        errors.unlink(missing_ok=True)
    _together(group)  # so that nobody's errors are taken for those of the last run
    if plan is not None:
        plan(len(own))
    bad = 0
    pages = read_sheets(model, processor, ((sheet, layouts[id(sheet)]) for sheet in own), **options)
    for sheet, page in zip(own, pages, strict=True):
        folder.put(sheet, page)
        bad += page.error is not None
        _note(errors, page)
        if done is not None:
            done(page)
    return bad


def _together(group: mx.distributed.Group | None) -> None:
    """Wait until all processes are here."""
    if group is not None and group.size() > 1:
        mx.eval(mx.distributed.all_sum(mx.array(1), group=group, stream=mx.cpu))


def _note(errors: Path, page: Page) -> None:
    """Add what went wrong to the file, in one write each, as several processes share it."""
    notes = [{"page": page.name, "error": str(page.error)}] if page.error is not None else []
    notes += [
        {"page": page.name, "line": line.id or number, "error": str(line.error)}
        for number, line in enumerate(page.lines, 1)
        if line.error is not None
    ]
    for note in notes:
        with errors.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note, ensure_ascii=False) + "\n")
