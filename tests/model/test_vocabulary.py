"""Other tokens for a model: rows chosen, and configs whose ids follow their tokens."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlx_vedec import LoraConfig, VisionEncoderDecoderModel, add_adapters
from mlx_vedec.decoders import DECODERS
from mlx_vedec.errors import ConfigError, OptionError
from mlx_vedec.measuring.selfcheck_models import small_model
from mlx_vedec.model.vocabulary import named_ids, replace_tokens
from tests.support.tiny import pixels, tiny_model

SOURCES = [0, 1, 2, None, 9, 8, 3, None, 36]  # of a vocabulary of 37
IDS = mx.array([[2, 9, 8, 3, 36]])
MOVED = mx.array([[2, 4, 5, 6, 8]])


def logits(model, ids):
    return model(pixels(1), decoder_input_ids=ids).logits


@pytest.mark.parametrize("tied", [True, False])
def test_tokens_take_their_rows_along(tied, tmp_path):
    model = tiny_model({}, {"tie_word_embeddings": tied})
    before = logits(model, IDS)
    replace_tokens(model, SOURCES)
    after = logits(model, MOVED)
    old = [(new, source) for new, source in enumerate(SOURCES) if source is not None]
    for new, source in old:
        assert mx.allclose(after[..., new], before[..., source], atol=1e-5)
    assert ("lm_head" in model.decoder) is not tied
    drawn = model.decoder.get_output_embeddings().weight[mx.array([3, 7])]
    assert 0.01 < mx.std(drawn).item() < 0.03
    model.save_pretrained(tmp_path)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert mx.array_equal(logits(again, MOVED), after)


@pytest.mark.parametrize("family", DECODERS)
def test_every_decoder(family):
    """Embedding, head, and biases wherever a family has them."""
    decoder = small_model(family)
    memory = mx.random.normal((1, 5, 128), key=mx.random.key(0))
    before = decoder(mx.array([[5, 30, 300]]), None, memory).logits
    sources = [0, 1, 2, 300, 30, 5, None]
    decoder.take_rows(sources)
    after = decoder(mx.array([[5, 4, 3]]), None, memory).logits
    assert after.shape == (1, 3, 7) and decoder.config.vocab_size == 7
    assert mx.allclose(after[..., :6], before[..., mx.array(sources[:6])], atol=1e-5)


def test_configs_follow_their_tokens():
    model = tiny_model()
    model.config.eos_token_id = (9, 2)
    model.config.extra = {"vocab_size": 37, "sep_token_id": 3}
    model.config.decoder.extra["forced_bos_token_id"] = 36
    options = model.generation_config
    options.decoder_start_token_id, options.pad_token_id = 9, 1
    options.suppress_tokens, options.begin_suppress_tokens = [8, 30], [31]
    options.bad_words_ids = [[9, 8], [9, 30]]
    options.sequence_bias = [[[8], -1.0], [[31], 2.0]]
    assert named_ids(model) == {0, 1, 2, 3, 9, 36}
    replace_tokens(model, SOURCES)
    assert model.config.eos_token_id == (4, 2)
    assert model.config.extra == {"vocab_size": 9, "sep_token_id": 6}
    assert model.config.decoder.extra["forced_bos_token_id"] == 8
    assert model.config.decoder.pad_token_id == 1 == model.decoder.padding
    assert (options.decoder_start_token_id, options.pad_token_id) == (4, 1)
    assert (options.suppress_tokens, options.begin_suppress_tokens) == ((5,), ())
    assert options.bad_words_ids == ((4, 5),) and options.sequence_bias == (((5,), -1.0),)
    model.generate(pixels(1), max_new_tokens=2)


def test_a_bias_by_word_and_ids_out_of_use():
    model = tiny_model()
    model.generation_config.sequence_bias = {(9,): 1.0, (30,): 2.0}
    model.config.extra["odd_token_id"] = {"of": [9]}
    model.config.decoder.bos_token_id = 50256  # a default, of another vocabulary
    replace_tokens(model, SOURCES)
    assert model.generation_config.sequence_bias == (((4,), 1.0),)
    assert model.config.extra["odd_token_id"] == {"of": [9]}
    assert model.config.decoder.bos_token_id == 50256


def test_disputed_ids_are_told_of_as_they_are_then(tmp_path):
    model = tiny_model()
    model.config.decoder_start_token_id = 8
    model.generation_config.decoder_start_token_id = 9
    model.save_pretrained(tmp_path)
    model = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    replace_tokens(model, SOURCES)
    with pytest.warns(UserWarning, match="decoder_start_token_id is 4, but 5 by config.json"):
        model.generate(pixels(1), max_new_tokens=2)


def test_padding_moves_with_its_row():
    """Marian's, which is the last token."""
    model = tiny_model({}, {"pad_token_id": 36})
    row = model.decoder.embed_tokens.weight[36]
    replace_tokens(model, SOURCES)
    assert mx.array_equal(model.decoder.embed_tokens.weight[8], row)
    assert model.decoder.padding == 8 == model.config.decoder.pad_token_id


@pytest.mark.parametrize("family", ["roberta", "xglm", "camembert"])
def test_padding_that_positions_are_counted_from_stays(family):
    model = VisionEncoderDecoderModel(
        encoder=tiny_model({"hidden_size": 128, "num_attention_heads": 2}).encoder,
        decoder=small_model(family),
    )
    with pytest.raises(ConfigError, match="would move from the id 1, from which .* counts"):
        replace_tokens(model, [0, 2, 1, *range(3, 320)])
    replace_tokens(model, [0, 1, 2, *range(319, 2, -1)])


def test_sines_that_are_counted_from_padding():
    model = tiny_model({}, {"use_learned_position_embeddings": False})
    with pytest.raises(ConfigError, match="from which trocr counts positions"):
        replace_tokens(model, [1, 0, 2])


def test_a_bias_that_is_stored_twice(tmp_path):
    """RoBERTa's head, where it is not tied: a file has its bias under a second name."""
    model = VisionEncoderDecoderModel(
        encoder=tiny_model({"hidden_size": 128, "num_attention_heads": 2}).encoder,
        decoder=small_model("roberta"),
    )
    model.decoder.untie()
    model.save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    tensors = dict(mx.load(path))
    copy, own = "decoder.lm_head.bias", "decoder.lm_head.decoder.bias"
    mx.eval(tensors)
    mx.save_safetensors(path, {**tensors, copy: tensors[own]}, {"format": "pt"})
    for change in (lambda m: m.resize_token_embeddings(325), lambda m: replace_tokens(m, SOURCES)):
        model = VisionEncoderDecoderModel.from_pretrained(tmp_path)
        change(model)
        model.save_pretrained(tmp_path / "other")
        again = mx.load(str(tmp_path / "other" / "model.safetensors"))
        assert again[copy].shape == again[own].shape == (model.config.decoder.vocab_size,)
        assert mx.array_equal(again[copy], again[own])


def quantized_head():
    model = tiny_model({}, {"tie_word_embeddings": False, "d_model": 64})
    model.decoder.lm_head = model.decoder.lm_head.to_quantized(group_size=64, bits=4)
    return model


def test_what_cannot_be_changed():
    with pytest.raises(ConfigError, match="configs name the token 0, which the new vocabulary"):
        replace_tokens(tiny_model(), [1, 2])
    model = tiny_model()
    add_adapters(model, LoraConfig(rank=2))
    with pytest.raises(OptionError, match="before its vocabulary is changed"):
        replace_tokens(model, SOURCES)
    for change in (lambda m: m.resize_token_embeddings(40), lambda m: replace_tokens(m, SOURCES)):
        with pytest.raises(ConfigError, match="the head is quantized; dequantize the model"):
            change(quantized_head())


def test_half_precision_stays():
    model = tiny_model().astype("float16")
    replace_tokens(model, SOURCES)
    assert model.decoder.embed_tokens.weight.dtype == mx.float16
