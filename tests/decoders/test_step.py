"""The step as a function of arrays, against the decoder with the cache that grows."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec.decoders import DECODERS
from mlx_vedec.decoders.step import end_of, next_logits, step
from mlx_vedec.layers.weights import Weights
from mlx_vedec.measuring.selfcheck_models import small_model

KINDS = {
    "all": {},
    "window": {"max_size": 6, "keep": 2},
    "8 bits": {"bits": 8},
    "window in 8 bits": {"max_size": 6, "keep": 2, "bits": 8},
    "weights in 8 bits": {},
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
    if kind.startswith("weights"):
        nn.quantize(decoder, bits=8, class_predicate=lambda _, m: isinstance(m, nn.Linear))
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


def test_it_can_be_exported_with_weights_as_inputs(tmp_path):
    """What was exported reads other weights, and no array is kept in it."""
    decoder = small_model("trocr")
    weights, cache = Weights(decoder), started(decoder)
    storage = cache.storage
    buffers, images, _ = cache.hand_out()
    positions = mx.array(cache.lengths)
    layers = len(buffers)

    def function(*given):
        tokens, places, *others = given
        flat, own = others[: 4 * layers], others[4 * layers :]
        pairs = [tuple(flat[i : i + 2]) for i in range(0, 4 * layers, 2)]
        with weights.replaced(own):
            logits, new = step(
                decoder, tokens, places, pairs[:layers], pairs[layers:], storage=storage
            )
        return [logits, *(part for parts in new for part in parts)]

    flat = [part for parts in (*buffers, *images) for part in parts]
    given = [mx.array([3, 4, 5, 6]), positions, *flat, *weights.arrays()]
    path = tmp_path / "step.mlxfn"
    mx.export_function(str(path), function, *given)
    found = mx.import_function(str(path))(*given)
    np.testing.assert_allclose(found[0], function(*given)[0], atol=1e-5)
    assert path.stat().st_size < sum(x.nbytes for x in weights.arrays()) / 5
    given[-len(weights.names) :] = [x * 0.5 for x in weights.arrays()]
    other = mx.import_function(str(path))(*given)[0]
    np.testing.assert_allclose(other, function(*given)[0], atol=1e-5)
    assert mx.abs(other - found[0]).max() > 1e-3


@pytest.mark.parametrize(("options", "end"), [({}, 32), ({"max_size": 9, "keep": 1}, 32)])
def test_past_the_end_logits_are_not_numbers(options, end):
    """In that row alone; what is in the slots of the others is theirs."""
    decoder = small_model("trocr")
    cache = started(decoder, **options)
    for _ in range(9):
        next_logits(decoder, mx.array([[7], [8], [9], [10]]), cache)
    buffers, images, _ = cache.hand_out()
    assert end_of(decoder, buffers[0][0].shape[2], cache.storage) == end
    given = (decoder, mx.array([3, 4, 5, 6]))
    rest = (buffers, images)
    inside, _ = step(*given, mx.array([12, 12, 15, 15]), *rest, storage=cache.storage)
    past, _ = step(*given, mx.array([12, end, 15, end + 9]), *rest, storage=cache.storage)
    assert mx.isnan(past).all(axis=1).tolist() == [False, True, False, True]
    assert mx.array_equal(past[::2], inside[::2])


def test_a_cache_of_one_kind_of_rows_ends_with_its_slots():
    decoder = small_model("xglm")
    assert decoder.max_positions is None
    cache = started(decoder)
    assert end_of(decoder, 32, cache.storage) == 32
    assert end_of(decoder, 9, started(decoder, max_size=9).storage) is None
