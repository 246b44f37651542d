"""RoBERTa and its twins behind ViT against transformers, through folders it saved."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.decoders.roberta import RobertaConfig, RobertaForCausalLM
from mlx_vedec.errors import ConfigError, TokenError
from tests.parity import decoder_checks as checks
from tests.parity.reference import BERT, check_pair, close, image, pair, torch, transformers as hf

KINDS = ("Roberta", "RobertaPreLayerNorm", "XLMRobertaXL")
STEMS = (*KINDS, "XLMRoberta", "Camembert", "Data2VecText")
CHANGES = {
    "sizes": {
        "vocab_size": 29,
        "hidden_size": 33,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "num_hidden_layers": 1,
        "max_position_embeddings": 22,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-2,
        "type_vocab_size": 1,
    },
    "same-width": {"hidden_size": 24, "num_attention_heads": 1, "hidden_act": "gelu_new"},
    "cross-width": {"hidden_size": 24, "cross_attention_hidden_size": "encoder"},
    "untied": {"tie_word_embeddings": False, "hidden_act": "quick_gelu"},
    "ids": {"pad_token_id": 3, "eos_token_id": 6, "bos_token_id": 7},
    "pad-is-zero": {"pad_token_id": 0, "bos_token_id": 1},
}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_loss_and_tokens(tmp_path, stem, tied):
    check_pair(tmp_path, checks.VIT, (stem, {"tie_word_embeddings": tied}))


@pytest.mark.parametrize("stem", KINDS)
@pytest.mark.parametrize("changes", CHANGES)
def test_fields(tmp_path, stem, changes):
    check_pair(tmp_path, checks.VIT, (stem, CHANGES[changes]))


@pytest.mark.parametrize("stem", KINDS)
def test_traces(tmp_path, stem):
    checks.check_traces(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_prompts(tmp_path, stem):
    checks.check_prompts(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_masks_padding_and_embeddings(tmp_path, stem):
    """Padding is no position, even if it is not masked; nor is it if it is."""
    checks.check_masks(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", KINDS)
def test_cached_is_uncached(tmp_path, stem):
    checks.check_cache(tmp_path, (stem, {}))


def continued(model, x, ids, pieces):
    """transformers' logits of each piece, with a cache of those before."""
    cache, logits, start = None, [], 0
    for length in pieces:
        piece = torch.from_numpy(ids[:, start : start + length])
        with torch.no_grad():
            out = model(
                pixel_values=x, decoder_input_ids=piece, past_key_values=cache, use_cache=True
            )
        cache, start = out.past_key_values, start + length
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("stem", KINDS)
@pytest.mark.parametrize("pieces", [[6], [3, 3], [1, 1, 1, 1, 1, 1], [2, 1, 3]])
def test_padding_in_what_is_cached_counts(tmp_path, stem, pieces):
    """Within a piece padding is skipped, before it counted, in transformers' way: so the pieces do
    not give what the whole does, and neither does transformers' own cache."""
    theirs, ours = pair(tmp_path, checks.VIT, (stem, {}))
    x, y = image(theirs)
    ids = np.array([[1, 2, 1, 7, 8, 9], [2, 5, 6, 1, 1, 9]])  # 1 is padding
    expected = continued(theirs, x, ids, pieces)
    cache, out, start = None, [], 0
    for length in pieces:
        piece = mx.array(ids[:, start : start + length])
        step = ours(y, decoder_input_ids=piece, past_key_values=cache, use_cache=True)
        cache, start = step.past_key_values, start + length
        out.append(step.logits)
    close(mx.concatenate(out, axis=1), expected)
    whole = ours(y, decoder_input_ids=mx.array(ids)).logits
    drift = np.abs(np.array(whole)[:, -1] - expected.numpy()[:, -1]).max()
    assert (drift > 1e-2) == (len(pieces) > 1)


@pytest.mark.parametrize("stem", KINDS)
def test_generation_that_starts_with_padding(tmp_path, stem):
    """The start token, being padding, is no position when it is fed, but one once it is cached."""
    theirs, ours = pair(tmp_path, checks.VIT, (stem, {}))
    x, y = image(theirs)
    for prompt in (None, [[1, 8, 1], [1, 9, 10]]):
        ids = {} if prompt is None else {"decoder_input_ids": torch.tensor(prompt)}
        expected = theirs.generate(
            x, decoder_start_token_id=1, max_length=20, do_sample=False, **ids
        )
        ids = {} if prompt is None else {"decoder_input_ids": mx.array(prompt)}
        tokens = ours.generate(y, decoder_start_token_id=1, max_length=20, **ids)
        assert tokens.tolist() == expected.tolist()


@pytest.mark.parametrize("stem", KINDS)
def test_embeddings_continue_a_cache(tmp_path, stem):
    """transformers 5.23 numbers embeddings that are given from the start again, whatever is cached;
    here they go on, so that pieces are the whole, which is compared with theirs."""
    theirs, ours = pair(tmp_path, checks.VIT, (stem, {}))
    x, y = image(theirs)
    embedded = np.random.default_rng(3).normal(size=(2, 5, 32)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_inputs_embeds=torch.from_numpy(embedded)).logits
    first = ours(y, decoder_inputs_embeds=mx.array(embedded[:, :2]), use_cache=True)
    rest = ours(
        y, decoder_inputs_embeds=mx.array(embedded[:, 2:]), past_key_values=first.past_key_values
    )
    close(first.logits, expected[:, :2])
    close(rest.logits, expected[:, 2:])


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, stem, tied):
    checks.check_saved(tmp_path, (stem, {"tie_word_embeddings": tied}))


@pytest.mark.parametrize("stem", KINDS)
def test_halves(tmp_path, stem):
    checks.check_halves(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", KINDS)
@pytest.mark.parametrize("pad", [0, 4])
def test_new_weights_are_spread_as_theirs(tmp_path, stem, pad):
    """Padding's rows of tokens and positions are zero."""
    changes = {"initializer_range": 0.1, "tie_word_embeddings": False, "pad_token_id": pad}
    checks.check_new_weights(tmp_path, (stem, changes))
    theirs, ours = checks.built((stem, changes))
    table = getattr(theirs, theirs.base_model_prefix).embeddings.position_embeddings.weight
    zero = [not row.any().item() for row in ours.embed_positions.weight]
    assert zero == [not row.any() for row in table.detach()] and sum(zero) == 1


@pytest.mark.parametrize("stem", KINDS)
def test_dropouts(stem):
    checks.check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("stem", STEMS)
def test_defaults(stem):
    checks.check_defaults(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_every_row_is_used(stem):
    checks.check_rows([(stem, {}), (stem, {"tie_word_embeddings": False})])


def test_names_of_older_versions(tmp_path):
    """Buffers are left out; a pooler is kept and written back."""
    pooler = mx.random.normal((32, 32))

    def rename(tensors):
        return {
            **tensors,
            "decoder.roberta.pooler.dense.weight": pooler,
            "decoder.roberta.embeddings.position_ids": mx.arange(24)[None],
            "decoder.roberta.embeddings.token_type_ids": mx.zeros((1, 24), mx.int64),
        }

    checks.check_names(tmp_path, ("Roberta", {}), rename)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "renamed")
    again.save_pretrained(tmp_path / "again")
    saved = mx.load(str(tmp_path / "again" / "model.safetensors"))
    assert mx.array_equal(saved["decoder.roberta.pooler.dense.weight"], pooler)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_head_that_differs_is_not_tied(tmp_path, name):
    theirs, _ = pair(tmp_path, decoder=("Roberta", {}))
    path = tmp_path / "model.safetensors"
    stored = dict(mx.load(str(path)))
    mx.eval(stored)
    embedding = "decoder.roberta.embeddings.word_embeddings.weight"
    source = {"weight": embedding, "bias": "decoder.lm_head.bias"}[name]
    stored[f"decoder.lm_head.decoder.{name}"] = stored[source] * 2
    mx.save_safetensors(str(path), stored, metadata={"format": "pt"})
    theirs = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS))
    close(ours(y, decoder_input_ids=mx.array(checks.IDS)).logits, expected.logits)


def test_a_pretrained_folder(tmp_path):
    """A masked language model's, which has no cross-attention."""
    config = hf.RobertaConfig(**BERT, is_decoder=True)
    theirs = hf.RobertaForMaskedLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = RobertaForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        close(ours(mx.array(checks.IDS)).logits, theirs(torch.from_numpy(checks.IDS)).logits)


def test_the_table_of_positions_ends(tmp_path):
    """24 rows, of which padding's and the one before are no positions."""
    theirs, ours = pair(tmp_path, checks.VIT, ("Roberta", {}))
    x, y = image(theirs)
    ids = mx.full((2, 22), 8)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.full((2, 22), 8)).logits
    close(ours(y, decoder_input_ids=ids).logits, expected)
    assert ours.generate(y, eos_token_id=36).shape == (2, 23)
    with pytest.raises(TokenError, match="23 tokens, but the position table ends at 22"):
        ours(y, decoder_input_ids=mx.full((2, 23), 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pad_token_id": 23}, "pad_token_id is 23; expected 0 to 22, as positions follow it"),
        ({"pad_token_id": 37}, "pad_token_id is 37; expected 0 to 36"),
        ({"num_attention_heads": 5}, "hidden_size is 32; expected a multiple of num_att"),
        ({"cross_attention_hidden_size": 24}, "is 24, but this family reads its own width, 32"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        RobertaConfig.from_dict({**BERT, **values})


def test_padding_has_to_be_named():
    with pytest.raises(ConfigError, match="pad_token_id is None; expected 0 to 22"):
        RobertaForCausalLM(RobertaConfig(**BERT, pad_token_id=None))
