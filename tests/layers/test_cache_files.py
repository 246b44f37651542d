"""A cache that was saved goes on as if it had not been; other files are refused by name."""

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlx_vedec.errors import CheckpointError
from mlx_vedec.layers.cache_files import KIND
from mlx_vedec.layers.decoder_cache import DecoderCache

from .test_decoder_cache import KINDS, ids, images, logits, wide_decoder


@pytest.fixture(scope="module")
def decoder():
    return wide_decoder()


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
    assert cache.layers[0].empty() and cache.memories == [None, None]


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
