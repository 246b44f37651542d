"""What reading an image gives: a result per image or line, a response per streamed token."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from ..images.boxes import Box

if TYPE_CHECKING:
    from .parts import Part
    from .word_boxes import WordBox


@dataclass(frozen=True)
class GenerationResult:
    """The text of one image, or of one of its lines, and how sure the model is of it.

    text           -- as the checkpoint's kind of text is read: `Processor.read`
    tokens         -- generated ids, the end token included, the prompt not
    token_logprobs -- natural logarithm of each one's probability, after rules such as n-gram
                      blocking and before what sampling does to it
    score          -- their mean; a beam's is their sum / length ** length_penalty, by which beams
                      are ranked
    confidence     -- exp(mean log-probability), the geometric mean of the probabilities, 0 to 1
    finish_reason  -- "stop" after an end token or what else was to stop it, "length" where the room
                      or the time ended first, "repetition" where the text ran in circles
    alternatives   -- the other sequences of `num_return_sequences`, best first
    box            -- left, top, right, bottom in pixels: of the line for `read_lines`, else the
                      whole image
    boxes          -- of each word, where they were asked for
    data           -- what Donut's tags say, as JSON
    parts          -- Donut's fields or Nougat's lines, each with its confidence, and with its box
                      where boxes were asked for
    error          -- what was wrong with the image, for `batch_generate`
    prompt_tps, generation_tps -- tokens per second of the batch it was in; the first counts the
                      encoder's time too
    peak_memory    -- GB
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    score: float = 0.0
    finish_reason: str | None = None
    alternatives: tuple[GenerationResult, ...] = ()
    box: Box | None = None
    boxes: tuple[WordBox, ...] = ()
    data: Any = None
    parts: tuple[Part, ...] = ()
    error: ValueError | None = None
    prompt_tokens: int = 0
    prompt_tps: float = 0.0
    generation_tps: float = 0.0
    peak_memory: float = 0.0

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The text, how sure the model is of it, and data where there are some, for notebooks."""
        if self.error is not None:
            return f"<p>error: {escape(str(self.error))}</p>"
        rows = [f"<pre>{escape(self.text)}</pre>"]
        if self.data is not None:
            shown = json.dumps(self.data, ensure_ascii=False, indent=1, default=str)
            rows.append(f"<pre>{escape(shown)}</pre>")
        reason = escape(str(self.finish_reason))
        rows.append(f"<p>confidence {self.confidence:.2f}, {len(self.tokens)} tokens, {reason}</p>")
        return "\n".join(rows)

    @property
    def generation_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities."""
        if not self.tokens:
            return 0.0
        return math.exp(sum(self.token_logprobs) / len(self.token_logprobs))


@dataclass(frozen=True)
class GenerationResponse:
    """One step of `stream_generate`, under mlx-lm's names.

    text -- what has become certain since the last step; logprobs -- (V,), of all ids, None with
    beams; index -- which image it is of, where several are streamed
    """

    text: str
    token: int
    logprobs: mx.array | None
    prompt_tokens: int
    prompt_tps: float
    generation_tokens: int
    generation_tps: float
    peak_memory: float
    finish_reason: str | None = None
    index: int = 0
