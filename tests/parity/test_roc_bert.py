"""RoCBERT behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_vedec.decoders.roc_bert import RoCBertConfig, RoCBertForCausalLM
from mlx_vedec.errors import ConfigError
from tests.parity import decoder_checks as checks
from tests.parity.reference import (
    BERT,
    ROC_BERT,
    check_pair,
    close,
    pair,
    torch,
    transformers as hf,
)

PLAIN = ("RoCBert", {})
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
    "other-widths": {"shape_embed_dim": 7, "pronunciation_embed_dim": 5},
    "other-tables": {"shape_vocab_size": 8, "pronunciation_vocab_size": 6},
    "shape": {"enable_pronunciation": False},
    "sound": {"enable_shape": False},
    "neither": {"enable_shape": False, "enable_pronunciation": False},
    "added": {"concat_input": False},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("RoCBert", CHANGES[changes]))


@pytest.mark.parametrize("changes", ["sound", "added"])
def test_tables_that_are_not_read_are_kept(tmp_path, changes):
    _, ours = pair(tmp_path, checks.VIT, ("RoCBert", CHANGES[changes]))
    ours.save_pretrained(tmp_path / "ours")
    saved, stored = (mx.load(str(f / "model.safetensors")) for f in (tmp_path / "ours", tmp_path))
    assert saved.keys() == stored.keys()
    assert all(mx.array_equal(saved[name], stored[name]) for name in stored)


def test_a_pretrained_folder(tmp_path):
    """A masked language model's, which has no cross-attention."""
    theirs = hf.RoCBertForMaskedLM(hf.RoCBertConfig(**BERT, **ROC_BERT, is_decoder=True)).eval()
    theirs.save_pretrained(tmp_path)
    ours = RoCBertForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(torch.from_numpy(checks.IDS)).logits)


@pytest.mark.parametrize("pad", [0, 3])
def test_rows_that_torch_does_not_train(pad):
    """The first shape and sound, where padding has the same number."""
    _, ours = checks.built(("RoCBert", {"pad_token_id": pad}))
    memory, ids = checks.memory_of(ours), mx.array(checks.IDS)

    def loss(model):
        return model(ids, None, memory, labels=ids).loss

    _, found = nn.value_and_grad(ours, loss)(ours)
    trained = [found[name]["weight"][0].any().item() for name in ("embed_shape", "embed_sound")]
    assert trained == [pad != 0] * 2


def test_padding_needs_a_row_in_every_table():
    with pytest.raises(ConfigError, match="shape_vocab_size is 11; expected more than pad_.*, 12"):
        RoCBertConfig.from_dict({**BERT, **ROC_BERT, "pad_token_id": 12})
