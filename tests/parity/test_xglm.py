"""XGLM behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.decoders.mbart import XGLMConfig, XGLMForCausalLM
from mlx_vedec.errors import ConfigError
from tests.parity import decoder_checks as checks
from tests.parity.reference import XGLM, check_pair, close, image, pair, torch, transformers as hf

CHANGES = {
    "plain": {},
    "sizes": {
        "vocab_size": 29,
        "d_model": 33,
        "attention_heads": 3,
        "ffn_dim": 20,
        "num_layers": 1,
        "max_position_embeddings": 24,
        "activation_function": "relu",
    },
    "same-width": {"d_model": 24, "attention_heads": 1, "activation_function": "gelu_new"},
    "untied": {"tie_word_embeddings": False, "activation_function": "quick_gelu"},
    # padding's row is then that of the second, or fourth, position
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
    "late-padding": {"pad_token_id": 5, "d_model": 36},
    "unscaled": {"scale_embedding": False, "pad_token_id": 0, "activation_function": "silu"},
}
PLAIN = ("XGLM", {})


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_logits_loss_and_tokens(tmp_path, changes):
    check_pair(tmp_path, checks.VIT, ("XGLM", changes))


@pytest.mark.parametrize("changes", [{}, CHANGES["ids"]])
def test_prompts_masks_and_cache(tmp_path, changes):
    checks.check_prompts(tmp_path, ("XGLM", changes))
    checks.check_masks(tmp_path, ("XGLM", changes))
    checks.check_cache(tmp_path, ("XGLM", changes))


def test_traces(tmp_path):
    checks.check_traces(tmp_path, PLAIN)


@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, tied):
    checks.check_saved(tmp_path, ("XGLM", {"tie_word_embeddings": tied}))


def test_halves(tmp_path):
    checks.check_halves(tmp_path, PLAIN)


def test_new_weights_are_spread_as_theirs(tmp_path):
    changes = {"init_std": 0.1, "tie_word_embeddings": False, "pad_token_id": 4}
    checks.check_new_weights(tmp_path, ("XGLM", changes))


def test_dropouts():
    names = ("dropout", "attention_dropout", "activation_dropout", "layerdrop")
    checks.check_dropout(PLAIN, *names)


def test_defaults():
    checks.check_defaults("XGLM")


def test_every_row_is_used():
    checks.check_rows([("XGLM", {"tie_word_embeddings": False})])


def test_stored_sines_are_not_read(tmp_path):
    stored = {"decoder.model.embed_positions.weights": mx.ones((2, 2))}
    checks.check_names(tmp_path, PLAIN, lambda tensors: {**tensors, **stored})


def test_positions_have_no_end(tmp_path):
    """Past the configured length transformers makes its table longer; ours has none."""
    theirs, ours = pair(tmp_path, checks.VIT, ("XGLM", {"d_model": 64}))
    ids = np.random.default_rng(5).integers(0, 37, size=(1, 1500))
    x, y = image(theirs, rows=1)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(ids)).logits
    close(ours(y, decoder_input_ids=mx.array(ids)).logits, expected)


@pytest.mark.parametrize("width", [4, 7, 64])
def test_sines(width):
    """torch and numpy round some frequencies differently, which far positions multiply."""
    _, ours = checks.built(("XGLM", {"d_model": width, "attention_heads": 1, "pad_token_id": 3}))
    table = hf.models.xglm.modeling_xglm.XGLMSinusoidalPositionalEmbedding(2048, width, 3)
    for count, tolerance in ((50, 1e-5), (2048, 3e-4)):
        rows = ours.embed_positions(mx.arange(count)[None])[0]
        close(rows, table.weights[2 : 2 + count], tolerance)


@pytest.mark.parametrize("base", [True, False])
def test_a_language_model_without_an_image(tmp_path, base):
    """As published: no cross-attention, so that an image is refused by name."""
    torch.manual_seed(0)
    theirs = hf.XGLMForCausalLM(hf.XGLMConfig(**XGLM)).eval()
    (theirs.model if base else theirs).save_pretrained(tmp_path)
    ours = XGLMForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(checks.IDS)).logits
    close(ours(mx.array(checks.IDS)).logits, expected)
    with pytest.raises(ConfigError, match="set add_cross_attention=True"):
        ours(mx.array(checks.IDS), None, mx.zeros((2, 5, 32)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 30}, "d_model is 30; expected a multiple of attention_heads, 4"),
        ({"pad_token_id": 37}, "pad_token_id is 37; expected an id below vocab_size, 37"),
        ({"layerdrop": 1.0}, "layerdrop is 1.0; expected 0 or more and below 1"),
        ({"ffn_dim": 0}, "ffn_dim is 0; expected 1 to"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        XGLMConfig.from_dict({**XGLM, **values})


def test_names_of_fields():
    config = XGLMConfig.from_dict({"hidden_size": 32, "num_hidden_layers": 5})
    config.num_attention_heads = 2
    assert (config.d_model, config.num_layers, config.attention_heads) == (32, 5, 2)
