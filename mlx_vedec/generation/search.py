"""What a way of decoding is: states of arrays, one after each step, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx

from ..layers.decoder_cache import DecoderCache
from .options import Options

Step = Callable[[mx.array, DecoderCache, mx.array | None], mx.array]


@dataclass(frozen=True)
class Decoded:
    """A sequence that was decoded, the prompt aside.

    tokens -- ids, an end token included
    logprobs -- of each, after the rules and before what sampling does to them; empty where they
        are not wanted
    score -- a beam's, as transformers' `sequences_scores`; else the mean log-probability, or 0
    beams -- the row that each token came from, for beams
    reason -- "stop", "length" or "repetition"
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    reason: str
    beams: tuple[int, ...] = ()


class State(Protocol):
    """After a step: what to feed next, and what a caller may want to see of it."""

    @property
    def next(self) -> mx.array:
        """The last token of every row, (N,)."""
        ...

    @property
    def parents(self) -> mx.array | None:
        """The rows of the step before that these continue, (N,); None where each its own."""
        ...

    @property
    def length(self) -> int:
        """Tokens of a row, the prompt included."""
        ...

    @property
    def logits(self) -> mx.array:
        """What the model gave in the step, (N, V), float32."""
        ...

    @property
    def scores(self) -> mx.array:
        """The same after the rules; with beams, log-probabilities."""
        ...

    def arrays(self) -> list[mx.array]:
        """What has to be computed before the next step is in flight."""
        ...


class Search(Protocol):
    """Greedy decoding, sampling or beam search, of `sequences_per_image` rows for each image."""

    options: Options
    fill: int  # stands after a row's end

    def start(self, prompt: mx.array, logits: mx.array) -> Any:
        """Prompts (B, P) and the logits (B, V) that follow them to a state of all rows."""
        ...

    def advance(self, state: Any, logits: mx.array) -> Any:
        """The state one token on, given the logits (N, V) of the tokens fed."""
        ...

    def done(self, state: Any) -> mx.array:
        """Which images (B,) need no further step."""
        ...

    def select(self, state: Any, images: Sequence[int]) -> Any:
        """The state of some of the images, by their places in it."""
        ...

    def results(self, state: Any, images: Sequence[int]) -> list[list[Decoded]]:
        """For each of these images, its sequences, best first."""
        ...


def rows_of(images: Sequence[int], per_image: int) -> mx.array:
    """The rows of images, by their places: (len(images) · per_image,)."""
    first = mx.array(list(images), mx.int32)[:, None] * per_image
    return (first + mx.arange(per_image)).flatten()
