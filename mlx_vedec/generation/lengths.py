"""How long rows may be and must be, before their prompt is known and after."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError
from .values import at_least, option


@dataclass(frozen=True)
class Lengths:
    """What is asked of the length of rows, while the prompt's is not known.

    limit -- tokens at which any row ends. asked -- whether the call, not the checkpoint, set the
    greatest length: then one past the limit is an error, and not the limit.
    """

    max_length: int | None = option(
        at_least(1), "Most tokens of a row, its prompt included.", None, unset="as many as fit"
    )
    max_new_tokens: int | None = option(
        at_least(1),
        "Most tokens of an image's text, or of that of a piece of a line.",
        None,
        unset="as many as fit",
        alias="max_tokens",
        flag=True,
        short="-m",
    )
    min_length: int | None = option(
        at_least(0), "Tokens of a row before it may end, its prompt included.", None
    )
    min_new_tokens: int | None = option(
        at_least(0), "Tokens of a text before it may end, its prompt aside.", None
    )
    limit: int = 0
    asked: bool = False

    def after(self, prompt_length: int) -> tuple[int, int]:
        """The greatest and the least length of rows that begin with so many tokens."""
        greatest = self._greatest(prompt_length)
        name, least = "min_length", self.min_length or 0
        if self.min_new_tokens:
            name, least = "min_new_tokens", prompt_length + self.min_new_tokens
        if least > greatest:
            raise OptionError(
                f"{name}={getattr(self, name)} asks for {least} tokens, prompt included, but the "
                f"most is {greatest}; lower it, or raise max_new_tokens"
            )
        return greatest, least

    def _greatest(self, prompt_length: int) -> int:
        name = "max_length" if self.max_new_tokens is None else "max_new_tokens"
        value = getattr(self, name)
        if value is None:
            return self.limit
        total = value + (prompt_length if name == "max_new_tokens" else 0)
        if total <= prompt_length:
            raise OptionError(
                f"{name}={value} leaves no room after a prompt of {prompt_length} tokens"
            )
        if total > self.limit and self.asked:
            raise OptionError(
                f"{name}={value} goes past the end of the position table, {self.limit} tokens with "
                f"the prompt's {prompt_length}; leave it out to go to the end"
            )
        return min(total, self.limit)
