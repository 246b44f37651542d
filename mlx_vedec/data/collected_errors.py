"""Errors in data, collected so that one exception names them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError

SHOWN = 20


class CollectedErrors:
    """Errors by the place in the data that they are at, raised together.

    >>> errors = CollectedErrors()
    >>> with errors.at("train.jsonl:3"):
    ...     raise ValueError("text is empty")
    >>> errors.raise_any()
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: 1 problem in the data:
      train.jsonl:3: text is empty
    """

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in order, each once

    @contextmanager
    def at(self, where: str = "") -> Iterator[None]:
        """Collect a `ValueError` or `OSError` raised inside, instead of letting it through."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(f"{where}: {error}" if where else str(error))

    def add(self, error: str) -> None:
        """Collect an error; the same text a second time is not counted."""
        self.found[error] = None

    def raise_any(self) -> None:
        """Raise a `DataError` that lists the first 20 errors, if there are any."""
        if not self.found:
            return
        count = len(self.found)
        lines = [f"{count} problem{'s' if count > 1 else ''} in the data:", *[*self.found][:SHOWN]]
        if count > SHOWN:
            lines.append(f"and {count - SHOWN} more")
        raise DataError("\n  ".join(lines))
