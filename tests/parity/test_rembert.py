"""RemBERT behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import pytest

from mlx_vedec.decoders.bert import RemBertForCausalLM
from tests.parity import decoder_checks as checks
from tests.parity.reference import (
    BERT,
    REM_BERT,
    check_pair,
    close,
    pair,
    torch,
    transformers as hf,
)

PLAIN = ("RemBert", {})
CHANGES = {
    "plain": {},
    "tied": {"tie_word_embeddings": True, "input_embedding_size": 28},
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
    "one-width": {"input_embedding_size": 32, "output_embedding_size": 32},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("RemBert", CHANGES[changes]))


def test_head_and_embedding_are_never_one(tmp_path):
    """Even where a config says so: transformers does not tie them either."""
    _, ours = pair(tmp_path, checks.VIT, ("RemBert", {"tie_word_embeddings": True}))
    head = ours.decoder.lm_head.weight
    ours.untie()
    assert not ours.ties_head and ours.decoder.lm_head.weight is head
    ours.decoder.resize_token_embeddings(40)
    assert ours.decoder.lm_head.weight.shape == (40, 28)
    assert ours.decoder.embed_tokens.weight.shape == (40, 20)


def test_a_pretrained_folder(tmp_path):
    """A masked language model's, which has no cross-attention."""
    theirs = hf.RemBertForMaskedLM(hf.RemBertConfig(**BERT, **REM_BERT, is_decoder=True)).eval()
    theirs.save_pretrained(tmp_path)
    ours = RemBertForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(torch.from_numpy(checks.IDS)).logits)
