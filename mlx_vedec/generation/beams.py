"""Beam search exactly as transformers 5.23 does it, on arrays: no loop over candidates.

Scores are sums of log-probabilities after the rules. `NEVER` stands for a beam that is not there;
it is finite, since transformers adds it, and so do we, where order among such beams matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import mlx.core as mx
import numpy as np

from ..layers.cpu_formulas import log_sum_exp
from .options import Options
from .rules import applied
from .search import Decoded, Search
from .stopping import LENGTH, NO_TOKEN, reason_of
from .texts import Count, Texts, appended, widened
from .ties import highest

NEVER = -1e9


@dataclass(frozen=True)
class Hypotheses:
    """Sequences of each image, best first: all arrays begin with (B, M).

    After a compiled step there is room behind the tokens, and behind what is said of each.
    tokens (B, M, T) -- the prompt first; picked (B, M, n) -- each token's log-probability
    origins (B, M, n) -- the row each token came from, -1 where there is none
    scores (B, M); reasons (B, M) -- why it ended, 0 where it did not
    """

    tokens: mx.array
    picked: mx.array
    origins: mx.array
    scores: mx.array
    reasons: mx.array

    def take(self, places: mx.array) -> Hypotheses:
        """The sequences at the places (B, M') of each image."""
        wide = places[:, :, None]
        return Hypotheses(
            *(mx.take_along_axis(x, wide if x.ndim == 3 else places, axis=1) for x in self.arrays())
        )

    def joined(self, other: Hypotheses) -> Hypotheses:
        """The sequences of each image, then the other's."""
        pairs = zip(self.arrays(), other.arrays(), strict=True)
        return Hypotheses(*(mx.concatenate([a, b], axis=1) for a, b in pairs))

    def extended(
        self, ids: mx.array, picked: mx.array, origins: mx.array, at: tuple[Count, Count]
    ) -> Hypotheses:
        """The sequences with one more token (B, M) each, its log-probability and its origin.

        at -- how many tokens are there before it, with the prompt and without
        """
        length, generated = at
        return replace(
            self,
            tokens=appended(self.tokens, ids, length),
            picked=appended(self.picked, picked, generated),
            origins=appended(self.origins, origins, generated),
        )

    def padded(self, fill: int, at: tuple[Count, Count]) -> Hypotheses:
        """The same sequences one place longer: `fill` for a token, and no origin."""
        shape = self.scores.shape
        ids, origins = (mx.full(shape, value, mx.int32) for value in (fill, -1))
        return self.extended(ids, mx.zeros(shape), origins, at)

    def with_room(self, capacity: int) -> Hypotheses:
        """The same sequences in buffers of this many tokens."""
        return replace(
            self,
            tokens=widened(self.tokens, capacity),
            picked=widened(self.picked, capacity),
            origins=widened(self.origins, capacity, -1),
        )

    def of(self, images: mx.array) -> Hypotheses:
        """The sequences of some of the images."""
        return Hypotheses(*(x[images] for x in self.arrays()))

    def arrays(self) -> list[mx.array]:
        """The arrays of all fields, in their order."""
        return [getattr(self, f.name) for f in fields(self)]


@dataclass(frozen=True)
class Beams:
    """A search after a step: beams that run, beams that have finished.

    improvable (B,) -- whether a running beam may still beat a finished one
    exhausted (B,) -- whether every candidate of the last step has ended
    stuck (B,) -- whether the rules have left no candidate, or a score that is no number
    images (B,) -- of each image, the number that it began with; length -- of every running beam
    """

    running: Hypotheses
    finished: Hypotheses
    improvable: mx.array
    exhausted: mx.array
    stuck: mx.array
    parents: mx.array
    images: mx.array
    length: Count
    scores: mx.array
    logits: mx.array

    @property
    def texts(self) -> Texts:
        """The tokens of every running beam, (N, T)."""
        return Texts(self.running.tokens.flatten(0, 1), self.length)

    @property
    def next(self) -> mx.array:
        """The last token of every running beam, (N,)."""
        return self.texts.last(1)[:, 0]

    def arrays(self) -> list[mx.array]:
        """The arrays that the next step needs."""
        states = [*self.running.arrays(), *self.finished.arrays()]
        return [*states, self.improvable, self.exhausted, self.stuck, self.parents, self.images]

    @classmethod
    def of(cls, arrays: Sequence[mx.array], length: Count) -> Beams:
        """The search that these are the `arrays` of; the step's scores are not there."""
        count = len(fields(Hypotheses))
        running, finished = Hypotheses(*arrays[:count]), Hypotheses(*arrays[count : 2 * count])
        improvable, exhausted, stuck, parents, images = arrays[2 * count :]
        none = mx.zeros((len(parents), 0))
        flags = improvable, exhausted, stuck
        return cls(running, finished, *flags, parents, images, length, none, none)

    def with_room(self, capacity: int) -> Beams:
        """The same search in buffers of this many tokens."""
        return replace(
            self,
            running=self.running.with_room(capacity),
            finished=self.finished.with_room(capacity),
        )


class BeamSearch(Search):
    """`num_beams` hypotheses for each image; with `do_sample`, candidates are drawn.

    Each image ends as if it were alone, so a batch gives what its images give one by one.
    """

    def __init__(self, options: Options, attention_mask: mx.array | None = None) -> None:
        super().__init__(options, attention_mask)
        eos, pad = options.eos_token_ids, options.pad_token_id
        # transformers takes a padding of 0 for none, and fills with the end token
        self.fill = (pad or eos[0]) if eos else -1

    def _empty(self, prompt: mx.array) -> Beams:
        """As many beams of each image as are wanted, all but the first of them not there."""
        images, beams = len(prompt), self.options.num_beams
        tokens = mx.repeat(prompt[:, None], beams, axis=1)
        none = mx.zeros((images, beams, 0))
        first = mx.broadcast_to(mx.where(mx.arange(beams) == 0, 0.0, NEVER), (images, beams))
        ends = mx.zeros((images, beams), mx.int32)
        running = Hypotheses(tokens, none, none.astype(mx.int32), first, ends)
        finished = replace(running, scores=mx.full(first.shape, NEVER))
        flags = mx.ones((images,), mx.bool_)
        none, length = mx.zeros((0,)), prompt.shape[1]
        return Beams(
            running, finished, flags, ~flags, ~flags, none, mx.arange(images), length, none, none
        )

    def advanced(self, state: Beams, logits: mx.array, late: bool) -> Beams:
        """The beams one token on, given the logits (N, V) of the running ones."""
        logits = logits.astype(mx.float32)
        scores = logits - log_sum_exp(logits)
        texts = state.texts
        scores = applied(self.warpers, texts, applied(self.processors, texts, scores))
        exact = isinstance(state.length, int) and self.looks(state.length)
        candidates, beams = self._candidates(state, scores, exact, late)
        hit = candidates.reasons != 0
        chosen = _best(candidates.scores + hit * NEVER, self.options.num_beams, exact)
        running = candidates.take(chosen)
        lost = mx.take_along_axis(hit, chosen, axis=1) * NEVER
        running = replace(running, scores=running.scores + lost, reasons=running.reasons * 0)
        finished = self._finished(state, candidates, exact)
        generated = state.length + 1 - self.options.prompt_length
        offsets = mx.arange(len(chosen))[:, None] * self.options.num_beams
        return Beams(
            running,
            finished,
            self._improvable(state.improvable, running, finished, generated),
            hit.all(axis=1),
            state.stuck | ~mx.isfinite(scores.reshape(len(chosen), -1).max(axis=1)),
            (mx.take_along_axis(beams, chosen, axis=1) + offsets).flatten(),
            state.images,
            state.length + 1,
            scores,
            logits,
        )

    def looks(self, length: int) -> bool:
        """Whether rows of a length may have fewer candidates than beams, or several alike.

        Then the order of equal scores decides, which costs a wait to look at.
        """
        o, first = self.options, self.options.forced_bos_token_id
        last = length + 1 >= o.max_length
        forced = first is not None and (length == 1 or first in o.eos_token_ids)
        return last or forced or o.prefix_allowed_tokens_fn is not None

    def _candidates(
        self, state: Beams, scores: mx.array, exact: bool, late: bool
    ) -> tuple[Hypotheses, mx.array]:
        """The best continuations of each image, and the beam (B, M) each continues.

        There are enough of them that, if as many end as there are end tokens for every beam, all
        beams still go on.
        """
        options, running = self.options, state.running
        images, beams = running.scores.shape
        count = max(2, 1 + len(options.eos_token_ids)) * beams
        width = scores.shape[-1]
        total = scores.reshape(images, beams, width) + running.scores[..., None]
        flat = total.reshape(images, -1)
        noisy = flat + self._noise(flat.shape) if options.do_sample else flat
        places = _best(noisy, count, exact)
        beam, ids = places // width, (places % width).astype(mx.int32)
        totals = mx.take_along_axis(flat, places, axis=1)
        picked = mx.take_along_axis(scores.reshape(images, -1), places, axis=1)
        origins = (beam + state.images[:, None] * beams).astype(mx.int32)
        candidates = running.take(beam).extended(ids, picked, origins, self._at(state))
        length = state.length + 1
        texts = Texts(candidates.tokens.flatten(0, 1), length)
        reasons = self.stopping(texts, scores, late).reshape(images, -1)
        if exact and length >= options.max_length:
            reasons = mx.where(reasons == 0, LENGTH, reasons)
        return replace(candidates, scores=totals, reasons=reasons), beam

    def _at(self, state: Beams) -> tuple[Count, Count]:
        """How many tokens a beam has, with the prompt and without."""
        return state.length, state.length - self.options.prompt_length

    def _finished(self, state: Beams, candidates: Hypotheses, exact: bool) -> Hypotheses:
        """The best of the beams that had finished and the candidates that do so now.

        A candidate must be among the first `num_beams` to count.
        """
        options, at = self.options, self._at(state)
        finished = state.finished.padded(self.fill, at)
        scores = candidates.scores / (at[1] + 1) ** options.length_penalty
        full = (finished.reasons != 0).all(axis=1) & (options.early_stopping is True)
        counts = (candidates.reasons != 0) & (mx.arange(scores.shape[1]) < options.num_beams)
        scores = scores + full[:, None] * NEVER
        scores = scores + ~state.improvable[:, None] * NEVER
        scores = scores + ~counts * NEVER
        merged = finished.joined(
            replace(candidates, scores=scores, reasons=mx.where(counts, candidates.reasons, 0))
        )
        return merged.take(_best(merged.scores, options.num_beams, exact))

    def _improvable(
        self, before: mx.array, running: Hypotheses, finished: Hypotheses, generated: Count
    ) -> mx.array:
        """Which images (B,) may find a better beam than the worst that has finished."""
        o = self.options
        hopes = o.early_stopping == "never" and o.length_penalty > 0
        length = o.max_length - o.prompt_length if hopes else generated
        best = running.scores[:, :1] / length**o.length_penalty
        worst = mx.where(finished.reasons != 0, finished.scores.min(axis=1, keepdims=True), NEVER)
        return before & (best > worst).any(axis=1)

    def done(self, state: Beams) -> mx.array:
        """Which images (B,) no further step changes."""
        full = (state.finished.reasons != 0).all(axis=1) & (self.options.early_stopping is True)
        return ~state.improvable | full | state.exhausted | state.stuck

    def _selected(self, state: Beams, images: mx.array, rows: mx.array) -> Beams:
        return Beams(
            state.running.of(images),
            state.finished.of(images),
            state.improvable[images],
            state.exhausted[images],
            state.stuck[images],
            mx.arange(len(rows)),
            state.images[images],
            state.length,
            state.scores[rows],
            state.logits[rows],
        )

    def results(self, state: Beams, images: Sequence[int]) -> list[list[Decoded]]:
        """For each of these images, its `num_return_sequences` best beams."""
        chosen = mx.array(list(images))
        if state.stuck[chosen].any().item():
            reason_of(NO_TOKEN, self.options)
        best, wanted = state.finished.of(chosen), self.options.num_return_sequences
        columns: Any = [x[:, :wanted].tolist() for x in best.arrays()]
        return [
            [self._beam(*beam) for beam in zip(*image, strict=True)]
            for image in zip(*columns, strict=True)
        ]

    def _beam(
        self,
        tokens: list[int],
        picked: list[float],
        origins: list[int],
        score: float,
        reason: int,
    ) -> Decoded:
        count = sum(origin >= 0 for origin in origins)
        return self._decoded(tokens, picked, count, score, reason, origins)


def _best(scores: mx.array, count: int, exact: bool = False) -> mx.array:
    """The places (B, count) of the highest scores (B, M), highest first.

    exact -- of equal scores those that transformers takes
    """
    count = min(count, scores.shape[1])
    if exact:
        return mx.array([highest(row, count) for row in np.array(scores)], mx.uint32)
    found = mx.argpartition(-scores, kth=count - 1, axis=1)[:, :count]
    order = mx.argsort(-mx.take_along_axis(scores, found, axis=1), axis=1)
    return mx.take_along_axis(found, order, axis=1)
