"""GPT-2 behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders.gpt2 import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTSw3Config,
    GPTSw3LMHeadModel,
)
from mlx_vedec.errors import ConfigError, TokenError
from tests.parity import decoder_checks as checks
from tests.parity.reference import (
    GPT2,
    check_pair,
    close,
    config_of,
    image,
    pair,
    torch,
    transformers as hf,
)

CHANGES = {
    "plain": {},
    "sizes": {
        "vocab_size": 29,
        "n_embd": 33,
        "n_head": 3,
        "n_inner": 20,
        "n_layer": 1,
        "n_positions": 23,
        "activation_function": "relu",
        "layer_norm_epsilon": 1e-2,
    },
    "same-width": {"n_embd": 24, "n_head": 1, "activation_function": "gelu"},
    "cross-width": {"n_embd": 24, "cross_attention_hidden_size": "encoder"},
    "untied": {"tie_word_embeddings": False, "activation_function": "quick_gelu"},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
    "unscaled": {"scale_attn_weights": False},
    "by-layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
    "by-layer-unscaled": {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False},
    "upcast": {"reorder_and_upcast_attn": True},
}


@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("GPT2", CHANGES[changes]))


@pytest.mark.parametrize("changes", ["plain", "by-layer", "unscaled", "upcast"])
def test_traces(tmp_path, changes):
    checks.check_traces(tmp_path, ("GPT2", CHANGES[changes]))


def test_prompts(tmp_path):
    checks.check_prompts(tmp_path, ("GPT2", {}))


def test_masks_padding_and_embeddings(tmp_path):
    """Padding counts as a position."""
    checks.check_masks(tmp_path, ("GPT2", {"pad_token_id": 1}))


def test_cached_is_uncached(tmp_path):
    checks.check_cache(tmp_path, ("GPT2", {"scale_attn_by_inverse_layer_idx": True}))


def test_the_end_token_as_start_and_padding(tmp_path):
    """As captioners have it: one id for begin, end, start and padding."""
    ids = {"bos_token_id": 36, "eos_token_id": 36, "pad_token_id": 36}
    theirs, ours = pair(tmp_path, checks.VIT, ("GPT2", ids))
    x, y = image(theirs)
    for model in (theirs, ours):
        model.generation_config.decoder_start_token_id = 36
    expected = theirs.generate(x, max_length=20, do_sample=False)
    assert ours.generate(y, max_length=20).tolist() == expected.tolist()


@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, tied):
    checks.check_saved(tmp_path, ("GPT2", {"tie_word_embeddings": tied}))


def test_linear_layers_are_stored_the_other_way_round(tmp_path):
    """Of the layers all, the head and the encoder none; a square one too."""
    _, ours = pair(tmp_path, checks.VIT, ("GPT2", {"tie_word_embeddings": False}))
    stored = mx.load(str(tmp_path / "model.safetensors"))
    turned = set()
    for name, leaf in ours.named_modules():
        if isinstance(leaf, nn.Linear):
            on_disk = stored[ours.renames.on_disk(f"{name}.weight")]
            if mx.array_equal(on_disk, leaf.weight.T):
                turned.add(name)
            else:
                assert mx.array_equal(on_disk, leaf.weight), name
    parts = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.fc1", "mlp.fc2")
    cross = ("cross_attn.q_proj", "cross_attn.kv_proj", "cross_attn.o_proj")
    assert turned == {f"decoder.layers.{n}.{part}" for n in range(2) for part in parts + cross}


def test_halves(tmp_path):
    checks.check_halves(tmp_path, ("GPT2", {}))


def test_new_weights_are_spread_as_theirs(tmp_path):
    """The ends of the residual branches by the root of twice the layers less, as theirs."""
    changes = {"initializer_range": 0.1, "tie_word_embeddings": False, "n_layer": 4}
    checks.check_new_weights(tmp_path, ("GPT2", changes))
    _, ours = checks.built(("GPT2", changes))
    layer = ours.layers[3]
    for end in (layer.self_attn.o_proj, layer.cross_attn.o_proj, layer.mlp.fc2):
        assert abs(mx.std(end.weight).item() - 0.1 / 8**0.5) < 0.004


def test_dropouts():
    checks.check_dropout(("GPT2", {}), "resid_pdrop", "embd_pdrop", "attn_pdrop")


def test_defaults():
    checks.check_defaults("GPT2")


def test_every_row_is_used():
    checks.check_rows([("GPT2", {"tie_word_embeddings": False})])


def buffers(prefix: str) -> dict[str, mx.array]:
    """The causal masks and what fills them, as versions up to 4.30 stored them."""
    return {
        f"{prefix}h.{layer}.{part}.{name}": value
        for layer in range(2)
        for part in ("attn", "crossattention")
        for name, value in (("bias", mx.ones((1, 1, 20, 20))), ("masked_bias", mx.array(-1e4)))
    }


def test_buffers_of_older_versions_are_left_out(tmp_path):
    """And not the bias of the linear layers beside them."""
    checks.check_names(
        tmp_path, ("GPT2", {}), lambda tensors: {**tensors, **buffers("decoder.transformer.")}
    )
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "renamed")
    assert parameters(again)["decoder.layers.0.self_attn.qkv_proj.bias"].any().item()
    again.save_pretrained(tmp_path / "again")
    saved = mx.load(str(tmp_path / "again" / "model.safetensors"))
    assert saved.keys() == mx.load(str(tmp_path / "theirs" / "model.safetensors")).keys()


def test_a_head_that_differs_is_not_tied(tmp_path):
    theirs, _ = pair(tmp_path, decoder=("GPT2", {}))
    path = tmp_path / "model.safetensors"
    stored = dict(mx.load(str(path)))
    mx.eval(stored)
    stored["decoder.lm_head.weight"] = stored["decoder.transformer.wte.weight"] * 2
    mx.save_safetensors(str(path), stored, metadata={"format": "pt"})
    theirs = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert not ours.config.decoder.tie_word_embeddings
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS))
    close(ours(y, decoder_input_ids=mx.array(checks.IDS)).logits, expected.logits)


@pytest.mark.parametrize("bare", [True, False])
def test_a_pretrained_folder(tmp_path, bare):
    """A text model's own, its names with and without `transformer.`, has no cross-attention."""
    config = config_of(("GPT2", {}), {"GPT2": GPT2})
    theirs = hf.GPT2LMHeadModel(config).eval()
    (theirs.transformer if bare else theirs).save_pretrained(tmp_path)
    if bare:
        path = tmp_path / "model.safetensors"
        stored = dict(mx.load(str(path)))
        mx.eval(stored)
        mx.save_safetensors(str(path), {**stored, **buffers("")}, metadata={"format": "pt"})
    ours = GPT2LMHeadModel.from_pretrained(tmp_path)
    assert not any("cross_attn" in name for name in parameters(ours))
    ids = torch.from_numpy(checks.IDS)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(ids).logits)
    with pytest.raises(ConfigError, match="gpt2 decoder has no cross-attention"):
        ours(mx.array(checks.IDS), None, mx.zeros((2, 5, 32)))


def test_several_rows_share_one_memory(tmp_path):
    """Rows of one image, folded into the queries' length, read what it would give repeated."""
    _, ours = pair(tmp_path, checks.VIT, ("GPT2", {}))
    decoder, ids = ours.decoder, mx.array(np.repeat(checks.IDS, 2, axis=0))
    memory = checks.memory_of(decoder)
    cache = decoder.make_cache(memory, rows=4)
    folded = decoder(ids, past_key_values=cache).logits
    repeated = decoder(ids, None, mx.repeat(memory, 2, axis=0)).logits
    np.testing.assert_allclose(np.array(folded), np.array(repeated), atol=1e-4)


def test_the_table_of_positions_ends(tmp_path):
    _, ours = pair(tmp_path, checks.VIT, ("GPT2", {}))
    _, y = image(ours)
    assert ours.generate(y, eos_token_id=36).shape == (2, 21)  # the last one is not fed
    with pytest.raises(TokenError, match="21 tokens, but the position table ends at 20"):
        ours(y, decoder_input_ids=mx.full((2, 21), 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_embd": 30}, "n_embd is 30; expected a multiple of n_head, 4"),
        ({"n_inner": 0}, "n_inner is 0; expected 1 or more, or none"),
        ({"n_layer": 0}, "n_layer is 0; expected 1 to"),
        ({"attn_pdrop": 1.0}, "attn_pdrop is 1.0; expected 0 or more and below 1"),
        ({"cross_attention_hidden_size": 24}, "is 24, but this family reads its own width, 32"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        GPT2Config.from_dict({**GPT2, **values})


def test_gpt_sw3_is_gpt2_under_another_type(tmp_path):
    """As in transformers, which saves its config as GPT-2's."""
    theirs, _ = pair(tmp_path, checks.VIT, ("GPT2", {}))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"model_type": "gpt2"', '"model_type": "gpt-sw3"'))
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert isinstance(ours.decoder, GPTSw3LMHeadModel)
    assert isinstance(ours.config.decoder, GPTSw3Config)
    ours.save_pretrained(tmp_path / "ours")
    assert ours.config.to_dict()["decoder"]["model_type"] == "gpt-sw3"
    again = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path / "ours")
    x, y = image(theirs)
    out = ours(y, decoder_input_ids=mx.array(checks.IDS)).logits
    for model in (theirs, again):
        with torch.no_grad():
            logits = model(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS)).logits
        close(out, logits)


def test_names_of_fields():
    """Hugging Face's common names stand for GPT-2's; what is only precision is kept."""
    values = {"hidden_size": 8, "num_hidden_layers": 5, "num_attention_heads": 2}
    config = GPT2Config.from_dict({**values, "reorder_and_upcast_attn": True})
    assert (config.n_embd, config.n_layer, config.n_head) == (8, 5, 2)
    assert config.to_dict()["reorder_and_upcast_attn"] is True
    assert config.shape.mlp_dims == 32
