"""BigBird behind ViT against transformers, through folders it saved.

transformers 5.24 gives the cross-attention the keys and values of the attention before it once
there is a cache, and cannot generate with one; version 4 did neither. So the reference is
transformers without a cache.
"""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.decoders.big_bird import BigBirdConfig, BigBirdForCausalLM
from mlx_vedec.errors import ConfigError, TokenError
from mlx_vedec.layers.decoder_cache import DecoderCache
from mlx_vedec.model.footprint import estimate_memory
from tests.parity import decoder_checks as checks
from tests.parity.reference import BERT, check_pair, close, pair, torch, transformers as hf

PLAIN = ("BigBird", {})
CHANGES = {
    "tied": {"attention_type": "original_full"},
    "untied": {"tie_word_embeddings": False},
    "sizes": {
        "vocab_size": 29,
        "hidden_size": 33,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 20,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-2,
        "type_vocab_size": 1,
    },
    "cross-width": {"hidden_size": 24, "cross_attention_hidden_size": "encoder"},
    "unbiased": {"use_bias": False, "rescale_embeddings": True},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("BigBird", CHANGES[changes]))


def test_masked_features_are_read_by_neither_attention():
    """As in version 4 of transformers; 5.24 masks the first attention only."""
    _, ours = checks.built(("BigBird", {"initializer_range": 0.2}))
    ours.eval()
    memory, ids = checks.memory_of(ours), mx.array(checks.IDS)
    seen = mx.array([[1, 1, 1, 0, 0]] * 2)
    out = ours(ids, None, memory, seen).logits
    close(out, torch.from_numpy(np.array(ours(ids, None, memory[:, :3]).logits)))


def test_a_quantized_cache_and_a_saved_one(tmp_path):
    """Both attentions' keys and values of the image go with it."""
    _, ours = checks.built(("BigBird", {"hidden_size": 64, "num_attention_heads": 2}))
    ours.eval()
    memory, ids = checks.memory_of(ours), mx.array(checks.IDS)
    expected = ours(ids, None, memory).logits
    cache = ours.make_cache(memory, bits=8)
    first = ours(ids[:, :3], past_key_values=cache).logits
    cache.save(tmp_path / "cache")
    rest = ours(ids[:, 3:], past_key_values=DecoderCache.load(tmp_path / "cache")).logits
    out = mx.concatenate([first, rest], axis=1)
    assert mx.abs(out - expected).max() < 0.02 * mx.abs(expected).max()
    assert mx.abs(out - expected).max() > 0


def test_the_image_caches_bytes_are_those_estimated(tmp_path):
    """Twice as many as of a decoder that reads the image once."""
    _, ours = pair(tmp_path, checks.VIT, PLAIN)
    features = ours.encoder(mx.zeros((2, 16, 16, 3))).last_hidden_state
    cache = ours.decoder.make_cache(ours.memory(features))
    assert estimate_memory(ours, batch_size=2).image_cache == cache.memory_nbytes


def text_model(folder, **changes):
    """(transformers' decoder of text alone, ours), of a folder that it saved."""
    torch.manual_seed(0)
    config = hf.BigBirdConfig(**BERT, is_decoder=True, initializer_range=0.2, **changes)
    theirs = hf.BigBirdForCausalLM(config).eval()
    theirs.save_pretrained(folder)
    return theirs, BigBirdForCausalLM.from_pretrained(folder)


def test_without_an_image(tmp_path):
    """Self-attention reads the tokens then, and a short text is not block-sparse."""
    theirs, ours = text_model(tmp_path)
    ids = torch.from_numpy(checks.IDS)
    with torch.no_grad():
        expected = theirs(ids, use_cache=False).logits
        changed = theirs(torch.where(ids == 10, 12, ids), use_cache=False).logits
    close(ours(mx.array(checks.IDS)).logits, expected)
    close(ours(mx.array(checks.IDS), use_cache=True).logits, expected)
    assert np.abs((changed - expected)[0, 4].numpy()).max() > 1e-2


def test_block_sparse_lengths_are_refused(tmp_path):
    """Of text alone: with an image transformers has full attention whatever the config says."""
    sparse = {"block_size": 1, "num_random_blocks": 2}
    _, ours = text_model(tmp_path / "text", **sparse)
    ours(mx.full((1, 9), 8))
    with pytest.raises(TokenError, match="10 tokens, but BigBird's block-sparse .* after 9"):
        ours(mx.full((1, 10), 8))
    check_pair(tmp_path / "image", checks.VIT, ("BigBird", sparse))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attention_type": "sparse"}, "is 'sparse'; expected 'original_full' or 'block_sparse'"),
        ({"cross_attention_hidden_size": 24}, "is 24, but this family reads its own width, 32"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        BigBirdConfig.from_dict({**BERT, **values})
