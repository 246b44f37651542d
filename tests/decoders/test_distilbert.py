"""DistilBERT's decoder, which transformers lacks; test_bert.py compares it with BERT's there."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders.distilbert import DistilBertConfig, DistilBertForCausalLM
from mlx_vedec.errors import ConfigError, TokenError
from tests.support.tiny import VIT, pixels

SIZES = {
    "vocab_size": 37,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 20,
}
IDS = mx.array([[2, 5, 9, 4, 7], [2, 3, 8, 3, 6]])
START = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 3}


def tiny(**changes) -> VisionEncoderDecoderModel:
    """A model behind ViT, in eval mode, whose weights are large enough to matter."""
    mx.random.seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**VIT), DistilBertConfig(**{**SIZES, **changes}), **START
    )
    model = VisionEncoderDecoderModel(config)
    model.apply(lambda x: mx.random.normal(x.shape, scale=0.2) + (x if x.ndim == 1 else 0))
    model.eval()
    return model


CASES = {
    "plain": {},
    "untied": {"tie_word_embeddings": False},
    "one-head": {"n_heads": 1, "activation": "relu", "n_layers": 3},
}


@pytest.fixture(params=CASES)
def model(request):
    return tiny(**CASES[request.param])


def close(a, b, tolerance=1e-4):
    np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=tolerance)


def norm(x, layer):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * layer["weight"] + layer["bias"]


def attend(x, memory, layer, mask=None):
    """One head of attention, in numpy."""
    queries, keys, values = (
        source @ layer[name]["weight"].T + layer[name]["bias"]
        for source, name in ((x, "q_proj"), (memory, "k_proj"), (memory, "v_proj"))
    )
    scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(x.shape[-1])
    scores = scores if mask is None else np.where(mask, scores, -1e30)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = weights / weights.sum(-1, keepdims=True) @ values
    return out @ layer["o_proj"]["weight"].T + layer["o_proj"]["bias"]


def linear(x, layer):
    return x @ layer["weight"].T + layer["bias"]


def as_numpy(tree):
    if isinstance(tree, dict):
        return {key: as_numpy(value) for key, value in tree.items()}
    return [as_numpy(x) for x in tree] if isinstance(tree, list) else np.array(tree, np.float64)


def test_logits_are_the_formula():
    """The whole decoder in a few lines of numpy: one head, ReLU, in float64."""
    decoder = tiny(**CASES["one-head"]).decoder
    p, ids = as_numpy(decoder.parameters()), np.array(IDS)
    memory = np.random.default_rng(1).normal(size=(2, 7, 32))
    x = p["embed_tokens"]["weight"][ids] + p["embed_positions"]["weight"][: ids.shape[1]]
    x = norm(x, p["embed_norm"])
    for layer in p["layers"]:
        mask = np.tril(np.ones((5, 5), bool))
        x = norm(x + attend(x, x, layer["self_attn"], mask), layer["self_attn_norm"])
        x = norm(x + attend(x, memory, layer["cross_attn"]), layer["cross_attn_norm"])
        inner = np.maximum(linear(x, layer["mlp"]["fc1"]), 0)
        x = norm(x + linear(inner, layer["mlp"]["fc2"]), layer["mlp_norm"])
    x = norm(np.maximum(linear(x, p["head_proj"]), 0), p["head_norm"])
    expected = x @ p["embed_tokens"]["weight"].T + p["head_bias"]
    close(decoder(IDS, None, mx.array(memory.astype(np.float32))).logits, expected)


def test_cached_is_uncached(model):
    whole = model(pixels(), decoder_input_ids=IDS).logits
    past, parts, start = None, [], 0
    for size in (3, 1, 1):
        out = model(pixels(), decoder_input_ids=IDS[:, start : start + size], past_key_values=past)
        past, start = out.past_key_values, start + size
        parts.append(out.logits)
    close(mx.concatenate(parts, axis=1), whole)


def test_greedy_is_the_argmax_of_the_forward_pass(model):
    tokens = model.generate(pixels(), max_length=20, eos_token_id=36)
    logits = model(pixels(), decoder_input_ids=tokens).logits
    assert tokens[:, 1:].tolist() == mx.argmax(logits, axis=-1)[:, :-1].tolist()


def test_the_image_matters(model):
    a, b = (model(pixels() * scale, decoder_input_ids=IDS).logits for scale in (1, -1))
    assert mx.abs(a - b).max().item() > 1e-2


def test_masked_tokens_do_not_matter(model):
    mask = mx.array([[1, 0, 1, 1, 1]] * 2)
    other = mx.where(mask == 0, 30, IDS)
    a, b = (model(pixels(), x, decoder_attention_mask=mask).logits for x in (IDS, other))
    close(a[:, 2:], b[:, 2:])


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_types_stay(model, dtype):
    exact = model(pixels(), labels=IDS).logits
    model.set_dtype(dtype)
    out = model(pixels().astype(dtype), labels=IDS, output_hidden_states=True)
    assert {x.dtype for x in (*out.decoder_hidden_states, out.logits)} == {dtype}
    close(out.logits.astype(mx.float32), exact, {mx.float16: 0.05, mx.bfloat16: 0.4}[dtype])


def test_every_parameter_learns():
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    for changes in CASES.values():
        decoder = tiny(**changes)
        step = nn.value_and_grad(decoder, lambda x, y, m=decoder: m(x, labels=y).loss)
        _, gradients = step(pixels(), IDS)
        assert not [name for name, g in tree_flatten(gradients) if not g.any().item()]


def test_folder(tmp_path, model):
    """Names on disk are DistilBERT's, the cross-attention's BERT's; the round trip is bit-equal."""
    model.save_pretrained(tmp_path)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    before, after = parameters(model), parameters(again)
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)
    names = set(mx.load(str(tmp_path / "model.safetensors")))
    layer = "decoder.distilbert.transformer.layer.1."
    assert {
        "decoder.distilbert.embeddings.word_embeddings.weight",
        f"{layer}attention.out_lin.bias",
        f"{layer}sa_layer_norm.weight",
        f"{layer}crossattention.self.query.weight",
        f"{layer}crossattention.output.LayerNorm.bias",
        f"{layer}ffn.lin2.weight",
        f"{layer}output_layer_norm.weight",
        "decoder.vocab_transform.weight",
        "decoder.vocab_layer_norm.bias",
        "decoder.vocab_projector.bias",
    } <= names
    tied = model.config.decoder.tie_word_embeddings
    assert ("decoder.vocab_projector.weight" in names) == (not tied)


def test_every_row_of_the_table_is_used():
    models = [tiny(**CASES[name]).decoder for name in ("plain", "untied")]
    names = {name for decoder in models for name in parameters(decoder)}
    table = DistilBertForCausalLM.renames
    assert all(table.ours(table.on_disk(name)) == name for name in names)
    for disk, ours in table.pairs:
        starts = ours.replace("*", "0")
        assert any(name.startswith(starts) for name in names), disk
    assert table.ignores("distilbert.embeddings.position_ids")


def test_new_weights():
    mx.random.seed(0)
    wide = {"dim": 128, "vocab_size": 200, "initializer_range": 0.05, "pad_token_id": 4}
    config = DistilBertConfig(**{**SIZES, **wide}, add_cross_attention=True)
    decoder = DistilBertForCausalLM(config)
    for name, value in parameters(decoder).items():
        if "norm" in name:
            assert value.tolist() == ([1.0] if name.endswith("weight") else [0.0]) * value.size
        elif name.endswith("bias"):
            assert not value.any().item(), name
        else:
            assert abs(mx.std(value).item() / 0.05 - 1) < 0.06, name
    assert not decoder.embed_tokens.weight[4].any()


def test_sines():
    """Position tables may start as sines and cosines in turns."""
    decoder = DistilBertForCausalLM(DistilBertConfig(**SIZES, sinusoidal_pos_embds=True))
    table = decoder.embed_positions.weight
    close(table[:, 0], np.sin(np.arange(20)), 1e-6)
    close(table[:, 1], np.cos(np.arange(20)), 1e-6)
    close(table[:, 30], np.sin(np.arange(20) / 10000 ** (30 / 32)), 1e-6)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout"])
def test_each_dropout_acts_in_training_alone(name):
    calm = {"dropout": 0.0, "attention_dropout": 0.0}
    plain, model = tiny(**calm), tiny(**{**calm, name: 0.5})
    assert mx.array_equal(model(pixels(), IDS).logits, plain(pixels(), IDS).logits)
    model.train()
    seen = {tuple(model(pixels(), IDS).logits[0, -1, :3].tolist()) for _ in range(8)}
    assert len(seen) > 1


def test_without_cross_attention():
    decoder = DistilBertForCausalLM(DistilBertConfig(**SIZES))
    assert not any("cross_attn" in name for name in parameters(decoder))
    assert decoder(IDS).logits.shape == (2, 5, 37)
    with pytest.raises(ConfigError, match="distilbert decoder has no cross-attention"):
        decoder(IDS, None, mx.zeros((2, 5, 32)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dim": 30}, "dim is 30; expected a multiple of n_heads, 4"),
        ({"hidden_size": 30}, "dim is 30; expected a multiple of n_heads, 4"),
        ({"pad_token_id": 37}, "pad_token_id is 37; expected 0 to 36"),
        ({"cross_attention_hidden_size": 24}, "is 24, but this family reads its own width, 32"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        DistilBertConfig.from_dict({**SIZES, **values})


def test_the_table_of_positions_ends():
    decoder = DistilBertForCausalLM(DistilBertConfig(**SIZES))
    with pytest.raises(TokenError, match="21 tokens, but the position table ends at 20"):
        decoder(mx.full((1, 21), 8))
