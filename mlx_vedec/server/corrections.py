"""Pages that a person corrected, as data that `mlx_vedec lora --data FOLDER` learns from.

    metadata.jsonl                  a row for each line: its image and its text
    lines/PAGE-REVISION-….png       the images, cut as the model reads them
    pages/PAGE-REVISION.xml         the page as PAGE, corrected lines marked, beside its image

A page is known by its image. Correcting it again is another revision: files that are there stay,
and the rows of the newest revision take the place of the older ones'.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from ..errors import CheckpointError, LayoutError, OptionError
from ..files import make_folder, write_file
from ..images.ink import dark_on_light, find_ink
from ..pages import page_xml
from ..pages.layout import Layout
from ..pages.strips import pieces_of
from .refusals import Refusal
from .sent_pages import SentLine

TABLE = "metadata.jsonl"
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
ALIKE = 0.7  # of two texts, from which on places of one are found in the other
MARK = "corrected {by:hand;}"  # in the `custom` of a line, as PAGE's tools write their own notes
Row = dict[str, Any]


class Corrections:
    """The folder that corrected pages are written to.

    aspect -- of the lines that the model reads, by which wider ones are cut. An `OptionError` says
    why nothing can be written
    """

    def __init__(self, folder: Path, aspect: float | None) -> None:
        self.folder, self.aspect = folder, aspect
        self._writing = threading.Lock()
        try:
            for name in ("lines", "pages"):
                make_folder(folder / name)
            probe = folder / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except (OSError, CheckpointError) as error:
            why = error.strerror if isinstance(error, OSError) else "it cannot be made"
            raise OptionError(f"{folder.name} cannot be written ({why})") from error

    def save(self, content: bytes, picture: Image.Image, layout: Layout, after: int | None) -> Row:
        """Write a page; returns its revision, and how many lines there are to learn from.

        content -- the image's file. after -- the newest revision that the client knows: `Refusal`
        where there is a newer one; None writes another in any case
        """
        page = hashlib.sha256(content).hexdigest()[:12]
        made: list[Path] = []
        with self._writing:
            newest = self._newest(page)
            if after is not None and newest > after:
                raise Refusal(
                    409,
                    f"this page was corrected before or in another window (revision {newest}); "
                    "send after=null to write yours as a newer one",
                    code="corrected_before",
                )
            name = f"{page}-{newest + 1}"
            try:
                rows = [*self._lines(picture, layout, name, made)]
                if not rows:
                    raise Refusal(400, "no line of the page has a text; there is nothing to learn")
                self._page(content, picture, layout, name, made)
                self._table(page, [{**row, "page": page} for row in rows])
            except BaseException as error:
                for path in made:
                    with suppress(OSError):
                        path.unlink()
                if isinstance(error, OSError):
                    said = f"the page could not be written ({error.strerror}); nothing was changed"
                    raise Refusal(500, said) from error
                raise
        corrected = sum(row["corrected"] for row in rows)
        return {"revision": newest + 1, "lines": len(rows), "corrected": corrected}

    def _newest(self, page: str) -> int:
        """The newest revision of a page, 0 where there is none."""
        names = (path.stem for path in (self.folder / "pages").glob(f"{page}-*.xml"))
        numbers = [name.rpartition("-")[2] for name in names]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _lines(
        self, picture: Image.Image, layout: Layout, name: str, made: list[Path]
    ) -> Iterator[Row]:
        """Write the images of the lines that have a text; gives their rows."""
        for number, line in enumerate(layout.lines, 1):
            assert isinstance(line, SentLine)
            for part, (image, text) in enumerate(self._parts(picture, line), 1):
                path = self.folder / "lines" / f"{name}-{number}-{part}.png"
                made.append(path)
                write_file(path, lambda file, image=image: image.save(file, "PNG"))
                where = path.relative_to(self.folder).as_posix()
                row = {"file_name": where, "text": text, "line": number}
                yield {**row, "corrected": line.corrected}

    def _parts(self, picture: Image.Image, line: SentLine) -> list[tuple[Image.Image, str]]:
        """The pieces of a line with their texts; one where it is not known what each has."""
        text = " ".join(line.text.split())
        if not text:
            return []
        try:
            pieces = [piece.picture for piece in pieces_of(picture, line, self.aspect)]
            widths = [_inked(piece) for piece in pieces]
            read = line.read if len(pieces) == len(line.read) else ("",) * len(pieces)
            texts = split_text(text, read, widths) if pieces else None
            if texts is None:
                [whole] = pieces_of(picture, line, None)
                return [(whole.picture, text)]
        except LayoutError as error:
            raise Refusal(400, str(error), param="page") from error
        return [*zip(pieces, texts, strict=True)]

    def _page(
        self, content: bytes, picture: Image.Image, layout: Layout, name: str, made: list[Path]
    ) -> None:
        """Write the page as PAGE, and its image beside it."""
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or ""
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        place = self.folder / "pages" / name
        file = place.with_name(name + (".png" if turned else ENDINGS.get(kind, ".png")))
        layout = replace(layout, size=picture.size, image=file.name)
        document = page_xml.write(layout)
        elements = (one for one in document.root.below() if one.name == "TextLine")
        for element, line in zip(elements, layout.lines, strict=True):
            if isinstance(line, SentLine) and line.corrected:
                element.attributes["custom"] = MARK
        made += [file, place.with_name(f"{name}.xml")]
        if turned or kind not in ENDINGS:
            write_file(file, lambda beside: picture.save(beside, "PNG"))
        else:
            write_file(file, lambda beside: beside.write_bytes(content))
        write_file(made[-1], lambda beside: beside.write_bytes(document.to_bytes()))

    def _table(self, page: str, rows: Sequence[Row]) -> None:
        """Put the rows of a page in the place of its older ones."""
        path = self.folder / TABLE
        there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        new = [json.dumps(row, ensure_ascii=False) for row in rows]
        text = "".join(
            f"{line}\n" for line in [*there, *new] if line in new or not _is_of(line, page)
        )
        write_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _is_of(line: str, page: str) -> bool:
    """Whether a row of the table is of a page."""
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and row.get("page") == page


def split_text(text: str, read: Sequence[str], widths: Sequence[float]) -> list[str] | None:
    """A corrected text in as many parts as it was read in, cut at spaces; None where it has none.

    The cuts are where those of the text that was read are; where that is another text altogether,
    where they are by the widths of the parts, in pixels.

    >>> split_text("brown foxes jump over it", ["brovvn fox", "junps ovr it"], [50, 60])
    ['brown foxes', 'jump over it']
    """
    before = " ".join(read)
    spaces = [place for place, letter in enumerate(text) if letter == " "]
    if len(spaces) < len(read) - 1:
        return None
    matcher = SequenceMatcher(None, before, text, autojunk=False)
    if all(read) and matcher.ratio() > ALIKE:
        ends = accumulate(len(piece) + 1 for piece in read[:-1])
        wanted = [_led(end - 1, matcher.get_opcodes()) for end in ends]
    else:
        whole = len(text) / sum(widths)
        wanted = [whole * end for end in accumulate(widths[:-1])]
    cuts = [min(spaces, key=lambda place: abs(place - end)) for end in wanted]
    if sorted({*cuts}) != cuts:
        return None
    bounds = [-1, *cuts, len(text)]
    return [text[start + 1 : stop] for start, stop in zip(bounds, bounds[1:], strict=False)]


def _inked(piece: Image.Image) -> float:
    """How wide the ink of a piece is: its canvas may be wider."""
    columns = np.flatnonzero(find_ink(dark_on_light(piece)).any(axis=0))
    return float(columns[-1] - columns[0] + 1) if len(columns) else 1.0


def _led(place: int, matched: Sequence[tuple[str, int, int, int, int]]) -> float:
    """Where a place of one text is in another, by what `SequenceMatcher` says of them."""
    for _, start, end, first, last in matched:
        if start <= place < end:
            return first + (place - start) * (last - first) / (end - start)
    return matched[-1][4] if matched else 0
