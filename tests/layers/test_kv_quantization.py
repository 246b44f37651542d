"""Keys and values in few bits: what is kept, how far attention moves, and what cannot be had."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.layers.attention import Attention, attention_weights, product
from mlx_vedec.layers.kv_cache import KVCache
from mlx_vedec.layers.kv_quantization import DENSE, Quantization, kv_group_size

from .test_decoder_cache import ids, images, logits, wide_decoder
from .test_rotating_cache import PLAIN, compositions, drawn, feed, ragged, reference


@pytest.fixture(scope="module")
def decoder():
    return wide_decoder()


# How far attention over normal keys and values moves, relative to its size; measured over 16 to 512
# tokens of 32 to 128 dimensions: 0.50, 0.24, 0.121, 0.057, 0.029 and 0.007 in groups of 64
LARGEST = {2: 0.6, 3: 0.3, 4: 0.15, 5: 0.07, 6: 0.035, 8: 0.009}


def rounded(x, packing):
    settings = {"group_size": packing.group_size, "bits": packing.bits}
    return np.array(mx.dequantize(*mx.quantize(mx.array(x), **settings), **settings))


@pytest.mark.parametrize("window", [PLAIN, (1, 0), (3, 0), (4, 2), (5, 1)])
@pytest.mark.parametrize("packing", [Quantization(32, 8), Quantization(32, 4)])
def test_rows_are_attention_over_what_is_kept(window, packing):
    """Of different lengths, and round the slots: as of the numbers that were rounded once."""
    starts = (0, 5, 3)
    for pieces in compositions(3):
        tokens, got = ragged(window, starts, pieces, packing, dims=32)
        for row, (alone, start) in enumerate(zip(tokens, starts, strict=True)):
            kept = [alone[0, 0], *(rounded(x, packing) for x in alone[1:, 0])]
            expected = reference(kept, *window)[:, start:]
            np.testing.assert_allclose(got[row], expected, atol=2e-5, err_msg=str(pieces))


@pytest.mark.parametrize("bits", LARGEST)
@pytest.mark.parametrize(("dims", "group_size"), [(64, 64), (64, 32), (32, 32), (128, 64)])
def test_how_far_attention_moves(bits, dims, group_size):
    tokens = drawn(2, 64, dims)
    tokens[0] *= dims**-0.5
    exact, near = (
        feed(KVCache(packing=packing), tokens, [60, 1, 3])
        for packing in (DENSE, Quantization(group_size, bits))
    )
    moved = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    assert LARGEST[bits] / 3 < moved < LARGEST[bits]


def test_a_cache_quantized_later_is_one_quantized_from_the_start():
    tokens = drawn(2, 7, 64)
    for before in (0, 4):
        early, late = KVCache(packing=Quantization(32, 4)), KVCache()
        feed(early, tokens, [before] if before else [])
        feed(late, tokens, [before] if before else [])
        bytes_of_late = late.nbytes
        after = late.to_quantized(32, 4)
        rest = tokens[..., before:, :]
        got = feed(after, rest, [1, 2])
        np.testing.assert_array_equal(got, feed(early, rest, [1, 2]))
        assert late.nbytes == bytes_of_late and late.packing is DENSE
    with pytest.raises(OptionError, match="quantized already: .*group_size=32, bits=4"):
        after.to_quantized()


@pytest.mark.parametrize("mask", [None, "causal", "boolean"])
def test_folded_queries_and_kept_weights(mask):
    """Rows of one image read one quantized memory, and their weights can be kept."""
    mx.random.seed(2)
    layer, packing = Attention(64, 2), Quantization(32, 8)
    layer.eval()
    x, features = mx.random.normal((4, 3, 64)), mx.random.normal((2, 5, 64))
    masks = {None: None, "boolean": mx.array([True, True, False, True, True])[None, None, None]}
    if mask == "causal":
        x, masks[mask] = mx.random.normal((2, 3, 64)), "causal"
    memory = packing.unpack(packing.pack(*layer.remember(features)))
    dense = tuple(mx.dequantize(*part[:3], group_size=32, bits=8) for part in memory)
    keep, expected = [], []
    got = layer(x, memory, mask=masks[mask], keep=keep)
    layer(x, dense, mask=masks[mask], keep=expected)
    assert mx.allclose(got, layer(x, dense, mask=masks[mask]), atol=1e-5)
    assert mx.allclose(keep[0], expected[0], atol=1e-6)
    assert mx.array_equal(got, layer(x, memory, mask=masks[mask]))


def test_types_stay():
    """In half precision too, where the softmax alone is in float32."""
    x = mx.random.normal((1, 2, 3, 32)).astype(mx.float16)
    keys, values = KVCache(packing=Quantization(32, 8)).update_and_fetch(x, x)
    weights = attention_weights(x, keys, "causal")
    assert weights.dtype == product(weights, values).dtype == mx.float16
    assert keys.shape == x.shape


def test_a_decoder_moves_little(decoder):
    memory, tokens = images(2), ids(2, 9)
    expected = logits(decoder, decoder.make_cache(memory), tokens)
    moved = {}
    for bits in (4, 8):
        cache = decoder.make_cache(memory, bits=bits)
        assert cache.packing == Quantization(32, bits)
        got = np.concatenate([logits(decoder, cache, tokens[:, i : i + 1]) for i in range(9)], 1)
        moved[bits] = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert 1e-4 < moved[8] < 0.01 < moved[4] < 0.15
    later = decoder.make_cache(memory)
    logits(decoder, later, tokens[:, :5])
    quantized = later.to_quantized(bits=8)
    assert later.memory_nbytes > 3 * quantized.memory_nbytes
    got = logits(decoder, quantized, tokens[:, 5:])
    assert 0 < np.abs(got - expected[:, 5:]).max() < 0.1


@pytest.mark.parametrize(
    ("dims", "wanted", "expected"),
    [
        (64, None, 64),
        (128, None, 64),
        (96, None, 32),
        (32, None, 32),
        (128, 128, 128),
        (64, 32, 32),
    ],
)
def test_group_sizes(dims, wanted, expected):
    assert kv_group_size(dims, wanted) == expected


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: kv_group_size(80), "80 wide, which none of the group sizes 32, 64 or 128 divides"),
        (lambda: kv_group_size(96, 64), "is 64, which does not divide heads 96 wide; expected 32$"),
        (lambda: kv_group_size(128, 48), "is 48, .*; expected 32, 64 or 128"),
        (lambda: Quantization(64, 7), "bits is 7; expected one of 2, 3, 4, 5, 6 or 8"),
        (lambda: Quantization(16, 8), "group_size is 16; expected one of 32, 64 or 128"),
        (lambda: feed(KVCache(packing=Quantization()), drawn(1, 1, 32), [1]), "is 64, which does"),
    ],
)
def test_what_cannot_be(act, message):
    with pytest.raises(OptionError, match=message):
        act()
