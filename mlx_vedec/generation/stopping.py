"""What ends a row besides its length: end tokens, loops, texts, functions, the clock.

And what cannot go on: a row for which the rules leave no token, or a sampler's id that is none.
"""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx

from ..errors import OptionError, spelt
from ..layers.token_ids import as_array
from .options import OPTIONS, Options
from .repetition import loops
from .texts import Texts
from .values import answer_of

STOP, LENGTH, REPETITION = 1, 2, 3  # 0 is a row that goes on
NO_TOKEN, NO_ID = 4, 5  # these are errors
REASONS = (None, "stop", "length", "repetition")
RULES = (  # the options that can leave no token, or a score that is no number
    *("sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids"),
    *("min_length", "prefix_allowed_tokens_fn", "forced_bos_token_id", "forced_eos_token_id"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
    *("logits_processor", "logits_processors"),
)


def reason_of(code: int, options: Options) -> str:
    """Why a row has ended, by its number; `OptionError` where that is an error."""
    if code == NO_ID:
        raise OptionError("the sampler gave ids outside the vocabulary; expected 0 to its size - 1")
    if code == NO_TOKEN:
        changed = options.changed()
        rules = [name for name in RULES if OPTIONS[name].settled in changed]
        found = f"{', '.join(rules)} leave" if rules else "the decoder's logits, not numbers, leave"
        raise OptionError(
            f"{found} no token that may come next: every score is -inf, or one is nan; "
            + ("loosen one of them" if rules else 'try load(…, dtype="float32")')
        )
    return REASONS[code] or "length"


class Stopping:
    """The reasons to stop that options name, asked after every token."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.started = time.monotonic()

    @property
    def late(self) -> bool:
        """Whether no further token may be begun."""
        limit = self.options.max_time
        return limit is not None and time.monotonic() - self.started > limit

    def __call__(self, texts: Texts, scores: mx.array, late: bool) -> mx.array:
        """Rows (N,) whose last token is new, to reasons (N,), 0 in those that go on.

        Only stop strings and functions look at values, and so wait for the step.
        """
        o, rows = self.options, texts.tokens.shape[0]
        reasons = mx.zeros((rows,), mx.int32)
        if "ngram" in o.stop_on_repetition:
            reasons = mx.where(loops(texts, o.prompt_length), REPETITION, reasons)
        if late:
            reasons = mx.full((rows,), LENGTH, mx.int32)
        for criterion in o.stopping_criteria:
            answer = answer_of("stopping_criteria", criterion, texts.exact, scores)
            reasons = mx.where(_asked(answer, rows), STOP, reasons)
        if o.stop_strings:
            reasons = mx.where(mx.array(self._texts(texts.exact)), STOP, reasons)
        return mx.where(is_in(texts.last(1)[:, 0], o.eos_token_ids), STOP, reasons)

    def _texts(self, tokens: mx.array) -> list[bool]:
        """Whether the text of each row (N, T) has come to hold a stop string."""
        o = self.options
        tail = 16 + max(len(text) for text in o.stop_strings)  # a token may have no character
        ends: Any = tokens[:, o.prompt_length :][:, -tail:].tolist()
        texts = [o.tokenizer.decode(row) for row in ends]
        if not all(isinstance(text, str) for text in texts):
            raise OptionError(f"tokenizer.decode gave {spelt(texts[0])}; expected a text")
        return [any(stop in text for stop in o.stop_strings) for text in texts]


def is_in(ids: mx.array, listed: tuple[int, ...]) -> mx.array:
    """Which ids are among those listed, as a mask of their shape."""
    if not listed:
        return mx.zeros(ids.shape, mx.bool_)
    return (ids[..., None] == mx.array(listed, ids.dtype)).any(axis=-1)


def _asked(answer: Any, rows: int) -> mx.array:
    """A criterion's answer as (N,), whether it is one for all rows or one for each."""
    found = as_array(answer, "answers of stopping_criteria")
    if found.size not in (1, rows) or mx.issubdtype(found.dtype, mx.floating):
        raise OptionError(
            f"answers of stopping_criteria are {tuple(found.shape)} of {found.dtype}; expected "
            f"True or False, one for each of {rows} rows, or one for all"
        )
    return mx.broadcast_to(found.flatten().astype(mx.bool_), (rows,))
