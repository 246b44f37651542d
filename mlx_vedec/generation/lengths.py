"""How long a row may be, and has to be: what is asked, and what there is room for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import OptionError
from .values import at_least, option


@dataclass(frozen=True)
class Lengths:
    """What is asked of the length of rows, while the prompt's is not known.

    limit -- tokens of a row of which all but the last have a position; the last is never fed. It is
    the length where none is asked for. ends -- whether no row may be longer. given -- the lengths
    that the call set itself. said -- what was warned of, which is warned of once.
    """

    max_length: int | None = option(
        at_least(1), "Most tokens of a row, its prompt included.", unset="as many as fit"
    )
    max_new_tokens: int | None = option(
        at_least(1),
        "Most tokens of an image's text, or of that of a piece of a line.",
        unset="as many as fit",
        alias="max_tokens",
        flag=True,
        short="-m",
    )
    min_length: int | None = option(
        at_least(0), "Tokens of a row before it may end, its prompt included."
    )
    min_new_tokens: int | None = option(
        at_least(0), "Tokens of a text before it may end, its prompt aside."
    )
    limit: int = 0
    ends: bool = True
    given: frozenset[str] = frozenset()
    said: set[str] = field(default_factory=set, compare=False, repr=False)

    def after(self, prompt_length: int) -> tuple[int, int]:
        """The greatest and the least length of rows that begin with so many tokens."""
        most, asked = self._most(prompt_length)
        greatest = self._bounded(asked)
        if asked is not None and asked <= prompt_length:
            raise OptionError(f"{most} leaves no room after a prompt of {prompt_length} tokens")
        name, least = self._least(prompt_length)
        if asked is not None and least > asked and {name, most.partition("=")[0]} <= self.given:
            raise OptionError(
                f"{self._unmet(name, least, asked)}; lower it, or raise {most.partition('=')[0]}"
            )
        return greatest, least

    def notes(self, prompt_length: int) -> Iterator[str]:
        """What rows that begin with so many tokens will not have of what is asked."""
        most, asked = self._most(prompt_length)
        greatest = self._bounded(asked)
        if greatest <= prompt_length:  # which is an error
            return
        if asked is not None and asked > greatest:
            yield (
                f"{most} asks for texts of {asked} tokens, prompt included, past the end of the "
                f"position table: they end at {greatest}"
            )
        name, least = self._least(prompt_length)
        if least > greatest:
            yield f"{self._unmet(name, least, greatest)}: every text goes on to that length"

    def warn(self, prompt_length: int) -> None:
        """Warn of every note, each once in a call."""
        for note in self.notes(prompt_length):
            if note not in self.said:
                self.said.add(note)
                warnings.warn(note, stacklevel=4)

    def _most(self, prompt_length: int) -> tuple[str, int | None]:
        """The option that sets the greatest length, with its value, and that length."""
        if self.max_new_tokens is not None:
            return f"max_new_tokens={self.max_new_tokens}", self.max_new_tokens + prompt_length
        return f"max_length={self.max_length}", self.max_length

    def _least(self, prompt_length: int) -> tuple[str, int]:
        """The option that sets the least length, and that length."""
        if self.min_new_tokens:
            return "min_new_tokens", prompt_length + self.min_new_tokens
        return "min_length", self.min_length or 0

    def _bounded(self, asked: int | None) -> int:
        return self.limit if asked is None or (self.ends and asked > self.limit) else asked

    def _unmet(self, name: str, least: int, greatest: int) -> str:
        return (
            f"{name}={getattr(self, name)} asks for {least} tokens, prompt included, but the most "
            f"is {greatest}"
        )
