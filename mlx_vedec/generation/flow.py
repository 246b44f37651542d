"""Decoding loops: one step always in flight, rows that have ended dropped, others taken in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from ..layers.decoder_cache import DecoderCache
from .search import Decoded, Search, Step

Ended = tuple[Hashable, list[Decoded]]
Advance = Callable[[Search, Any, mx.array], Any]
DROP = 0.25  # share of images that have ended from which dropping them pays for the copy


@dataclass
class Cohort:
    """Images whose decoding began together, under way: keys, search, and its latest state.

    keys -- the caller's name of each image; mask -- (N, T), of padded prompts
    """

    keys: list[Hashable]
    search: Search
    state: Any
    mask: mx.array | None = None

    def compute(self) -> None:
        """Have the state computed, without waiting for it."""
        mx.async_eval(*self.state.arrays())

    @property
    def full(self) -> bool:
        """Whether the rows have their greatest length."""
        return self.state.length >= self.search.options.max_length


def begin(
    step: Step,
    cache: DecoderCache,
    search: Search,
    prompt: mx.array,
    mask: mx.array | None = None,
    keys: Sequence[Hashable] | None = None,
) -> Cohort:
    """Feed prompts (B, P), under a mask (B, P), and take the first token of every row.

    The cache then has all rows of each image.
    """
    state = search.start(prompt, step(prompt, cache, mask))
    rows = search.options.sequences_per_image
    cache.expand(rows)
    if mask is not None:
        mask = mx.repeat(mask, rows, axis=0)
    cohort = Cohort(list(keys or range(len(prompt))), search, state, mask)
    cohort.compute()
    return cohort


def follow(step: Step, cohort: Cohort, cache: DecoderCache) -> Iterator[Any]:
    """The state after every token of a cohort, until all its images are done; no row is dropped."""
    search, state, mask = cohort.search, cohort.state, cohort.mask
    while not cohort.full:
        mask = None if mask is None else mx.pad(mask, [(0, 0), (0, 1)], constant_values=1)
        logits = step(state.next[:, None], cache, mask)
        cohort.state = search.advance(state, logits)
        if cohort.state.parents is not None:
            cache.reorder(cohort.state.parents)
        cohort.compute()
        yield state
        if search.done(state).all().item():
            return
        state = cohort.state
    yield state


@dataclass
class Flow:
    """Cohorts decoded as one batch: they join when there is room and leave image by image.

    advance_search -- `Search.advance`, or what computes the same; size -- how many places a cohort
    keeps for so many images that go on, if not as many. watch -- is called with each cohort and its
    state after every token, once that is computed; some of its images may have ended before
    """

    step: Step
    cohorts: list[Cohort] = field(default_factory=list)
    ended: set[Hashable] = field(default_factory=set)
    cache: DecoderCache | None = None
    advance_search: Advance = Search.advance
    size: Callable[[int], int] = int
    watch: Callable[[Cohort, Any], object] = lambda cohort, state: None

    def __len__(self) -> int:
        """Images that have not ended."""
        return sum(len(cohort.keys) for cohort in self.cohorts) - len(self.ended)

    def room(self, most: int) -> int:
        """How many images may join, where there is room for so many in all."""
        free = most - sum(len(self._places(cohort)) for cohort in self.cohorts)
        return next((count for count in range(free, 0, -1) if self.size(count) == count), 0)

    def add(self, cohort: Cohort, cache: DecoderCache) -> None:
        """Take in a cohort whose images have as many features as those here."""
        self._drop()
        if self.cache is None:
            self.cache = cache
        else:
            self.cache.extend(cache)
        self.cohorts.append(cohort)

    def leave(self, keys: Iterable[Hashable]) -> None:
        """Forget images that are not wanted any more."""
        self.ended |= {key for cohort in self.cohorts for key in cohort.keys} & {*keys}
        self._drop()

    def advance(self) -> list[Ended]:
        """Take one token in every row; returns what ended with the token before it."""
        full = [cohort for cohort in self.cohorts if cohort.full]
        ended = []
        for cohort in full:
            self.watch(cohort, cohort.state)
            ended += self._leave(cohort, cohort.state)
        if full:
            self._drop()
        before = [(cohort, cohort.state) for cohort in self.cohorts]
        if before:
            self._step()
        for cohort, state in before:
            done = cohort.search.done(state).tolist()
            self.watch(cohort, state)
            ended += self._leave(cohort, state, done)  # pyright: ignore[reportArgumentType]
        if self.ended and len(self.ended) >= DROP * (len(self) + len(self.ended)):
            self._drop()
        return ended

    def _leave(self, cohort: Cohort, state: Any, done: list[bool] | None = None) -> list[Ended]:
        """The sequences of images that are done, or of all, where they had not left before."""
        places = [
            i
            for i, key in enumerate(cohort.keys)
            if (done is None or done[i]) and key not in self.ended
        ]
        if not places:
            return []
        keys = [cohort.keys[i] for i in places]
        self.ended |= set(keys)
        return list(zip(keys, cohort.search.results(state, places), strict=True))

    def _step(self) -> None:
        """Feed every row its last token; the computation is started, not waited for."""
        assert self.cache is not None
        tokens = [cohort.state.next for cohort in self.cohorts]
        logits = self.step(mx.concatenate(tokens)[:, None], self.cache, None)
        start, parents = 0, []
        for cohort, fed in zip(self.cohorts, tokens, strict=True):
            own = logits if len(fed) == len(logits) else logits[start : start + len(fed)]
            cohort.state = self.advance_search(cohort.search, cohort.state, own)
            if cohort.state.parents is not None:
                parents.append(cohort.state.parents + start)
            start += len(fed)
        if parents:
            self.cache.reorder(mx.concatenate(parents))
        for cohort in self.cohorts:
            cohort.compute()

    def _drop(self) -> None:
        """Forget the rows of images that have ended, of cohorts that then have fewer places."""
        if not self.ended:
            return
        assert self.cache is not None
        kept, start = [], 0
        for cohort in self.cohorts:
            held, places = len(cohort.search.images), self._places(cohort)
            kept += [start + i for i in places]
            start += held
            if len(places) < held:
                ended, self.ended = self.ended, self.ended - {*cohort.keys}
                cohort.keys = [key for key in cohort.keys if key not in ended]
                if places:
                    cohort.state = cohort.search.select(cohort.state, places)
        self.cohorts = [cohort for cohort in self.cohorts if cohort.keys]
        if not self.cohorts:
            self.cache = None
        elif kept != [*range(start)]:
            self.cache.filter(kept)

    def _places(self, cohort: Cohort) -> list[int]:
        """The places of a cohort that stay: the last that goes on may stand in several."""
        held = len(cohort.search.images)
        going = [i for i, key in enumerate(cohort.keys) if key not in self.ended]
        places = going and going + going[-1:] * (self.size(len(going)) - len(going))
        return places if len(places) < held else [*range(held)]
