"""Texts as their tokens come, of one image or several, with beams as far as these agree."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ..generation.beams import Beams
from ..generation.flow import follow
from ..generation.options import Options
from ..generation.sampling import Rows
from ..generation.search import Search
from ..generation.stopping import reason_of
from ..images.image_processors import ImageSource
from ..images.loading import load_image
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..text.streaming import StreamingDecoder
from .image_sizes import match_images
from .processor import Processor
from .results import GenerationResponse


@dataclass(frozen=True)
class Piece:
    """What the reading of an image has written next: a token, its logprobs, whether it is last."""

    token: int
    logprobs: mx.array | None
    finish_reason: str | None


def stream(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Sequence[ImageSource],
    prompt: Sequence[int] | None,
    options: Options,
) -> Iterator[GenerationResponse]:
    """Decode images of one size together, and yield the responses of `stream_generate`."""
    started = time.perf_counter()
    match_images(model, processor)
    seen = [processor.prepared(load_image(image), image) for image in images]
    features = model.features(model.encoder.narrowed(processor.pixels(seen)))
    given = [prompt] * len(images) if prompt else None
    tokens, options = model.prompt(len(images), given, options)
    cohort, cache = model.begin(features, tokens, options, logprobs=False)
    states = follow(model.stepper(options), cohort, cache)
    texts = [StreamingDecoder(processor.required_tokenizer) for _ in images]
    counts = [0] * len(images)
    first = 0.0
    for index, piece in _pieces(cohort.search, states, len(images)):
        now = time.perf_counter()
        first = first or now
        counts[index] += 1
        text = texts[index].add(piece.token)
        yield GenerationResponse(
            text=text + texts[index].finish() if piece.finish_reason else text,
            token=piece.token,
            logprobs=piece.logprobs,
            prompt_tokens=tokens.shape[1],
            prompt_tps=tokens.size / (first - started),
            generation_tokens=counts[index],
            generation_tps=counts[index] / max(now - first, 1e-9),
            peak_memory=mx.get_peak_memory() / 1e9,
            finish_reason=piece.finish_reason,
            index=index,
        )


def _pieces(search: Search, states: Iterator[Any], images: int) -> Iterator[tuple[int, Piece]]:
    """Each image's tokens, as they become certain."""
    open_ = list(range(images))
    shown = [0] * images
    for state in states:
        done = search.done(state).tolist()
        if state.length >= search.options.max_length:
            done = [True] * images
        for index in list(open_):
            if isinstance(state, Beams):
                found = _settled(search, state, index, bool(done[index]), shown[index])  # pyright: ignore
            else:
                found = [_taken(search, state, index, bool(done[index]))]  # pyright: ignore
            shown[index] += len(found)
            yield from ((index, piece) for piece in found)
            if done[index]:  # pyright: ignore
                open_.remove(index)
        if not open_:
            return


def _taken(search: Search, state: Rows, row: int, done: bool) -> Piece:
    """The token that a row took last."""
    reason = reason_of(int(state.reasons[row].item()), search.options)  # pyright: ignore
    token = int(state.next[row].item())  # pyright: ignore[reportArgumentType]
    return Piece(token, state.logprobs[row], reason if done else None)


def _settled(search: Search, state: Beams, image: int, done: bool, shown: int) -> list[Piece]:
    """An image's tokens past those shown: what all its beams share, or its best one when done."""
    if done:
        [[best, *_]] = search.results(state, [image])
        tokens = best.tokens[shown:]
        last = [None] * (len(tokens) - 1) + [best.reason]
        return [Piece(t, None, r) for t, r in zip(tokens, last, strict=True)]
    shared = shared_tokens(search, state, image)
    return [Piece(token, None, None) for token in shared[shown:]]


def shared_tokens(search: Search, state: Beams, image: int) -> list[int]:
    """The tokens that all beams of an image begin with: no later step changes them."""
    start = search.options.prompt_length
    beams: Any = state.running.tokens[image, :, start:].tolist()
    finished: Any = (x[image].tolist() for x in (state.finished.tokens, state.finished.reasons))
    beams += [tokens[start:] for tokens, reason in zip(*finished, strict=True) if reason]
    return os.path.commonprefix(beams)  # which takes any lists, not only paths
