"""Text as its tokens come: each piece as soon as no later token can change it."""

from __future__ import annotations

import re

from .tokenizer import Tokenizer, tightened

UNDECODED = "\N{REPLACEMENT CHARACTER}"
PATIENCE = 16  # tokens to wait for the rest of a character; one has at most 4 bytes
# An end of text whose spaces the next characters may still take away.
OPEN_END = re.compile(r"[ ']+(n[ ']*|v|r)?$")


class StreamingDecoder:
    """Token ids one by one to text, at a cost that does not grow with the text.

    The pieces, and what `finish` adds, make up `tokenizer.decode` of all the ids.

    Only the tokens since the last certain character but one are decoded again: what comes first in
    a text loses its space, so the others need one before them.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self.tokenizer = tokenizer
        self._skipped = frozenset(tokenizer.skipped_ids if skip_special_tokens else ())
        self._tightens = tokenizer.tightens()
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
