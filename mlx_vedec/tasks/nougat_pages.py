"""A document's pages as one Markdown text.

Pages that are missing have Nougat's markers: FAIL for one that ran in circles or could not be read,
EMPTY for one of which nothing else remains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .nougat import to_markdown
from .nougat_repeats import MISSING


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


def _failed(number: int) -> str:
    return f"[MISSING_PAGE_FAIL:{number}]"


def _joined(pages: Iterable[str]) -> str:
    text = "\n\n".join(page.strip() for page in pages)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
