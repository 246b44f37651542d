"""Text as its tokens come, each piece as soon as no later token can change it; who spells what."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .tokenizer import Tokenizer, tightened

UNDECODED = "\N{REPLACEMENT CHARACTER}"
PATIENCE = 16  # tokens to wait for the rest of a character; one has at most 4 bytes
# An end of text whose spaces the next characters may still take away.
OPEN_END = re.compile(r"[ ']+(n[ ']*|v|r)?$")


class StreamingDecoder:
    """Token ids one by one to text, at a cost that does not grow with the text.

    The pieces, and what `finish` adds, make up `tokenizer.decode` of all the ids. cleans -- as that
    cleans up spaces, for which it holds text back.

    Only the tokens since the last certain character but one are decoded again: what comes first in
    a text loses its space, so the others need one before them.
    """

    def __init__(
        self, tokenizer: Tokenizer, skip_special_tokens: bool = True, *, cleans: bool = True
    ) -> None:
        self.tokenizer = tokenizer
        self._skipped = frozenset(tokenizer.skipped_ids if skip_special_tokens else ())
        self._tightens = cleans and tokenizer.tightens()
        self._reset()

    def _reset(self) -> None:
        self._context: list[int] = []  # tokens whose text is out already
        self._shown = 0  # characters of it
        self._pending: list[int] = []
        self._held = ""  # text whose spaces are undecided

    def add(self, token: int) -> str:
        """The text that one more token makes certain, often none."""
        [token] = self.tokenizer.checked([token])
        if token in self._skipped:
            return ""
        self._pending = [*self._pending, token]
        text = self._decode(self._context + self._pending)
        if not text.endswith(UNDECODED):
            return self._release(text, len(text), self._pending)
        if len(self._pending) < PATIENCE:
            return ""
        # bytes that are no text: all but the last may go, as that one may begin a character
        return self._release(text, len(text) - 1, self._pending[-4:])

    def finish(self) -> str:
        """The rest of the text; after it the decoder can begin another."""
        text = self._decode(self._context + self._pending)
        rest = self._held + text[self._shown :]
        self._reset()
        return tightened(rest) if self._tightens else rest

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.backend.decode(ids, skip_special_tokens=False)

    def _release(self, text: str, end: int, kept: list[int]) -> str:
        """Let the text go up to `end`, and keep the tokens that are context for the next."""
        piece = self._held + text[self._shown : end]
        self._context, self._pending = kept, []
        self._shown = len(self._decode(kept)) - (len(text) - end)
        if not self._tightens:
            return piece
        open_end = OPEN_END.search(piece)
        cut = open_end.start() if open_end else len(piece)
        self._held = piece[cut:]
        return tightened(piece[:cut])


# Which tokens spell which words and characters


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
    pieces, skipped = StreamingDecoder(tokenizer, cleans=False), set(tokenizer.skipped_ids)
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


def _letters(text: str) -> int:
    return sum(not character.isspace() for character in text)
