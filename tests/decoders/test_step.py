"""The step as a function of arrays, against the decoder with the cache that grows."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.decoders import DECODERS
from mlx_vedec.decoders.step import CompiledStep, next_logits, step
from mlx_vedec.measuring.selfcheck_models import small_model

KINDS = {
    "all": {},
    "window": {"max_size": 6, "keep": 2},
    "8 bits": {"bits": 8},
    "window in 8 bits": {"max_size": 6, "keep": 2, "bits": 8},
}


def started(decoder, **options):
    """A cache of four rows for two images, of unequal lengths, that has been reordered."""
    memory = mx.random.normal((2, 5, decoder.config.shape.memory_dims), key=mx.random.key(3))
    caches = [decoder.make_cache(memory[i : i + 1], **options) for i in range(2)]
    for cache, length in zip(caches, (2, 5), strict=True):
        next_logits(decoder, mx.arange(5, 5 + length)[None], cache)
        cache.expand(2)
    caches[0].extend(caches[1])
    next_logits(decoder, mx.array([[7], [8], [9], [10]]), caches[0])
    return caches[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", DECODERS)
def test_every_family_takes_the_same_steps_as_a_function_of_arrays(family, kind):
    decoder = small_model(family)
    growing, cache = started(decoder, **KINDS[kind]), started(decoder, **KINDS[kind])
    tokens = mx.array([3, 4, 5, 6])
    for parents in ([1, 0, 2, 2], None, [0, 0, 3, 2], None, None):
        if parents:
            growing.reorder(mx.array(parents))
            cache.reorder(mx.array(parents))
        expected = next_logits(decoder, tokens[:, None], growing)
        buffers, images, pending = cache.hand_out()
        positions = mx.array(cache.lengths)
        got, buffers = step(
            decoder, tokens, positions, buffers, images, pending, storage=cache.storage
        )
        cache.take_back(buffers)
        np.testing.assert_allclose(got, expected, atol=1e-5 * float(mx.abs(expected).max()))
        assert mx.argmax(got, axis=1).tolist() == mx.argmax(expected, axis=1).tolist()
        tokens = mx.argmax(expected, axis=1)
    assert growing.lengths == cache.lengths == (8, 8, 11, 11)
