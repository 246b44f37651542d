"""A document's pages as one Markdown text, read so that an interrupted run can go on.

Pages that are missing have Nougat's markers: FAIL for one that ran in circles or could not be read,
EMPTY for one of which nothing else remains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import ImageError, OptionError
from ..files import write_file
from .nougat import to_markdown
from .nougat_repeats import MISSING

Source = TypeVar("Source")


class Page(Protocol):
    """What `generate` gives, as far as it is looked at here."""

    @property
    def text(self) -> str:
        """The text as the model wrote it."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "repetition" for a loop, None where the page could not be read."""
        ...


def page_to_markdown(text: str, finish_reason: str | None, number: int) -> str:
    """A page's text cleaned up, or the marker that it is missing.

    finish_reason -- a page of the reason "repetition", or None, is missing. One that ends early for
    want of room is not, nor is one without text.

    >>> page_to_markdown("", "repetition", 7)
    '[MISSING_PAGE_EMPTY:7]'
    """
    cleaned = to_markdown(text).strip()
    looped = finish_reason == "repetition"
    if cleaned == MISSING or (looped and not cleaned):
        return f"[MISSING_PAGE_EMPTY:{number}]"
    return _failed(number) if looped or finish_reason is None else cleaned


def read_pages(
    read: Callable[[Source], Page], sources: Iterable[Source], folder: str | Path
) -> str:
    """Read pages one by one into `0001.md`, `0002.md`, … of a folder, and join them.

    A page whose file exists is not read again, so a run that was interrupted goes on where it was:
    give each document a folder of its own. A page that cannot be read, for which `read` raises an
    `ImageError` or gives no finish reason, has a marker in the text but no file.

    >>> from types import SimpleNamespace
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     read_pages(lambda s: SimpleNamespace(text=s, finish_reason="stop"), "ab", folder)
    'a\\n\\nb'
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; expected a folder for pages; give another name")
    return _joined(_page(read, source, number, folder) for number, source in enumerate(sources, 1))


def _page(read: Callable[[Source], Page], source: Source, number: int, folder: Path) -> str:
    """A page's text, from its file if it has one."""
    path = folder / f"{number:04d}.md"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    try:
        page = read(source)
    except ImageError:
        return _failed(number)
    text = page_to_markdown(page.text, page.finish_reason, number)
    if page.finish_reason is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    return text


def _failed(number: int) -> str:
    return f"[MISSING_PAGE_FAIL:{number}]"


def _joined(pages: Iterable[str]) -> str:
    text = "\n\n".join(page.strip() for page in pages)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
