"""BERT, BERT-generation, ERNIE and ELECTRA behind ViT against transformers, through its folders."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders.bert import BertConfig, BertLMHeadModel, ElectraConfig
from mlx_vedec.errors import ConfigError, TokenError
from tests.parity import decoder_checks as checks
from tests.parity.reference import (
    BERT,
    check_pair,
    close,
    config_of,
    image,
    pair,
    torch,
    transformers as hf,
)

STEMS = ("Bert", "BertGeneration", "Ernie", "Electra")
CHANGES = {
    "plain": {},
    "sizes": {
        "vocab_size": 29,
        "hidden_size": 33,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "num_hidden_layers": 1,
        "max_position_embeddings": 20,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-2,
    },
    "same-width": {"hidden_size": 24, "num_attention_heads": 1, "hidden_act": "gelu_new"},
    "cross-width": {"hidden_size": 24, "cross_attention_hidden_size": "encoder"},
    "untied": {"tie_word_embeddings": False, "hidden_act": "quick_gelu"},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
}
OWN = {
    "one-type": ("Bert", {"type_vocab_size": 1}),
    "no-tasks": ("Ernie", {"use_task_id": False}),
    "one-task": ("Ernie", {"task_type_vocab_size": 1, "type_vocab_size": 1}),
    "many-types": ("Electra", {"type_vocab_size": 5}),
    "no-projection": ("Electra", {"embedding_size": 32}),
    "wider": ("Electra", {"embedding_size": 40, "tie_word_embeddings": False}),
}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", CHANGES)
def test_logits_loss_and_tokens(tmp_path, stem, changes):
    check_pair(tmp_path, checks.VIT, (stem, CHANGES[changes]))


@pytest.mark.parametrize("row", OWN)
def test_own_fields(tmp_path, row):
    check_pair(tmp_path, checks.VIT, OWN[row])


@pytest.mark.parametrize("stem", STEMS)
def test_traces(tmp_path, stem):
    checks.check_traces(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_prompts(tmp_path, stem):
    checks.check_prompts(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_masks_padding_and_embeddings(tmp_path, stem):
    """Padding counts as a position."""
    checks.check_masks(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_cached_is_uncached(tmp_path, stem):
    checks.check_cache(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("tied", [True, False])
def test_saved_folder_opens_in_transformers(tmp_path, stem, tied):
    checks.check_saved(tmp_path, (stem, {"tie_word_embeddings": tied}))


@pytest.mark.parametrize("stem", STEMS)
def test_halves(tmp_path, stem):
    checks.check_halves(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_new_weights_are_spread_as_theirs(tmp_path, stem):
    changes = {"initializer_range": 0.1, "tie_word_embeddings": False, "pad_token_id": 4}
    checks.check_new_weights(tmp_path, (stem, changes))


@pytest.mark.parametrize("stem", STEMS)
def test_dropouts(stem):
    checks.check_dropout((stem, {}), "hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("stem", STEMS)
def test_defaults(stem):
    checks.check_defaults(stem)


def test_every_row_is_used():
    untied = {"tie_word_embeddings": False}
    checks.check_rows([("Bert", {}), ("Bert", untied)])
    checks.check_rows([("Ernie", {}), ("Ernie", untied)])
    checks.check_rows([("Electra", {}), ("Electra", untied)])
    checks.check_rows([("BertGeneration", {}), ("BertGeneration", untied)])


def test_names_of_older_versions(tmp_path):
    """TensorFlow's leaf names, buffers, and the pooler, which is kept and written back."""
    pooler = mx.random.normal((32, 32))

    def rename(tensors):
        renamed = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }
        return {
            **renamed,
            "decoder.bert.pooler.dense.weight": pooler,
            "decoder.bert.embeddings.position_ids": mx.arange(24)[None],
            "decoder.bert.embeddings.token_type_ids": mx.zeros((1, 24), mx.int64),
        }

    checks.check_names(tmp_path, ("Bert", {}), rename)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "renamed")
    again.save_pretrained(tmp_path / "again")
    saved = mx.load(str(tmp_path / "again" / "model.safetensors"))
    assert mx.array_equal(saved["decoder.bert.pooler.dense.weight"], pooler)
    assert {name for name in saved if "gamma" in name or "_ids" in name} == set()


EMBED = "decoder.bert.embeddings.word_embeddings.weight"
HEAD, HEAD_BIAS = "decoder.cls.predictions.decoder.weight", "decoder.cls.predictions.decoder.bias"
BIAS = "decoder.cls.predictions.bias"


def both_copies(tensors):
    return {**tensors, HEAD: tensors[EMBED], HEAD_BIAS: tensors[BIAS]}


def copies_alone(tensors):
    kept = {name: tensor for name, tensor in tensors.items() if name not in (EMBED, BIAS)}
    return {**kept, HEAD: tensors[EMBED], HEAD_BIAS: tensors[BIAS]}


def other_matrix(tensors):
    return {**tensors, HEAD: tensors[EMBED] + 1}


def other_bias(tensors):
    return {**tensors, HEAD_BIAS: tensors[BIAS] + 1}


def both_other(tensors):
    return {**tensors, HEAD: tensors[EMBED] * 2, HEAD_BIAS: tensors[BIAS] + 1}


@pytest.mark.parametrize(
    ("change", "tied"),
    [
        (both_copies, True),
        (copies_alone, True),
        (other_matrix, False),
        (other_bias, False),
        (both_other, False),
    ],
)
def test_ties(tmp_path, change, tied):
    """What is stored twice and differs is not tied; what is stored once is, under either name."""
    theirs, _ = pair(tmp_path, decoder=("Bert", {}))
    path = tmp_path / "model.safetensors"
    stored = dict(mx.load(str(path)))
    mx.eval(stored)
    mx.save_safetensors(str(path), change(stored), metadata={"format": "pt"})
    x, y = image(theirs)
    ids = torch.from_numpy(checks.IDS)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert ours.config.decoder.tie_word_embeddings == tied
    ours.save_pretrained(tmp_path / "again")
    for folder in (tmp_path, tmp_path / "again"):
        theirs, report = hf.VisionEncoderDecoderModel.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(report.values()), report
        with torch.no_grad():
            expected = theirs(pixel_values=x, decoder_input_ids=ids).logits
        close(ours(y, decoder_input_ids=mx.array(checks.IDS)).logits, expected)


def test_an_untied_bias_under_its_older_name(tmp_path):
    """transformers up to 4 stored the bias of an untied head once, and 5.23 leaves it at zero then.

    Here it gives what the same bias gives under the name that 5.23 reads.
    """

    def rename(tensors):
        bias = tensors[HEAD_BIAS]
        return {**{k: t for k, t in tensors.items() if k != HEAD_BIAS}, BIAS: bias}

    checks.check_names(tmp_path, ("Bert", {"tie_word_embeddings": False}), rename)
    forgotten = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path / "renamed")
    assert not forgotten.decoder.cls.predictions.decoder.bias.any()


def test_a_new_untied_head_opens_in_transformers(tmp_path):
    """Its bias is written under both names."""
    _, ours = checks.built(("Bert", {"tie_word_embeddings": False}))
    ours.eval()
    ours.lm_head.bias = mx.random.normal(ours.lm_head.bias.shape)
    ours.save_pretrained(tmp_path)
    theirs, report = hf.BertLMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    memory = checks.memory_of(ours)
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(checks.IDS), encoder_hidden_states=torch.from_numpy(np.array(memory))
        )
    close(ours(mx.array(checks.IDS), None, memory).logits, expected.logits)


def text_model(stem: str, folder, **changes):
    """A random causal language model of transformers without cross-attention, saved."""
    torch.manual_seed(0)
    config = config_of((stem, {"is_decoder": True, **changes}), {stem: BERT})
    theirs = hf.AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("stem", STEMS)
def test_without_cross_attention(tmp_path, stem):
    """A decoder of text alone has none, and says so when it is given an image."""
    theirs = text_model(stem, tmp_path)
    ours = checks.DECODERS[theirs.config.model_type].from_pretrained(tmp_path)
    assert not any("cross_attn" in name for name in parameters(ours))
    ids = mx.array(checks.IDS)
    with torch.no_grad():
        close(ours(ids).logits, theirs(torch.from_numpy(checks.IDS)).logits)
    close(ours(ids, use_cache=True).logits, theirs(torch.from_numpy(checks.IDS)).logits)
    for use_cache in (False, True):
        with pytest.raises(ConfigError, match="no cross-attention.*add_cross_attention=True"):
            ours(ids, None, mx.zeros((2, 5, 32)), use_cache=use_cache)


def test_a_pretrained_folder(tmp_path):
    """The pretraining's other task is left out; buffers and names may lack the base's name."""
    config = hf.BertConfig(**BERT, is_decoder=True)
    theirs = hf.BertForPreTraining(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = BertLMHeadModel.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(checks.IDS)).prediction_logits
    close(ours(mx.array(checks.IDS)).logits, expected)


def test_a_folder_without_a_head(tmp_path):
    """A model without a task: the head is new, and named; hidden states are the model's."""
    theirs = hf.BertModel(hf.BertConfig(**BERT, is_decoder=True)).eval()
    theirs.save_pretrained(tmp_path)
    ours = BertLMHeadModel.from_pretrained(tmp_path)
    assert len(ours.new_weights) == 5 and all(name.startswith("cls.") for name in ours.new_weights)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(checks.IDS)).last_hidden_state
    close(ours.decode(mx.array(checks.IDS)), expected)


@pytest.mark.parametrize("stem", STEMS)
def test_the_table_of_positions_ends(stem):
    _, ours = checks.built((stem, {"max_position_embeddings": 7}))
    ours(mx.full((1, 7), 8))
    with pytest.raises(TokenError, match="8 tokens, but the position table ends at 7"):
        ours(mx.full((1, 8), 8))


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (BertConfig, {"hidden_size": 30}, "hidden_size is 30; expected a multiple of num_att"),
        (BertConfig, {"pad_token_id": 37}, "pad_token_id is 37; expected 0 to 36"),
        (BertConfig, {"pad_token_id": -1}, "pad_token_id is -1; expected 0 to 36"),
        (BertConfig, {"cross_attention_hidden_size": 24}, "is 24, but this family reads .* 32"),
        (BertConfig, {"hidden_dropout_prob": 1}, "hidden_dropout_prob is 1; expected 0 or more"),
        (ElectraConfig, {"embedding_size": 0}, "embedding_size is 0; expected 1 to"),
    ],
)
def test_configs_that_are_refused(config, values, message):
    with pytest.raises(ConfigError, match=message):
        config.from_dict({**BERT, **values})


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match="'gelo' is unknown"):
        BertLMHeadModel(BertConfig.from_dict({**BERT, "hidden_act": "gelo"}))
