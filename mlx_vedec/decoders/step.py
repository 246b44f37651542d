"""A decoder's step as a function of arrays alone, which MLX can compile and export.

    logits, buffers = step(decoder, tokens, positions, buffers, images, storage=cache.storage)

Its caches are those of a `DecoderCache`, which hands them out and takes them back: buffers of a
fixed number of slots, written by position, and what is remembered of the images. Rows may be of
unequal lengths, several rows may read one image, and weights may be quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from ..layers.compiled import Traces
from ..layers.cpu import plain
from ..layers.decoder_cache import DecoderCache
from ..layers.kv_quantization import Parts
from ..layers.outputs import Trace
from ..layers.step_cache import StepCache, Storage
from ..layers.weights import Weights
from .decoder import Decoder

Stepped = tuple[mx.array, list[Parts]]  # logits (B, V), and the buffers after the step


def step(
    decoder: Decoder[Any],
    tokens: mx.array,
    positions: mx.array,
    buffers: Sequence[Parts],
    images: Sequence[Parts],
    parents: mx.array | None = None,
    mask: mx.array | None = None,
    *,
    storage: Storage,
) -> Stepped:
    """Tokens (B,) at positions (B,), each after those in its row's buffers, to logits (B, V).

    buffers -- per layer, (B, H, capacity, ·) each; images -- per layer, (images, H, S, ·) each, or
    () where none is read; parents (B,) -- rows of the buffers that the rows go on from; mask
    (B, capacity) -- 0 for slots with padding. The logits of a row at `end_of` or past it are nan,
    and its buffers are spoilt: callers that can look at the position do so before.
    """
    if parents is not None:
        buffers = [tuple(part[parents] for part in parts) for parts in buffers]
    end = end_of(decoder, buffers[0][0].shape[2], storage)
    inside = positions if end is None else mx.minimum(positions, end - 1)
    cache = StepCache(buffers, images, inside, storage)
    x = decoder.decode(tokens[:, None], attention_mask=mask, cache=cache)
    logits = decoder.head(x)[:, 0]
    if end is not None:
        logits = mx.where((positions < end)[:, None], logits, mx.nan)
    return logits, cache.buffers


def end_of(decoder: Decoder[Any], capacity: int, storage: Storage) -> int | None:
    """The first position that a step cannot take, with buffers of so many slots."""
    slots = None if capacity == storage.window.max_size else capacity  # a full window goes round
    ends = [end for end in (slots, decoder.max_positions) if end is not None]
    return min(ends, default=None)


def next_logits(
    decoder: Decoder[Any],
    tokens: mx.array,
    cache: DecoderCache,
    attention_mask: mx.array | None = None,
    trace: Trace | None = None,
) -> mx.array:
    """Append tokens (B, L) to a cache; returns the logits (B, V) after the last of them."""
    x = decoder.decode(tokens, cache=cache, attention_mask=attention_mask, trace=trace)
    return decoder.head(x[:, -1:])[:, 0]


class CompiledStep:
    """A decoder's step as a function that MLX compiles once for every shape of its arrays.

    It appends to a `DecoderCache` as the decoder itself does. Buffers are of few sizes, so that few
    shapes come, which `traces` counts.
    """

    def __init__(self, decoder: Decoder[Any]) -> None:
        self.decoder = decoder
        self.traces = Traces()
        self._weights = Weights(decoder)
        self._functions: dict[Storage, Callable[..., Stepped]] = {}

    def is_of(self, decoder: Decoder[Any]) -> bool:
        """Whether it is this decoder's, and the decoder has the modules that it had."""
        return decoder is self.decoder and self._weights.alike(Weights(decoder))

    def __call__(
        self, tokens: mx.array, cache: DecoderCache, attention_mask: mx.array | None = None
    ) -> mx.array:
        """Append tokens (B, 1) to a cache; returns the logits (B, V) after them.

        attention_mask (B, T) -- 0 for padding, which is in the prompt
        """
        self.decoder.check_room(cache.length + 1)
        buffers, images, parents = cache.hand_out()
        if attention_mask is not None:
            attention_mask = _by_slot(attention_mask, buffers[0][0].shape[2])
        logits, buffers = self._function(cache.storage)(
            self._weights.arrays(),
            tokens[:, 0],
            mx.array(cache.lengths, mx.int32),
            buffers,
            images,
            parents,
            attention_mask,
        )
        cache.take_back(buffers)
        return logits

    def _function(self, storage: Storage) -> Callable[..., Stepped]:
        if self.traces.overflow():
            self._functions = {}
        if storage not in self._functions:
            self._functions[storage] = self._compiled(storage)
        return self._functions[storage]

    def _compiled(self, storage: Storage) -> Callable[..., Stepped]:
        decoder, weights, traces = self.decoder, self._weights, self.traces  # not self: a circle

        def function(arrays: list[mx.array], *given: Any) -> Stepped:
            traces.add()
            with weights.replaced(arrays), plain():
                return step(decoder, *given, storage=storage)

        return mx.compile(function)


def _by_slot(attention_mask: mx.array, capacity: int) -> mx.array:
    """A mask (B, T) of tokens as one of slots, (B, capacity): padding keeps the slots it has."""
    mask = attention_mask[:, :capacity]
    return mx.pad(mask, [(0, 0), (0, capacity - mask.shape[1])], constant_values=1)
