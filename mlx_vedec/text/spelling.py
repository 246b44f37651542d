"""Which tokens spell which words and characters of a text."""

from __future__ import annotations

from collections.abc import Sequence

from .streaming import StreamingDecoder
from .tokenizer import Tokenizer


def words_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Each word of the tokens' text, special tokens skipped, and which of the tokens spell it.

    A token that spells the end of one word and the beginning of the next is among both.
    """
    owners = iter(_spelled_by(tokenizer, tokens))
    words = tokenizer.decode(list(tokens), skip_special_tokens=True).split()
    return [(word, sorted({i for _ in word for i in next(owners)})) for word in words]


def characters_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> tuple[str, list[list[int]]]:
    """The tokens' text without spaces, and for each of its characters the tokens that spell it."""
    text = tokenizer.decode(list(tokens), skip_special_tokens=True)
    return "".join(text.split()), _spelled_by(tokenizer, tokens)


def _spelled_by(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[list[int]]:
    """For each character but spaces, the places of the tokens that made it appear.

    Spaces are left out since only they change when a text is cleaned up.
    """
    pieces, skipped = _Pieces(tokenizer), set(tokenizer.skipped_ids)
    owners: list[list[int]] = []
    group: list[int] = []
    finished = True
    for index, token in enumerate(tokens):
        if token in skipped:
            continue
        group = [index] if finished else [*group, index]
        piece = pieces.add(token)
        owners += [group] * _letters(piece)
        finished = bool(piece)
    return owners + [group] * _letters(pieces.finish())


class _Pieces(StreamingDecoder):
    """Text as its tokens come, not cleaned up: to clean, it would hold text back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._tightens = False


def _letters(text: str) -> int:
    return sum(not character.isspace() for character in text)
