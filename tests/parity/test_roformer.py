"""RoFormer behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.decoders.roformer import RoFormerConfig, RoFormerForCausalLM
from mlx_vedec.errors import ConfigError, TokenError
from tests.parity import decoder_checks as checks
from tests.parity.reference import BERT, check_pair, close, torch, transformers as hf

PLAIN = ("RoFormer", {})
CHANGES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "sizes": {
        "vocab_size": 29,
        "hidden_size": 36,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 22,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-2,
        "type_vocab_size": 1,
    },
    "cross-width": {"hidden_size": 24, "cross_attention_hidden_size": "encoder"},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
    "one-width": {"embedding_size": None},
    "wider": {"embedding_size": 40},
    "values": {"rotary_value": True},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("RoFormer", CHANGES[changes]))


@pytest.mark.parametrize("turns", [True, False])
def test_rows_of_different_length(turns):
    """A token is turned by its place in its own row, whatever row lies beside it."""
    _, ours = checks.built(("RoFormer", {"rotary_value": turns, "initializer_range": 0.2}))
    ours.eval()
    memory, ids = checks.memory_of(ours), mx.array(checks.IDS)
    expected = ours(ids, None, memory).logits
    caches = []
    for row, length in ((0, 4), (1, 2)):
        caches.append(ours.make_cache(memory[row : row + 1]))
        ours(ids[row : row + 1, :length], past_key_values=caches[row])
    caches[0].extend(caches[1])
    next_ids = mx.stack([ids[0, 4:], ids[1, 2:3]])
    out = ours(next_ids, past_key_values=caches[0]).logits[:, 0]
    np.testing.assert_allclose(np.array(out[0]), np.array(expected[0, 4]), atol=1e-4)
    np.testing.assert_allclose(np.array(out[1]), np.array(expected[1, 2]), atol=1e-4)


def test_a_new_model_opens_in_transformers(tmp_path):
    """Its file has no table of sines, which transformers then computes too."""
    _, ours = checks.built(PLAIN)
    ours.eval()
    ours.save_pretrained(tmp_path)
    theirs, report = hf.RoFormerForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"roformer.encoder.embed_positions.weight"}
    memory = checks.memory_of(ours)
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(checks.IDS), encoder_hidden_states=torch.from_numpy(np.array(memory))
        )
    close(ours(mx.array(checks.IDS), None, memory).logits, expected.logits)


def test_a_pretrained_folder(tmp_path):
    """A masked language model's, which has no cross-attention."""
    config = hf.RoFormerConfig(**BERT, embedding_size=20, is_decoder=True)
    theirs = hf.RoFormerForMaskedLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = RoFormerForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(torch.from_numpy(checks.IDS)).logits)


def test_the_table_of_positions_ends():
    _, ours = checks.built(("RoFormer", {"max_position_embeddings": 7}))
    ours(mx.full((1, 7), 8))
    with pytest.raises(TokenError, match="8 tokens, but the position table ends at 7"):
        ours(mx.full((1, 8), 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 36}, "hidden_size is 36; expected an even multiple of num_att.*, 4"),
        ({"embedding_size": 0}, "embedding_size is 0; expected 1 or more"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        RoFormerConfig.from_dict({**BERT, **values})
