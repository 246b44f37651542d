"""Filters that narrow the choice before sampling, as transformers 5.23 computes them.

They are processors as in `processors`: tokens (N, T), which none of these look at, and scores
(N, V), float32, to new scores in which what is filtered out is -inf. Probabilities are the softmax
of the scores as they arrive, so the order of filters matters. `min_keep` ids are kept whatever
the filter says: beam search needs one that is not an end token.

    >>> top_k(2)(mx.array([[0]]), mx.array([[1.0, 3.0, 2.0]])).tolist()
    [[-inf, 3.0, 2.0]]
"""

from __future__ import annotations

import math

import mlx.core as mx

from .processors import Rule, Tokens

COLDEST = 1e-30  # a temperature that leaves one token, or those with the very same score


def temperature(value: float) -> Rule:
    """Divide the scores: below 1 the likely become likelier, above 1 the choice evens out."""
    if value >= COLDEST:
        return lambda tokens, scores: scores / value
    # the highest score stays 0, where all quotients would be infinite
    return lambda tokens, scores: (scores - scores.max(axis=-1, keepdims=True)) / COLDEST


def top_k(k: int, min_keep: int = 1) -> Rule:
    """Keep the k highest scores, and those that equal the lowest of them."""
    count = max(k, min_keep)

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        return _remove(scores < _nth_highest(scores, count), scores)

    return process


def top_p(p: float, min_keep: int = 1) -> Rule:
    """Keep the fewest likeliest ids that have probability p between them."""

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        order = mx.argsort(scores, axis=-1)  # the least likely first
        ascending = mx.take_along_axis(scores, order, axis=-1)
        below = mx.cumsum(mx.softmax(ascending, axis=-1), axis=-1)
        spared = mx.arange(scores.shape[1]) >= scores.shape[1] - min_keep
        return _remove(_unsorted((below <= 1 - p) & ~spared, order), scores)

    return process


def min_p(p: float, min_keep: int = 1) -> Rule:
    """Keep the ids that are at least p times as likely as the likeliest."""

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        probabilities = mx.softmax(scores, axis=-1)
        removed = probabilities < p * probabilities.max(axis=-1, keepdims=True)
        count = min(min_keep, scores.shape[1])
        likeliest = mx.argpartition(-scores, count - 1, axis=-1)[:, :count]
        removed = mx.put_along_axis(removed, likeliest, mx.array(False), axis=-1)
        return _remove(removed, scores)

    return process


def typical_p(mass: float, min_keep: int = 1) -> Rule:
    """Locally typical sampling (arXiv:2202.00666): ids of about the expected surprise.

    Kept are those whose -log p is nearest to the entropy, until they have probability `mass`.
    """

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        logprobs = _log_softmax(scores)
        distance = mx.abs(-logprobs - _entropy(logprobs))
        order = mx.argsort(distance, axis=-1)
        ascending = mx.take_along_axis(distance, order, axis=-1)
        chosen = mx.softmax(mx.take_along_axis(scores, order, axis=-1), axis=-1)
        within = mx.cumsum(chosen, axis=-1)
        last = (within < mass).sum(axis=-1, keepdims=True)  # where the mass is reached
        last = mx.minimum(last, scores.shape[1] - 1)
        beyond = ascending > mx.take_along_axis(ascending, last, axis=-1)
        spared = mx.arange(scores.shape[1]) < min_keep
        return _remove(_unsorted(beyond & ~spared, order), scores)

    return process


def epsilon_cutoff(epsilon: float, min_keep: int = 1) -> Rule:
    """Keep the ids of at least this probability (arXiv:2210.15191)."""

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        unlikely = mx.softmax(scores, axis=-1) < epsilon
        return _remove(unlikely & (scores < _nth_highest(scores, min_keep)), scores)

    return process


def eta_cutoff(epsilon: float, min_keep: int = 1) -> Rule:
    """Keep the ids of probability min(epsilon, sqrt(epsilon) * exp(-entropy)) and above.

    Epsilon sampling with a bound that falls where many ids are likely (arXiv:2210.15191).
    """

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        entropy = _entropy(_log_softmax(scores))
        bound = mx.minimum(epsilon, math.sqrt(epsilon) * mx.exp(-entropy))
        unlikely = mx.softmax(scores, axis=-1) < bound
        return _remove(unlikely & (scores < _nth_highest(scores, min_keep)), scores)

    return process


def renormalize() -> Rule:
    """Make log-probabilities of the scores that other rules have left."""
    return lambda tokens, scores: _log_softmax(scores)


def _remove(mask: mx.array, scores: mx.array) -> mx.array:
    return mx.where(mask, -mx.inf, scores)


def _nth_highest(scores: mx.array, n: int) -> mx.array:
    """The n-th highest score of each row (N, V), or the lowest where there are fewer: (N, 1)."""
    return mx.topk(scores, min(n, scores.shape[1]), axis=-1).min(axis=-1, keepdims=True)


def _unsorted(mask: mx.array, order: mx.array) -> mx.array:
    """A mask over sorted scores (N, V), for the scores as they were before: `order` sorted them."""
    return mx.put_along_axis(mx.zeros_like(mask), order, mask, axis=-1)


def _log_softmax(scores: mx.array) -> mx.array:
    below = scores - scores.max(axis=-1, keepdims=True)  # keeps the digits of the likely ones
    return below - mx.logsumexp(below, axis=-1, keepdims=True)


def _entropy(logprobs: mx.array) -> mx.array:
    """In nats, (N, 1), of log-probabilities (N, V); an id at -inf adds nothing."""
    probabilities = mx.exp(logprobs)
    return -mx.where(probabilities > 0, probabilities * logprobs, 0.0).sum(axis=-1, keepdims=True)
