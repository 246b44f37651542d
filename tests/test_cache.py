import mlx.core as mx
import pytest

from mlx_vedec.cache import STEP, DecoderCache, KVCache


@pytest.mark.parametrize("chunks", [[1] * 70, [40, 1, 1, 30], [STEP, 1], [STEP + 1, STEP], [5, 3]])
@pytest.mark.parametrize("limit", [None, 72])
def test_fetches_what_was_appended(chunks, limit):
    cache = KVCache(limit)
    total = sum(chunks)
    keys = mx.random.normal((2, 3, total, 4))
    values = mx.random.normal((2, 3, total, 5))
    start = 0
    for size in chunks:
        end = start + size
        got = cache.update_and_fetch(keys[..., start:end, :], values[..., start:end, :])
        assert mx.array_equal(got[0], keys[..., :end, :])
        assert mx.array_equal(got[1], values[..., :end, :])
        start = end
    assert cache.length == total


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


def test_offsets_move_on_per_row():
    cache = DecoderCache([None, None], rows=2)
    assert cache.advance(3).tolist() == [[0, 1, 2]] * 2
    assert cache.advance(2).tolist() == [[3, 4]] * 2
    assert cache.offsets.tolist() == [[5], [5]]
