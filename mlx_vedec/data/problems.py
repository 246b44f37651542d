"""What is wrong with data, collected so that one error tells it all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError

SHOWN = 20


class Problems:
    """Problems by the place they are at, raised together.

    >>> problems = Problems()
    >>> with problems.at("train.jsonl:3"):
    ...     raise ValueError("text is empty")
    >>> problems.raise_any()
    Traceback (most recent call last):
    mlx_vedec.errors.DataError: 1 problem in the data:
      train.jsonl:3: text is empty
    """

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in order, each once

    @contextmanager
    def at(self, where: str = "") -> Iterator[None]:
        """Note a `ValueError` or `OSError` of what is done inside, and go on."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(f"{where}: {error}" if where else str(error))

    def add(self, problem: str) -> None:
        """Note a problem, if it is not noted yet."""
        self.found[problem] = None

    def raise_any(self) -> None:
        """Raise a `DataError` that lists the problems, the first 20 of them in full."""
        if not self.found:
            return
        count = len(self.found)
        lines = [f"{count} problem{'s' if count > 1 else ''} in the data:", *[*self.found][:SHOWN]]
        if count > SHOWN:
            lines.append(f"and {count - SHOWN} more")
        raise DataError("\n  ".join(lines))
