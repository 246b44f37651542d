"""What ends a row besides its length: end tokens, loops, texts, functions, the clock."""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx

from .options import Options
from .repetition import loops

STOP, LENGTH, REPETITION = 1, 2, 3  # 0 is a row that goes on
REASONS = (None, "stop", "length", "repetition")


class Stopping:
    """The reasons to stop that options name, asked after every token."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.started = time.monotonic()

    def __call__(self, tokens: mx.array, scores: mx.array) -> mx.array:
        """Tokens (N, T), the last of them new, to reasons (N,), 0 in rows that go on.

        Only stop strings and functions look at values, and so wait for the step.
        """
        o, rows = self.options, tokens.shape[0]
        reasons = mx.zeros((rows,), mx.int32)
        if "ngram" in o.stop_on_repetition:
            reasons = mx.where(loops(tokens, o.prompt_length), REPETITION, reasons)
        if o.max_time is not None and time.monotonic() - self.started > o.max_time:
            reasons = mx.full((rows,), LENGTH, mx.int32)
        for criterion in o.stopping_criteria:
            reasons = mx.where(_asked(criterion(tokens, scores), rows), STOP, reasons)
        if o.stop_strings:
            reasons = mx.where(mx.array(self._texts(tokens)), STOP, reasons)
        return mx.where(is_in(tokens[:, -1], o.eos_token_ids), STOP, reasons)

    def _texts(self, tokens: mx.array) -> list[bool]:
        """Whether the text of each row (N, T) has come to hold a stop string."""
        o = self.options
        tail = 16 + max(len(text) for text in o.stop_strings)  # a token may have no character
        ends: Any = tokens[:, o.prompt_length :][:, -tail:].tolist()
        texts = [o.tokenizer.decode(row) for row in ends]
        return [any(stop in text for stop in o.stop_strings) for text in texts]


def is_in(ids: mx.array, listed: tuple[int, ...]) -> mx.array:
    """Which ids are among those listed, as a mask of their shape."""
    if not listed:
        return mx.zeros(ids.shape, mx.bool_)
    return (ids[..., None] == mx.array(listed, ids.dtype)).any(axis=-1)


def _asked(answer: Any, rows: int) -> mx.array:
    """A criterion's answer as (N,), whether it is one for all rows or one for each."""
    return mx.broadcast_to(mx.array(answer).astype(mx.bool_), (rows,))
