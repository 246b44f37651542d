"""Rows that come, go and change places in a cache hold what each would have held alone."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.layers.kv_cache import STEP, KVCache, RotatingKVCache
from mlx_vedec.layers.kv_quantization import Quantization

KINDS = ("plain", "rotating", "quantized", "both")


@pytest.mark.parametrize("chunks", [[1] * 70, [40, 1, 1, 30], [STEP, 1], [STEP + 1, STEP], [5, 3]])
@pytest.mark.parametrize("limit", [None, 72])
def test_fetches_what_was_appended(chunks, limit):
    cache = KVCache(limit)
    total = sum(chunks)
    keys = mx.random.normal((2, 3, total, 4))
    values = mx.random.normal((2, 3, total, 5))
    start = 0
    assert cache.offset == 0 and cache.state == ()
    for size in chunks:
        end = start + size
        assert cache.make_mask(size) == ("causal" if size > 1 else None)
        got = cache.update_and_fetch(keys[..., start:end, :], values[..., start:end, :])
        assert mx.array_equal(got[0], keys[..., :end, :])
        assert mx.array_equal(got[1], values[..., :end, :])
        start = end
    assert cache.lengths == (total, total)
    assert cache.offset == cache.size() == total
    assert [part.shape for part in cache.state] == [(2, 3, total, 4), (2, 3, total, 5)]


def test_grows_in_steps_within_the_limit():
    cache = KVCache(limit=STEP + 3)
    row = mx.zeros((1, 1, 1, 2))
    sizes = []
    for _ in range(STEP + 2):
        cache.update_and_fetch(row, row)
        sizes.append(cache.nbytes // (2 * 2 * 4))
    assert sizes[0] == sizes[STEP - 1] == STEP
    assert sizes[-1] == STEP + 3


def test_keeps_the_type():
    row = mx.zeros((1, 1, 1, 2), mx.float16)
    keys, values = KVCache().update_and_fetch(row, row)
    assert keys.dtype == values.dtype == mx.float16


def make(name, rows=0):
    packing = {"packing": Quantization(32, 8)} if name in ("quantized", "both") else {}
    if name in ("rotating", "both"):
        return RotatingKVCache(4, 1, rows=rows, **packing)
    return KVCache(rows=rows, **packing)


def filled(name, row, length):
    """A cache of one row, whose tokens are drawn from a stream of the row's own."""
    cache, tokens = make(name, rows=1), stream(row)
    for place in range(length):
        x = tokens[..., place : place + 1, :]
        cache.update_and_fetch(x, -x)
    return cache


def stream(row):
    return mx.random.normal((1, 2, 12, 32), key=mx.random.key(row))


def held(cache, row):
    """What a row has in the slots it has filled."""
    size = min(cache.lengths[row], cache.window.max_size)
    return [np.array(part[row, :, :size]) for part in cache.state]


def same(cache, row, alone):
    assert cache.lengths[row] == alone.lengths[0]
    for ours, theirs in zip(
        held(cache, row), held(alone, 0), strict=False
    ):  # nothing in empty ones
        np.testing.assert_array_equal(ours, theirs)


def joined(name, lengths):
    first, *others = (filled(name, row, length) for row, length in enumerate(lengths))
    for other in others:
        first.extend(other)
    return first


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("lengths", [(3, 3), (2, 7), (7, 0, 2), (0, 4), (0, 0), (5, 3, 6, 9)])
def test_rows_are_joined_chosen_and_repeated(name, lengths):
    alone = [filled(name, row, length) for row, length in enumerate(lengths)]
    cache = joined(name, lengths)
    assert cache.lengths == lengths and cache.even == (len(set(lengths)) == 1)
    for row in range(len(lengths)):
        same(cache, row, alone[row])
    cache.expand(2)
    for row in range(2 * len(lengths)):
        same(cache, row, alone[row // 2])
    kept = [2 * len(lengths) - 1, 0, 1]
    cache.filter(kept)
    for row, source in enumerate(kept):
        same(cache, row, alone[source // 2])


@pytest.mark.parametrize("name", KINDS)
def test_rows_of_one_length_change_places(name):
    cache, alone = (
        joined(name, (6, 3, 6)),
        [filled(name, row, n) for row, n in enumerate((6, 3, 6))],
    )
    cache.reorder(mx.array([2, 1, 0]))
    assert cache.lengths == (6, 3, 6)
    for row in range(3):
        same(cache, row, alone[2 - row])


@pytest.mark.parametrize("name", ["plain", "quantized"])
def test_what_was_trimmed_is_written_anew(name):
    cache = joined(name, (6, 3))
    assert cache.is_trimmable() and cache.trim(2) == 2 and cache.lengths == (4, 1)
    x = mx.concatenate([stream(0)[..., 4:7, :], stream(1)[..., 1:4, :]])
    cache.update_and_fetch(x, -x)
    same(cache, 0, filled(name, 0, 7))
    same(cache, 1, filled(name, 1, 4))
    assert cache.trim(9) == 4  # what the shortest row has
    assert cache.lengths == (3, 0)


def test_a_cache_put_into_another_stays_what_it_was():
    first, second = filled("plain", 0, 3), filled("plain", 1, 3)
    first.extend(second)
    x = mx.ones((2, 2, 1, 32))
    first.update_and_fetch(x, x)
    same(second, 0, filled("plain", 1, 3))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda c: c.update_and_fetch(*[mx.zeros((3, 2, 1, 32))] * 2), "have 3 rows, but .* has 2"),
        (lambda c: c.reorder(mx.array([0])), "parents have 1 rows, but the cache has 2"),
        (lambda c: c.filter([0, 2]), r"rows to keep are \[0, 2\]; expected some of 0 to 1"),
        (lambda c: c.filter([]), r"rows to keep are \[\]"),
        (lambda c: c.expand(0), "times is 0"),
        (lambda c: c.trim(-1), "n is -1"),
        (lambda c: c.extend(RotatingKVCache(4)), "caches differ: .*Window.*; make both with"),
        (lambda c: c.extend(KVCache(30)), "caches differ"),
        (lambda c: c.extend(c.to_quantized(32)), "caches differ: .*Quantization"),
        (
            lambda c: c.extend(half()),
            r"the other cache holds .*float16, 2, 32.*; expected .*float32",
        ),
        (lambda c: c.make_mask(2, mx.ones((2, 9))), "covers 9 tokens; expected 5"),
    ],
)
def test_what_cannot_be_done(act, message):
    cache = joined("plain", (3, 3))
    with pytest.raises((OptionError, TokenError), match=message):
        act(cache)


def half():
    cache, x = KVCache(), mx.zeros((1, 2, 1, 32), mx.float16)
    cache.update_and_fetch(x, x)
    return cache
