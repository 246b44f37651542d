"""Images of any requests that are decoded as one batch."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import mlx.core as mx

from ..generation.beams import Beams
from ..generation.flow import Cohort, Flow
from ..generation.search import Decoded
from ..layers.decoder_cache import DecoderCache
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_queue import Item
from ..reading.streams import shared_tokens
from .requests import Request, Token

_numbers = count()


@dataclass(eq=False)
class Job:
    """An image of a request, from when it is taken in.

    told -- tokens of each of its texts that the request was told of
    alone -- it is read in a batch of its own, as one that it was in has failed
    """

    request: Request
    image: int
    item: Item
    alone: bool = False
    told: list[int] = field(init=False)
    key: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        self.told = [0] * self.request.options.num_return_sequences

    @property
    def kind(self) -> Hashable:
        """What all images of a batch have in common: size, rows, and how caches are kept.

        A window keeps as many tokens as the prompt has.
        """
        o = self.request.options
        window = (o.max_kv_size, len(self.item.prompt or ())) if o.max_kv_size else None
        rows = o.sequences_per_image, o.num_beams > 1
        alone = self.key if self.alone else None
        return tuple(self.item.pixels.shape), rows, window, o.kv_bits, o.kv_group_size, alone

    @property
    def group(self) -> Hashable:
        """What images that begin together have in common besides: all options, a prompt's length.

        A window makes lengths part of the options that are compared; else they are not.
        """
        options = self.request.options
        return options, options.lengths, len(self.item.prompt or ())


class Batch:
    """A flow, and the images in it by their keys there."""

    def __init__(self, model: VisionEncoderDecoderModel) -> None:
        self.model = model
        self.flow = Flow(model.step, watch=self._watch)
        self.jobs: dict[Hashable, Job] = {}

    def join(self, jobs: Sequence[Job], cohort: Cohort, cache: DecoderCache) -> None:
        """Take in what has begun."""
        self.jobs |= {job.key: job for job in jobs}
        self.flow.add(cohort, cache)

    def left(self) -> list[Job]:
        """All images, which are not in it any more: something is wrong with it."""
        jobs = [*self.jobs.values()]
        self.jobs.clear()
        return jobs

    def leave(self, request: Request) -> None:
        """Forget the images of a request."""
        keys = [key for key, job in self.jobs.items() if job.request is request]
        for key in keys:
            del self.jobs[key]
        if keys:
            self.flow.leave(keys)

    def advance(self) -> Iterator[tuple[Job, list[Decoded]]]:
        """Take one token in every row; what has ended."""
        for key, decoded in self.flow.advance():
            job = self.jobs.pop(key)
            seconds = max(time.perf_counter() - job.item.begun, 1e-9)
            job.item.tps = sum(len(one.tokens) for one in decoded) / seconds
            yield job, decoded

    def _watch(self, cohort: Cohort, state: Any) -> None:
        """Tell requests that want it of their new tokens."""
        here = [
            (place, self.jobs[key])
            for place, key in enumerate(cohort.keys)
            if key not in self.flow.ended and self.jobs[key].request.tokens
        ]
        if here and isinstance(state, Beams):
            for place, job in here:
                _tell_shared(job, cohort, state, place)
        elif here:
            _tell_taken(here, state)


def _tell_taken(jobs: list[tuple[int, Job]], state: Any) -> None:
    """The tokens that the texts of images, each with its place, took last."""
    last = mx.maximum(state.counts - 1, 0)[:, None]
    logprobs = mx.take_along_axis(state.picked, last, axis=1)[:, 0]
    columns = [x.tolist() for x in (state.next, state.counts, logprobs)]
    rows = [*zip(*columns, strict=True)]
    for place, job in jobs:
        own = slice(place * len(job.told), (place + 1) * len(job.told))
        wanted = job.request.likeliest
        likeliest = _likeliest(state.logprobs[own], wanted) if wanted else [()] * len(job.told)
        for sequence, (id, taken, logprob) in enumerate(rows[own]):
            if taken > job.told[sequence]:
                job.told[sequence] = taken
                job.request.told.put(Token(sequence, id, logprob, likeliest[sequence]))


def _tell_shared(job: Job, cohort: Cohort, state: Beams, place: int) -> None:
    """The tokens that all beams of an image have come to agree on."""
    if cohort.search.options.num_return_sequences == 1:
        tokens = shared_tokens(cohort.search, state, place)
        for id in tokens[job.told[0] :]:
            job.request.told.put(Token(0, id))
        job.told[0] = max(job.told[0], len(tokens))


def _likeliest(logprobs: mx.array, wanted: int) -> list[tuple[tuple[int, float], ...]]:
    """The ids of the highest log-probabilities (N, V) of each row, best first."""
    ids = mx.argsort(-logprobs, axis=-1)[:, :wanted]
    values: Any = mx.take_along_axis(logprobs, ids, axis=-1).tolist()
    rows: Any = ids.tolist()
    return [tuple(zip(*row, strict=True)) for row in zip(rows, values, strict=True)]
