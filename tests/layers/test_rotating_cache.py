"""A cache of few slots is attention under the mask that it stands for, however it is fed."""

import itertools

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.layers.attention import attention_weights, product
from mlx_vedec.layers.kv_cache import KVCache, RotatingKVCache
from mlx_vedec.layers.kv_quantization import DENSE

WINDOWS = [(size, keep) for size in range(1, 6) for keep in range(size)]
PLAIN = (None, 0)


def compositions(total):
    """Every way to cut a number of tokens into pieces."""
    for cuts in itertools.product([False, True], repeat=total - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [total]
        yield [b - a for a, b in zip([0, *ends], ends, strict=False)]


def visible(query, key, max_size, keep):
    """The rule: the first tokens, and as many of the latest as the rest of the slots hold."""
    if key > query:
        return False
    return max_size is None or key < keep or key > query - (max_size - keep)


def reference(tokens, max_size, keep):
    """Full attention of queries, keys and values (H, T, Dh) under the rule, in numpy."""
    queries, keys, values = tokens
    seen = [
        [visible(q, k, max_size, keep) for k in range(keys.shape[1])]
        for q in range(len(queries[0]))
    ]
    scores = np.where(seen, queries @ keys.swapaxes(1, 2), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ values


def make(max_size, keep, **options):
    return KVCache(**options) if max_size is None else RotatingKVCache(max_size, keep, **options)


def drawn(rows, total, dims=4, seed=0):
    """Queries, keys and values (3, B, H, T, Dh), no two of them alike."""
    return np.random.default_rng(seed).normal(size=(3, rows, 2, total, dims)).astype(np.float32)


def feed(cache, tokens, pieces):
    """Attention (B, H, T, Dh) of tokens (3, B, H, T, Dh) appended in pieces; memory is bounded."""
    out, start = [], 0
    for length in pieces:
        q, k, v = (mx.array(x[..., start : start + length, :]) for x in tokens)
        mask = cache.make_mask(length)
        keys, values = cache.update_and_fetch(k, v)
        out.append(product(attention_weights(q, keys, mask), values))
        slot = sum(part.nbytes // part.shape[2] for part in cache.state)
        assert cache.nbytes <= slot * cache.window.max_size
        start += length
    return np.concatenate([np.array(x) for x in out], axis=2) if out else tokens[0][..., :0, :]


@pytest.mark.parametrize("window", [PLAIN, *WINDOWS])
def test_every_chunking_is_full_attention_under_the_mask(window):
    tokens = drawn(2, 7)
    expected = np.stack([reference(tokens[:, row], *window) for row in range(2)])
    for pieces in compositions(7):
        got = feed(make(*window), tokens, pieces)
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=str(pieces))


def ragged(window, starts, pieces, packing=DENSE, dims=4):
    """Rows fed alone, one token at a time, put together and then fed in pieces."""
    total, caches = sum(pieces), []
    tokens = [drawn(1, start + total, dims, seed) for seed, start in enumerate(starts)]
    for row, start in zip(tokens, starts, strict=True):
        caches.append(make(*window, rows=1, packing=packing))
        feed(caches[-1], row, [1] * start)
    cache = caches[0]
    for other in caches[1:]:
        cache.extend(other)
    together = np.concatenate([x[..., n:, :] for x, n in zip(tokens, starts, strict=True)], axis=1)
    assert cache.lengths == tuple(starts)
    return tokens, feed(cache, together, pieces)


@pytest.mark.parametrize("window", [PLAIN, *WINDOWS])
@pytest.mark.parametrize("starts", [(0, 3), (5, 1), (2, 6, 4), (7, 8)])
def test_rows_of_different_lengths(window, starts):
    """Rows that were apart go on together as each would have alone; kept tokens stay."""
    for pieces in compositions(4):
        tokens, got = ragged(window, starts, pieces)
        for row, (alone, start) in enumerate(zip(tokens, starts, strict=True)):
            expected = reference(alone[:, 0], *window)[:, start:]
            np.testing.assert_allclose(got[row], expected, atol=1e-5, err_msg=str(pieces))


@pytest.mark.parametrize("window", [(3, 0), (4, 2), (5, 1)])
def test_padding_is_not_seen_through_the_slots(window):
    """A mask of tokens (B, T) counts positions, wherever their slots are."""
    tokens, total = drawn(2, 7), 7
    real = np.array([[1, 1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 1, 0, 1]])
    for pieces in compositions(total):
        cache, start = make(*window), 0
        for length in pieces:
            q, k, v = (mx.array(x[..., start : start + length, :]) for x in tokens)
            mask = cache.make_mask(length, mx.array(real[:, : start + length]))
            keys, _ = cache.update_and_fetch(k, v)
            weights = np.array(attention_weights(q, keys, mask))
            for row, query in itertools.product(range(2), range(length)):
                place = start + query
                seen = [j for j in range(place + 1) if visible(place, j, *window) and real[row, j]]
                if seen:  # where nothing is, the weights say nothing
                    assert (weights[row, 0, query] > 0).sum() == len(seen)
                    scores = tokens[0, row, 0, place] @ tokens[1, row, 0, seen].T
                    top = np.exp(scores - scores.max()).max() / np.exp(scores - scores.max()).sum()
                    assert abs(weights[row, 0, query].max() - top) < 1e-5
            start += length


def test_one_token_writes_in_its_slot():
    """Single tokens on even rows go round with no mask, and what they replace is the oldest."""
    cache = RotatingKVCache(4, keep=1)
    for place in range(9):
        assert cache.make_mask(1) is None
        x = mx.full((2, 1, 1, 1), place)
        keys, _ = cache.update_and_fetch(x, x)
    assert keys[0, 0, :, 0].tolist() == [0, 7, 8, 6]
    assert cache.offset == 9
    assert cache.size() == 4
    assert cache.lengths == (9, 9)


def test_full_rows_of_different_lengths_need_no_mask():
    first, second = RotatingKVCache(3, rows=1), RotatingKVCache(3, rows=1)
    x = mx.zeros((1, 1, 1, 4))
    for cache, count in ((first, 5), (second, 3)):
        for _ in range(count):
            cache.update_and_fetch(x, x)
    first.extend(second)
    assert first.make_mask(1) is None
    second.filter([0])
    second.extend(RotatingKVCache(3, rows=1))
    assert second.make_mask(1).tolist() == [[[[True] * 3]], [[[True, False, False]]]]


def test_memory_is_bounded():
    """Not by a prompt longer than the slots, nor by the steps buffers grow in."""
    for window, limit, count, slots in [
        ((40, 4), None, 33, 40),
        ((40, 4), 36, 33, 36),
        ((4, 0), None, 90, 4),
    ]:
        cache = RotatingKVCache(*window, limit)
        x = mx.zeros((1, 1, count, 8))
        cache.update_and_fetch(x, x)
        assert cache.nbytes == 2 * slots * 8 * 4


def test_trims_until_something_is_overwritten():
    tokens = drawn(1, 6)
    cache = RotatingKVCache(4, keep=1)
    feed(cache, tokens, [4])
    assert cache.is_trimmable()
    assert cache.trim(2) == 2
    got = feed(cache, tokens[..., 2:, :], [1, 2, 1])
    np.testing.assert_allclose(got[0], reference(tokens[:, 0], 4, 1)[:, 2:], atol=1e-5)
    assert not cache.is_trimmable()
    with pytest.raises(OptionError, match="6 tokens have gone through 4 slots"):
        cache.trim(1)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ((0, 0), "max_size is 0; expected at least 1"),
        ((3, 3), "keep is 3; expected 0 to 2, fewer tokens than max_size=3"),
        ((3, -1), "keep is -1; expected 0 to 2"),
    ],
)
def test_windows_that_cannot_be(window, message):
    with pytest.raises(OptionError, match=message):
        RotatingKVCache(*window)


def test_masks_that_cannot_be():
    cache = RotatingKVCache(3, rows=1)
    with pytest.raises(TokenError, match="covers 3 tokens; expected 2"):
        cache.make_mask(2, mx.ones((1, 3)))
    other = RotatingKVCache(3)
    other.update_and_fetch(mx.zeros((1, 1, 1, 4)), mx.zeros((1, 1, 1, 4)))
    cache.extend(other)
    with pytest.raises(TokenError, match=r"lengths \(0, 1\); give the rows equal lengths"):
        cache.make_mask(1, mx.ones((2, 2)))
