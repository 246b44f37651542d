"""What a whole decoder gives when its rows come, go and change places."""

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlx_vedec.decoders.gpt2 import GPT2LMHeadModel
from mlx_vedec.decoders.mbart import XGLMForCausalLM
from mlx_vedec.decoders.roberta import RobertaForCausalLM
from mlx_vedec.errors import CheckpointError, OptionError, TokenError
from mlx_vedec.layers.decoder_cache import KIND, DecoderCache
from mlx_vedec.layers.kv_cache import STEP

from ..support.tiny import tiny_model

WIDE = {"d_model": 64, "decoder_attention_heads": 2, "max_position_embeddings": 40}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "is_decoder": True,
}
KINDS = {
    "plain": {},
    "rotating": {"max_size": 5, "keep": 2},
    "quantized": {"bits": 8},
    "both": {"max_size": 5, "keep": 2, "bits": 4, "group_size": 32},
}


@pytest.fixture(scope="module")
def decoder():
    return wide_decoder()


def wide_decoder():
    """Its heads are 32 wide, so that they can be quantized."""
    model = tiny_model(decoder=WIDE).decoder
    model.apply(lambda x: x / 2 if x.ndim > 1 else x)  # or rounding grows layer by layer
    return model


def images(count, seed=0):
    return mx.random.normal((count, 6, 64), key=mx.random.key(seed))


def ids(rows, length, seed=0):
    return mx.random.randint(4, 37, (rows, length), key=mx.random.key(seed))


def logits(decoder, cache, tokens):
    return np.array(decoder.head(decoder.decode(tokens, cache=cache)))


def close(got, expected, atol=1e-5):
    np.testing.assert_allclose(got, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("pieces", [[9], [4, 1, 1, 3], [1] * 9])
def test_slots_for_all_tokens_make_no_difference(decoder, pieces):
    memory, tokens = images(2), ids(2, 9)
    expected = logits(decoder, decoder.make_cache(memory), tokens)
    for options in ({"max_size": 9}, {"max_size": 30, "keep": 3}):
        cache, start = decoder.make_cache(memory, **options), 0
        for length in pieces:
            got = logits(decoder, cache, tokens[:, start : start + length])
            close(got, expected[:, start : start + length])
            start += length


@pytest.mark.parametrize("name", KINDS)
def test_images_at_different_lengths_share_a_batch(decoder, name):
    """Caches of unequal lengths, put together, go on as each would have alone; beams too."""
    memory, starts = images(3), (2, 8, 5)
    caches = [decoder.make_cache(memory[i : i + 1], **KINDS[name]) for i in range(3)]
    for i, start in enumerate(starts):
        logits(decoder, caches[i], ids(1, start, i))
        caches[i].expand(2)
    first, *others = caches
    expected = []
    for i, start in enumerate(starts):
        alone = decoder.make_cache(memory[i : i + 1], rows=2, **KINDS[name])
        logits(decoder, alone, mx.repeat(ids(1, start, i), 2, axis=0))
        expected.append([logits(decoder, alone, ids(2, n, 9 + i)) for n in (1, 3, 1)])
    for other in others:
        first.extend(other)
    assert (first.rows, first.images, first.rows_per_image, first.length) == (6, 3, 2, 8)
    assert first.positions(2).tolist() == [[n, n + 1] for n in (2, 2, 8, 8, 5, 5)]
    for step, n in enumerate((1, 3, 1)):
        got = logits(decoder, first, mx.concatenate([ids(2, n, 9 + i) for i in range(3)]))
        close(got, np.concatenate([rows[step] for rows in expected]))
    first.filter([0, 1, 2])
    first.filter([2, 0])
    assert first.lengths == (10, 10, 7, 7)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        (GPT2LMHeadModel, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}),
        (RobertaForCausalLM, {**BERT, "max_position_embeddings": 42, "pad_token_id": 1}),
        (XGLMForCausalLM, {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48}),
    ],
)
def test_families_take_rows_of_different_lengths(family, config):
    """Whatever their positions and projections are."""
    mx.random.seed(1)
    decoder = family(family.config_class(vocab_size=37, add_cross_attention=True, **config))
    decoder.apply(lambda x: x * 5 if x.ndim > 1 else x)
    decoder.eval()
    memory = mx.random.normal((2, 6, 32))
    alone = [decoder.make_cache(memory[i : i + 1], max_size=6, keep=1) for i in range(2)]
    cache = decoder.make_cache(memory[:1], max_size=6, keep=1)
    other = decoder.make_cache(memory[1:], max_size=6, keep=1)
    for i, (one, start) in enumerate(((cache, 2), (other, 7))):
        close(logits(decoder, one, ids(1, start, i)), logits(decoder, alone[i], ids(1, start, i)))
    cache.extend(other)
    for n in (1, 3, 1):
        expected = [logits(decoder, alone[i], ids(1, n, 9 + i)) for i in range(2)]
        got = logits(decoder, cache, mx.concatenate([ids(1, n, 9), ids(1, n, 10)]))
        close(got, np.concatenate(expected))
        assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_images_leave_and_beams_change_places(decoder):
    memory, tokens = images(3), ids(6, 4)
    cache = decoder.make_cache(memory, rows=6)
    logits(decoder, cache, tokens)
    cache.filter([2, 0])
    cache.reorder(mx.array([1, 1, 3, 2]))
    assert cache.images == 2
    rows = mx.array([5, 5, 1, 0])
    alone = decoder.make_cache(mx.stack([memory[2], memory[0]]), rows=4)
    logits(decoder, alone, tokens[rows])
    close(logits(decoder, cache, ids(4, 1, 3)), logits(decoder, alone, ids(4, 1, 3)))


def test_beams_read_one_memory(decoder):
    caches = [decoder.make_cache(images(2), rows=2 * k, bits=b) for k in (1, 4) for b in (None, 8)]
    assert caches[0].memory_nbytes == caches[2].memory_nbytes == 3 * 2 * 2 * 6 * 64 * 4
    assert caches[1].memory_nbytes == caches[3].memory_nbytes == 3 * 2 * 2 * 6 * 64 * 10 // 8
    caches[0].expand(4)
    assert caches[0].memory_nbytes == caches[0].nbytes == caches[2].nbytes
    logits(decoder, caches[2], ids(8, 2))
    assert caches[2].nbytes - caches[2].memory_nbytes == 3 * 2 * 8 * STEP * 64 * 4


def test_the_end_of_the_positions_stays_an_error(decoder):
    """In the longest row; slots written anew do not make the table longer."""
    cache, other = (decoder.make_cache(images(1), max_size=4) for _ in range(2))
    logits(decoder, cache, ids(1, 40))
    logits(decoder, other, ids(1, 3))
    other.extend(cache)
    with pytest.raises(TokenError, match="41 tokens, but the position table ends at 40"):
        logits(decoder, other, ids(2, 1))
    other.filter([0])
    assert logits(decoder, other, ids(1, 1)).shape == (1, 1, 37)


def test_trims_all_layers(decoder):
    memory, tokens = images(1), ids(1, 6)
    cache = decoder.make_cache(memory)
    expected = logits(decoder, cache, tokens)
    assert cache.trim(2) == 2 and cache.length == 4
    close(logits(decoder, cache, tokens[:, 4:]), expected[:, 4:])


def test_a_decoder_that_reads_no_image():
    cache = DecoderCache([None, None], rows=3)
    assert (cache.images, cache.memory_nbytes, cache.memories) == (3, 0, [None, None])
    cache.expand(2)
    cache.filter([1])
    assert (cache.rows, cache.images) == (2, 1)
    assert cache.make_mask(3) == "causal"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 3}, "3 rows for 2 images"),
        ({"keep": 2}, "keep is 2, but without max_size"),
        ({"group_size": 32}, "group_size is 32, but nothing is quantized without bits"),
        ({"max_size": 3, "keep": 3}, "keep is 3; expected 0 to 2"),
        ({"bits": 7}, "bits is 7; expected one of 2, 3, 4, 5, 6 or 8"),
        ({"bits": 8, "group_size": 64}, "does not divide heads 32 wide; expected 32"),
    ],
)
def test_options_that_cannot_be(decoder, options, message):
    with pytest.raises(OptionError, match=message):
        decoder.make_cache(images(2), **options)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"memory": 5}, "the other cache holds .*5, 32.*; expected .*6, 32"),
        ({"rows": 2}, r"layers and rows of an image are \(3, 1\) and \(3, 2\)"),
        ({"max_size": 9}, "caches differ"),
        ({"bits": 8}, "caches differ"),
    ],
)
def test_caches_that_cannot_be_one(decoder, other, message):
    cache = decoder.make_cache(images(1))
    memory = images(1)[:, : other.pop("memory", 6)]
    with pytest.raises(OptionError, match=message):
        cache.extend(decoder.make_cache(memory, **other))
    assert cache.images == cache.rows == 1
    with pytest.raises(OptionError, match=r"images to keep are \[1\]; expected some of 0 to 0"):
        cache.filter([1])


# Files: a cache that was saved goes on as if it had not been; others are refused by name


@pytest.mark.parametrize("name", KINDS)
def test_goes_on_from_a_file(decoder, tmp_path, name):
    """Rows of two lengths, one of which has gone round its slots."""
    cache = decoder.make_cache(images(1), rows=2, **KINDS[name])
    logits(decoder, cache, ids(2, 3))
    other = decoder.make_cache(images(1, 1), rows=2, **KINDS[name])
    logits(decoder, other, ids(2, 7, 1))
    cache.extend(other)
    cache.save(tmp_path / "kept.cache")
    again = DecoderCache.load(tmp_path / "kept.cache")
    (tmp_path / "kept.cache").write_bytes(b"")  # nothing is left to be read
    assert [path.name for path in tmp_path.iterdir()] == ["kept.cache"]
    assert (again.lengths, again.images, again.packing) == (cache.lengths, 2, cache.packing)
    assert again.memory_nbytes == cache.memory_nbytes
    for n in (1, 4, 1):
        tokens = ids(4, n, n)
        np.testing.assert_array_equal(
            logits(decoder, again, tokens), logits(decoder, cache, tokens)
        )


def test_an_empty_cache_in_a_file(tmp_path):
    DecoderCache([None, None], rows=3, limit=9).save(tmp_path / "empty.safetensors")
    cache = DecoderCache.load(tmp_path / "empty.safetensors")
    assert (cache.rows, cache.images, cache.layers[1].limit, len(cache.layers)) == (3, 3, 9, 2)
    assert cache.layers[0].offset == 0 and cache.memories == [None, None]


def rewritten(path, change):
    """The file with its tensors and metadata changed."""
    cache = DecoderCache([None], rows=1)
    cache.layers[0].update_and_fetch(*[mx.zeros((1, 1, 2, 4))] * 2)
    cache.save(path)
    _, metadata = mx.load(str(path), return_metadata=True)
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: m.update(format_version="2"), "of format version 2; this mlx_vedec reads"),
        (lambda t, m: m.pop("format_version"), "of format version None"),
        (lambda t, m: m.update(kind="model"), f"of the kind 'model'; expected '{KIND}'"),
        (lambda t, m: m.pop("kind"), "of the kind None"),
        (lambda t, m: m.update(settings="{"), "metadata that cannot be read"),
        (lambda t, m: m.pop("holds"), "metadata that cannot be read"),
        (lambda t, m: m.update(holds="[7]"), "metadata that cannot be read"),
        (lambda t, m: m.update(names="7"), "metadata that cannot be read"),
        (lambda t, m: m.update(settings="[" * 100_000), "metadata that cannot be read"),
        (lambda t, m: m.update(settings='{"lengths": 7}'), "metadata that cannot be read"),
        (lambda t, m: m.update(settings="9" * 5000), "metadata that cannot be read"),
        (lambda t, m: t.pop("layers.0.values"), r"lacks \['layers.0.values'\], and \[\] belong"),
        (lambda t, m: t.update(x=t["layers.0.keys"]), r"lacks \[\], and \['x'\] belong to no"),
    ],
)
def test_files_that_hold_no_cache(tmp_path, change, message):
    rewritten(tmp_path / "a.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        DecoderCache.load(tmp_path / "a.safetensors")


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="is not there"):
        DecoderCache.load(path)
    rewritten(path, lambda t, m: None)
    whole = path.read_bytes()
    for part in (b"", b"no file of tensors", whole[:-1]):
        path.write_bytes(part)
        with pytest.raises(CheckpointError, match="is no safetensors file, or was cut short"):
            DecoderCache.load(path)
