"""What reading an image gives: a result per image or line, a response per streamed token."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from .lines import Box


@dataclass(frozen=True)
class GenerationResult:
    """The text of one image, or of one of its lines, and how sure the model is of it.

    tokens         -- generated ids, the end token included, the prompt not
    token_logprobs -- natural logarithm of each one's probability
    score          -- their mean
    confidence     -- exp(score), the geometric mean of the probabilities, 0 to 1
    finish_reason  -- "stop" after an end token, "length" where the room ended first
    box            -- left, top, right, bottom in pixels: of the line for `read_lines`, else the
                      whole image
    error          -- what was wrong with the image, for `batch_generate`
    prompt_tps, generation_tps -- tokens per second of the batch it was in; the first counts the
                      encoder's time too
    peak_memory    -- GB
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    finish_reason: str | None = None
    box: Box | None = None
    error: ValueError | None = None
    prompt_tokens: int = 0
    prompt_tps: float = 0.0
    generation_tps: float = 0.0
    peak_memory: float = 0.0

    def __str__(self) -> str:
        return self.text

    @property
    def generation_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)

    @property
    def score(self) -> float:
        """Mean log-probability of the tokens."""
        return sum(self.token_logprobs) / max(len(self.token_logprobs), 1)

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities."""
        return math.exp(self.score) if self.tokens else 0.0


@dataclass(frozen=True)
class GenerationResponse:
    """One step of `stream_generate`, under mlx-lm's names.

    text -- what has become certain since the last step; logprobs -- (V,), of all ids
    """

    text: str
    token: int
    logprobs: mx.array
    prompt_tokens: int
    prompt_tps: float
    generation_tokens: int
    generation_tps: float
    peak_memory: float
    finish_reason: str | None = None
