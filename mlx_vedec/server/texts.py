"""Texts on their way to a client: cut at stop strings, token by token, with log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..reading.processor import Processor
from ..reading.results import GenerationResult
from ..text.streaming import UNDECODED, StreamingDecoder
from ..text.tokenizer import Tokenizer
from .requests import Token

ENDS = {"stop": "stop", "length": "length", "repetition": "length"}  # OpenAI's word for each reason


def until_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to where the first stop string begins.

    >>> until_stop("two lines", [" li", "n"])
    'two'
    """
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def content_of(result: GenerationResult, stops: Sequence[str]) -> str:
    """What a result says: its text before a stop string, or its data as JSON where it has some."""
    if result.data is not None:
        return json.dumps(result.data, ensure_ascii=False)
    return until_stop(result.text, stops)


def reads_plainly(processor: Processor) -> bool:
    """Whether texts are as their tokens come: not cleaned up, and no data, once they are whole."""
    return type(processor).read is Processor.read and not processor.own_steps


class Piecewise:
    """A text as its tokens come; what may be the beginning of a stop string is held back."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self.decoder = StreamingDecoder(tokenizer)
        self.stops = stops
        self.text = ""  # that its tokens make certain
        self.sent = 0

    def add(self, token: int) -> str:
        """The text that one more token lets be sent."""
        self.text += self.decoder.add(token)
        whole = until_stop(self.text, self.stops)
        return self._send(len(whole) if whole != self.text else len(self.text) - self._held())

    def finish(self, content: str) -> str:
        """What is left of a text, when all of it is known."""
        self.text = content
        return self._send(len(content))

    def _send(self, end: int) -> str:
        piece = self.text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece

    def _held(self) -> int:
        """Characters at the end that a stop string begins with."""
        return max((_overlap(self.text, stop) for stop in self.stops), default=0)


def _overlap(text: str, stop: str) -> int:
    """The longest end of a text that a stop string begins with, the whole string aside."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


class Spelling:
    """Tokens as OpenAI's `logprobs` have them: each with its own text, and the likeliest beside it.

    What a token adds to a text depends on the token before it, so they are given in their order.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.skipped = frozenset(tokenizer.skipped_ids)
        self.before: list[int] = []

    def entries(self, tokens: Iterable[Token]) -> list[dict[str, Any]]:
        """An entry for each token that is text."""
        return [self._entry(token) for token in tokens if token.id not in self.skipped]

    def _entry(self, token: Token) -> dict[str, Any]:
        found = {
            **self._spelt(token.id, token.logprob),
            "top_logprobs": [self._spelt(id, logprob) for id, logprob in token.likeliest],
        }
        self.before = [token.id]
        return found

    def _spelt(self, id: int, logprob: float | None) -> dict[str, Any]:
        decode = self.tokenizer.backend.decode
        start = len(decode(self.before, skip_special_tokens=False)) if self.before else 0
        text = decode([*self.before, id], skip_special_tokens=False)[start:]
        whole = UNDECODED not in text
        value = -9999.0 if logprob is None or logprob < -9999.0 else logprob
        return {"token": text, "logprob": value, "bytes": [*text.encode()] if whole else None}


def tokens_of(result: GenerationResult) -> list[Token]:
    """The tokens of a result."""
    pairs = zip(result.tokens, result.token_logprobs, strict=True)
    return [Token(0, id, logprob) for id, logprob in pairs]
