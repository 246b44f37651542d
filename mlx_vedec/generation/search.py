"""What a way of decoding is: states of arrays, one after each step, and what comes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import mlx.core as mx

from ..layers.decoder_cache import DecoderCache
from .options import Options, functions_of
from .rules import logits_processors, logits_warpers
from .stopping import Stopping, reason_of

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
    peaks -- the largest logit of each step, where the "variance" rule follows the row
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    reason: str
    beams: tuple[int, ...] = ()
    peaks: tuple[float, ...] = ()


class Search(ABC):
    """Greedy decoding, sampling or beam search, of `sequences_per_image` rows for each image.

    A state is what there is after a step: arrays, which `state.arrays()` lists; `state.next` (N,)
    is the last token of every row, `state.parents` (N,) the rows of the step before that these
    continue, None where each continues its own; `state.length` counts tokens, the prompt included.
    `state.with_room(capacity)` has buffers for a compiled step, `State.of(arrays, length)` is the
    inverse of `state.arrays()`.
    `state.logits` (N, V) are the model's, `state.scores` the same after the rules; float32.
    """

    def __init__(self, options: Options, attention_mask: mx.array | None = None) -> None:
        self.options = options
        self.fill = options.pad_token_id  # stands after a row's end
        self.images: list[int] = []  # of each place, the number that its image began with
        self.processors = logits_processors(options, lambda i: self.images[i], attention_mask)
        self.warpers = logits_warpers(options)
        self.stopping = Stopping(options)
        self.masked = attention_mask is not None
        self.key = None if options.seed is None else mx.random.key(options.seed)

    @cached_property
    def settings(self) -> Hashable:
        """What two searches have in common whose steps compute the same."""
        return type(self), replace(self.options, tokenizer=None)

    @cached_property
    def compiles(self) -> bool:
        """Whether its steps are array code alone, but for those that have to look at values.

        Draws by a seed are not: their key goes on from step to step.
        """
        follows = "variance" in self.options.stop_on_repetition
        return not (functions_of(self.options) or follows or self.masked or self.key is not None)

    def start(self, prompt: mx.array, logits: mx.array) -> Any:
        """The state after the first token, from prompts (B, P) and the logits (B, V) after them."""
        self.images = list(range(len(prompt)))
        return self.advance(self._empty(prompt.astype(mx.int32)), self._spread(logits))

    def _noise(self, shape: Sequence[int]) -> mx.array:
        """Gumbel's noise (B, …) for the draws of a step; with a seed the same for every image."""
        if self.key is None:
            return mx.random.gumbel(shape)
        self.key, own = mx.random.split(self.key)
        return mx.broadcast_to(mx.random.gumbel((1, *shape[1:]), key=own), shape)

    def _spread(self, per_image: mx.array) -> mx.array:
        """An array of images (B, …) repeated for the rows of each, (N, …)."""
        rows = self.options.sequences_per_image
        return mx.repeat(per_image, rows, axis=0) if rows > 1 else per_image

    def select(self, state: Any, images: Sequence[int]) -> Any:
        """The state of some of the images, by their places in it."""
        self.images = [self.images[i] for i in images]
        rows = rows_of(images, self.options.sequences_per_image)
        return self._selected(state, mx.array(list(images)), rows)

    def advance(self, state: Any, logits: mx.array) -> Any:
        """The state one token on, given the logits (N, V) of the tokens fed."""
        return self.advanced(state, logits, self.stopping.late)

    def looks(self, length: int) -> bool:
        """Whether the step after so many tokens looks at values, and so cannot be compiled."""
        return False

    @abstractmethod
    def advanced(self, state: Any, logits: mx.array, late: bool) -> Any:
        """The state one token on, which is the last one where it is late."""

    @abstractmethod
    def done(self, state: Any) -> mx.array:
        """Which images (B,) need no further step."""

    @abstractmethod
    def results(self, state: Any, images: Sequence[int]) -> list[list[Decoded]]:
        """For each of these images, its sequences, best first."""

    @abstractmethod
    def _empty(self, prompt: mx.array) -> Any:
        """The state before the first token, from prompts (B, P)."""

    @abstractmethod
    def _selected(self, state: Any, images: mx.array, rows: mx.array) -> Any:
        """The state of the images (B',) at these places, whose rows are (N',)."""

    def _decoded(
        self,
        tokens: list[int],
        picked: list[float],
        count: int,
        score: float,
        reason: int,
        origins: Sequence[int] = (),
    ) -> Decoded:
        """A row, prompt first and filled at its end, as the `count` tokens generated."""
        start = self.options.prompt_length
        return Decoded(
            tuple(tokens[start : start + count]),
            tuple(picked[:count]),
            score,
            reason_of(reason, self.options),
            tuple(origins[:count]),
        )


def rows_of(images: Sequence[int], per_image: int) -> mx.array:
    """The rows of images, by their places: (len(images) · per_image,)."""
    first = mx.array(list(images), mx.int32)[:, None] * per_image
    return (first + mx.arange(per_image)).flatten()
