"""DistilBERT's decoder, which transformers lacks, against its BERT and its masked model."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.checkpoints.weights import load
from mlx_vedec.decoders.distilbert import DistilBertConfig, DistilBertForCausalLM
from tests.parity import decoder_checks as checks
from tests.parity.reference import close, torch, transformers as hf

NAMES = {  # BERT's modules and DistilBERT's
    "bert.embeddings": "distilbert.embeddings",
    "bert.encoder.layer": "distilbert.transformer.layer",
    ".attention.self.query": ".attention.q_lin",
    ".attention.self.key": ".attention.k_lin",
    ".attention.self.value": ".attention.v_lin",
    ".attention.output.dense": ".attention.out_lin",
    ".attention.output.LayerNorm": ".sa_layer_norm",
    ".intermediate.dense": ".ffn.lin1",
    ".output.dense": ".ffn.lin2",
    ".output.LayerNorm": ".output_layer_norm",
    "cls.predictions.transform.dense": "vocab_transform",
    "cls.predictions.transform.LayerNorm": "vocab_layer_norm",
    "cls.predictions.decoder": "vocab_projector",
}


def distilled(name: str) -> str:
    for old, new in NAMES.items():
        if ".crossattention" not in name or "layer" in old:
            name = name.replace(old, new)
    return name


@pytest.mark.parametrize("tied", [True, False])
def test_it_is_bert_without_types(tied):
    """transformers has no such decoder: its BERT is one when the row of type 0 is zero."""
    changes = {"tie_word_embeddings": tied, "hidden_act": "relu", "type_vocab_size": 1}
    theirs, _ = checks.built(("Bert", changes))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        theirs.bert.embeddings.token_type_embeddings.weight.zero_()
    config = DistilBertConfig(
        vocab_size=37,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        max_position_embeddings=24,
        activation="relu",
        tie_word_embeddings=tied,
        add_cross_attention=True,
    )
    ours = DistilBertForCausalLM(config)
    left_out = ["bert.embeddings.token_type_embeddings.weight", "cls.predictions.bias"]
    left_out += ["cls.predictions.decoder.weight"] if tied else []
    tensors = {
        distilled(name): mx.array(tensor.numpy())
        for name, tensor in theirs.state_dict().items()
        if name not in left_out
    }
    load(ours, tensors, ours.renames, "memory")
    theirs.eval()
    ours.eval()
    memory, ids = checks.memory_of(ours), torch.from_numpy(checks.IDS)
    asked = {"output_hidden_states": True}
    with torch.no_grad():
        features = torch.from_numpy(np.array(memory))
        expected = theirs(ids, encoder_hidden_states=features, **asked)
    out = ours(mx.array(checks.IDS), None, memory, **asked)
    close(out.logits, expected.logits)
    for mine, other in zip(out.hidden_states, expected.hidden_states, strict=True):
        close(mine, other)


def test_it_reads_the_published_model(tmp_path):
    """The masked language model's own folder; in transformers it looks both ways, so on one token
    they agree."""
    sizes = {"vocab_size": 37, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    theirs = hf.DistilBertForMaskedLM(hf.DistilBertConfig(**sizes)).eval()
    theirs.save_pretrained(tmp_path)
    ours = DistilBertForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        close(ours(mx.array([[8], [9]])).logits, theirs(torch.tensor([[8], [9]])).logits)


def test_defaults():
    checks.check_defaults("DistilBert")


def test_sines_start_as_theirs(tmp_path):
    sizes = {"dim": 34, "n_heads": 2, "max_position_embeddings": 24, "sinusoidal_pos_embds": True}
    theirs = hf.DistilBertModel(hf.DistilBertConfig(**sizes, n_layers=1))
    ours = DistilBertForCausalLM(DistilBertConfig(**sizes, n_layers=1))
    close(ours.embed_positions.weight, theirs.embeddings.position_embeddings.weight, 1e-6)
