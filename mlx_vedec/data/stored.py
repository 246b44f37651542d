"""Images inside larger files, and lines of pages: none is held in memory while it is not used."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from PIL import Image

from ..errors import DataError
from ..images.deferred import DeferredImage
from ..images.loading import as_file, header_of, header_size, load_image
from ..pages.layout import Line
from ..pages.sheets import Sheet
from ..pages.strips import cut, pieces_of

FAST = 1  # zlib's level for lines that are kept on disk


class Spool:
    """A temporary file, without a name, for bytes that would fill the memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lasts as long as the samples)
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def add(self, data: bytes) -> Callable[[], bytes]:
        """Keep the bytes; what gives them back."""
        with self._lock:
            try:
                start = self._file.seek(0, os.SEEK_END)
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                raise DataError(
                    f"images cannot be unpacked to {tempfile.gettempdir()} ({error.strerror}); "
                    "make room there, or name another folder in the environment's TMPDIR"
                ) from error
        return partial(self._read, start, len(data))

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)


class StoredImage(DeferredImage):
    """An image whose bytes are somewhere in a larger file; read -- gives these bytes."""

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        self.name, self.read = name, read

    def load(self) -> Image.Image:
        """The picture."""
        return load_image(self.read())

    def check(self) -> None:
        """Look at its header."""
        header_of(self.read())


class CutPage:
    """A page whose lines are all cut when the image of one is asked for, as it is read only once.

    sheet -- what gives its picture. lines -- those whose images may be asked for
    """

    def __init__(self, sheet: Sheet, lines: Sequence[Line], spool: Spool) -> None:
        self.sheet, self.lines, self._spool = sheet, lines, spool
        self._lock = threading.Lock()
        self._cut: list[Callable[[], bytes]] = []

    def line(self, number: int) -> Image.Image:
        """The image of a line, cut along its outline and baseline."""
        with self._lock:
            if not self._cut:
                picture = self.sheet.load()
                self._cut = [self._kept(picture, line) for line in self.lines]
        return load_image(self._cut[number]())

    def _kept(self, picture: Image.Image, line: Line) -> Callable[[], bytes]:
        """What gives the bytes of a line's image, or raises what was wrong with the line."""
        try:
            data = as_file(cut(picture, line).image, "PNG", compress_level=FAST)
        except ValueError as error:
            return _raising(error)
        return self._spool.add(data)


def _raising(error: ValueError) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read


class LineImage(DeferredImage):
    """The image of a line of a page, by its number there.

    file -- that of the page, where it has no other
    """

    def __init__(self, page: CutPage, number: int) -> None:
        self._page, self._number = page, number
        self.name = page.sheet.name
        self.file = page.sheet.path if page.sheet.count == 1 else None

    def load(self) -> Image.Image:
        """The line, from its start to its end, its letters upright."""
        return self._page.line(self._number)

    def pieces(self, aspect: float) -> list[Image.Image]:
        """What `read_page` shows a checkpoint of lines of this aspect; of no ink, nothing."""
        picture = self.load()
        line = Line(box=(0, 0, *picture.size))
        return [piece.picture for piece in pieces_of(picture, line, aspect)]

    def check(self) -> None:
        """Look at the header of the page's file."""
        if self._page.sheet.path is not None:
            header_size(self._page.sheet.path)
