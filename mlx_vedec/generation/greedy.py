"""Greedy decoding: the likeliest token at each step, one step always in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mlx.core as mx

from ..cache import DecoderCache
from .options import Options

Step = Callable[[mx.array, DecoderCache, mx.array | None], mx.array]


@dataclass(frozen=True)
class Token:
    """One step of every row.

    ids      -- (B,), `pad_token_id` in rows that had ended before
    logprob  -- (B,), the natural logarithm of each id's probability, 0 in rows that had ended
    ended    -- (B,), True from a row's end token on
    logprobs -- (B, V), of all ids; computed only if it is looked at
    """

    ids: mx.array
    logprob: mx.array
    ended: mx.array
    logprobs: mx.array


def greedy(
    step: Step,
    cache: DecoderCache,
    prompt: mx.array,
    options: Options,
    attention_mask: mx.array | None = None,
) -> Iterator[Token]:
    """Tokens after a prompt (B, P), until every row has ended or the length is reached.

    step -- tokens (B, L), their cache and a mask (B, T) to the logits (B, V) of the last token.
    """
    rows, given = prompt.shape
    mask = attention_mask
    ended = mx.zeros((rows,), mx.bool_)
    token = _pick(step(prompt, cache, mask), ended, options, options.forced(given))
    for length in range(given + 1, options.max_length):
        mask = None if mask is None else mx.pad(mask, [(0, 0), (0, 1)], constant_values=1)
        forced = options.forced(length)
        following = _pick(step(token.ids[:, None], cache, mask), token.ended, options, forced)
        yield token
        if token.ended.all().item():
            return
        token = following
    yield token


def _pick(logits: mx.array, ended: mx.array, options: Options, forced: int | None) -> Token:
    """The likeliest token (B,) of logits (B, V), or the one that is forced; computation started."""
    logits = logits.astype(mx.float32)
    if forced is not None:
        only = mx.where(mx.arange(logits.shape[-1]) == forced, 0.0, -mx.inf)
        logits = mx.broadcast_to(only, logits.shape)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    best = mx.argmax(logits, axis=-1)
    logprob = mx.take_along_axis(logprobs, best[:, None], axis=-1).squeeze(-1)
    ids = mx.where(ended, options.pad_token_id, best).astype(mx.int32)
    logprob = mx.where(ended, 0.0, logprob)
    for eos in options.eos_token_ids:
        ended = ended | (ids == eos)
    mx.async_eval(ids, logprob, ended)
    return Token(ids, logprob, ended, logprobs)
