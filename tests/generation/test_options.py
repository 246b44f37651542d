"""Where options come from, which wins, and that they make sense together."""

import json

import mlx.core as mx
import pytest

from mlx_vedec.commands.generate import parser
from mlx_vedec.errors import ConfigError, OptionError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.generation.options import OPTIONS, Options, start_token
from mlx_vedec.generation.resolve import resolve
from tests.support.tiny import pixels, tiny_model

CONFIG = {"decoder": {}, "encoder": {}}


def settle(config=None, prompt_length=1, limit=50, **given):
    config = GenerationConfig.from_dict(config or {})
    return resolve(config, given, limit=limit).after(prompt_length)


def test_the_call_wins_over_the_checkpoint():
    own = {"max_length": 30, "eos_token_id": 2, "pad_token_id": 1}
    assert settle(own) == Options(30, (2,), 1)
    assert settle(own, max_length=10, eos_token_id=[3, 4], pad_token_id=0) == Options(10, (3, 4), 0)
    assert settle(own, max_length=None) == Options(30, (2,), 1)


def test_length():
    assert settle().max_length == 50
    assert settle(max_new_tokens=5, prompt_length=3).max_length == 8
    assert settle(max_tokens=5, prompt_length=3).max_length == 8
    assert settle({"max_length": 900}).max_length == 50


def test_pad_falls_back_to_the_end_token():
    assert settle({"eos_token_id": (7, 8)}).pad_token_id == 7
    assert settle({"eos_token_id": 7, "pad_token_id": 0}).pad_token_id == 0
    assert settle().eos_token_ids == () and settle().pad_token_id == 0


def test_of_two_lengths_the_nearer_source_has_its_say():
    assert settle({"max_new_tokens": 5}, max_length=9).max_length == 9
    assert settle({"max_length": 30}, max_new_tokens=5, prompt_length=3).max_length == 8
    assert settle({"max_new_tokens": 5, "max_length": 30}).max_length == 6
    assert settle({"min_length": 9}, min_new_tokens=2, prompt_length=3).min_length == 5
    assert settle({"min_new_tokens": 2}, min_length=9).min_length == 9


def test_a_config_given_with_the_call_stands_between_it_and_the_checkpoint():
    own = {"num_beams": 4, "length_penalty": 2.0, "eos_token_id": 2}
    between = GenerationConfig(num_beams=3, max_length=7)
    options = settle(own, generation_config=between)
    assert (options.num_beams, options.length_penalty, options.max_length) == (3, 2.0, 7)
    assert settle(own, generation_config={"num_beams": 3}, num_beams=2).num_beams == 2


def test_the_names_of_mlx_lm():
    assert settle(max_tokens=5).max_length == 6
    warm = settle({"do_sample": False}, temp=0.5)
    assert (warm.do_sample, warm.temperature) == (True, 0.5)
    cold = settle({"do_sample": True, "temperature": 0.5}, temp=0)
    assert (cold.do_sample, cold.temperature) == (False, 1.0)
    assert settle(logit_bias={(5,): 2.0}).sequence_bias == (((5,), 2.0),)
    assert settle(max_kv_size=8, kv_bits=4, kv_group_size=32).kv_bits == 4


def test_what_a_checkpoint_sets_for_sampling_is_idle_without_it():
    options = settle({"temperature": 0.5, "top_k": 3})
    assert not options.do_sample and options.temperature == 0.5


def test_options_of_a_checkpoint_are_settled_too():
    values = {
        "num_beams": 4,
        "no_repeat_ngram_size": 3,
        "length_penalty": 2.0,
        "early_stopping": True,
        "bad_words_ids": [[5], [6, 7]],
        "sequence_bias": [[[8, 9], -1.5]],
        "suppress_tokens": [4],
        "forced_eos_token_id": [2, 3],
        "exponential_decay_length_penalty": [5, 1.1],
        "transformers_version": "5.23.0",
        "use_cache": False,
        "num_beam_groups": 1,
    }
    options = resolve(GenerationConfig.from_dict(values), {}, limit=50, vocab_size=20)
    assert (options.num_beams, options.no_repeat_ngram_size) == (4, 3)
    assert options.bad_words_ids == ((5,), (6, 7))
    assert options.sequence_bias == (((8, 9), -1.5),)
    assert options.forced_eos_token_ids == (2, 3)
    assert options.exponential_decay_length_penalty == (5, 1.1)
    changed = options.changed()
    assert changed["early_stopping"] is True and "temperature" not in changed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_lenght": 5}, "max_lenght is not a generation option; did you mean max_length?"),
        ({"zzz": 5}, "known are bad_words_ids, "),
        ({"max_tokens": 5, "max_new_tokens": 6}, "are the same option; give one"),
        ({"max_new_tokens": 5, "max_length": 6}, "max_length and max_new_tokens are both given"),
        ({"temp": 0.5, "temperature": 0.5}, "temp and temperature are both given"),
        ({"temp": 0.5, "do_sample": True}, "temp and do_sample are both given"),
        ({"sampler": mx.argmax, "temp": 1.0}, "sampler and temp are both given"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; expected a whole number of at least 1"),
        ({"max_length": 2.5}, "max_length is 2.5"),
        ({"max_length": True}, "max_length is True"),
        ({"max_length": 1}, "leaves no room after a prompt of 1 tokens"),
        ({"min_length": 9, "max_length": 5}, "min_length=9 asks for 9 tokens.*the most is 5"),
        ({"min_new_tokens": 9, "max_new_tokens": 5}, "min_new_tokens=9 asks for 10 tokens"),
        ({"num_beams": 0}, "num_beams is 0; expected a whole number of at least 1"),
        ({"num_beams": 2, "num_return_sequences": 3}, "is more than num_beams=2; raise num_beams"),
        ({"num_return_sequences": 3}, "the same sequence 3 times; pass num_beams=3 or more"),
        ({"num_beams": 2, "sampler": mx.argmax}, "a sampler draws one token for each row"),
        ({"temperature": 0.5}, "temperature=0.5 is for sampling.*pass do_sample=True"),
        ({"top_p": 0.5, "temp": 0}, "top_p=0.5 is for sampling"),
        ({"do_sample": True, "temperature": 0.0}, "or temp=0, to decode greedily"),
        ({"do_sample": True, "top_p": 1.5}, "top_p is 1.5; expected a number from 0 to 1"),
        ({"do_sample": True, "typical_p": 0}, "typical_p is 0; expected a number above 0 to 1"),
        ({"early_stopping": "always"}, 'expected True, False or "never"'),
        ({"bad_words_ids": [5]}, "bad_words_ids is .*expected a list of lists"),
        ({"bad_words_ids": [[]]}, "none of them empty"),
        ({"sequence_bias": {(): 1.0}}, "ids or sequences of ids, each with a number"),
        ({"suppress_tokens": [1.5]}, "suppress_tokens is .*expected token ids"),
        ({"suppress_tokens": [90]}, "suppress_tokens has 90, outside the vocabulary of 60"),
        ({"bad_words_ids": [[4, -1]]}, "bad_words_ids has -1, outside"),
        ({"eos_token_id": [2, 70]}, "eos_token_id has 70, outside"),
        ({"sequence_bias": {(60,): 1.0}}, "sequence_bias has 60, outside"),
        ({"forced_bos_token_id": 61}, "forced_bos_token_id has 61, outside"),
        ({"stop_strings": "x"}, "pass tokenizer=processor.tokenizer"),
        ({"stop_strings": ""}, "stop_strings is ''; expected a text, or a list of texts"),
        ({"stop_on_repetition": "loops"}, 'True, False, "variance" or "ngram"'),
        ({"stop_on_repetition": True, "num_beams": 2}, "follows single rows"),
        ({"kv_group_size": 32}, "kv_group_size is given without kv_bits"),
        ({"kv_bits": 7}, "kv_bits is 7; expected 2, 3, 4, 5, 6 or 8"),
        ({"max_kv_size": 1}, "max_kv_size is 1; expected a whole number of at least 2"),
        ({"max_kv_size": 3, "prompt_length": 3}, "has no room beside the prompt's 3 tokens"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is asked for, but decoding here is greedy"),
        ({"generation_config": 5}, "generation_config is 5; expected a GenerationConfig"),
    ],
)
def test_options_that_cannot_be(given, message):
    given = dict(given)
    prompt_length = given.pop("prompt_length", 1)
    with pytest.raises(OptionError, match=message):
        resolve(GenerationConfig(), given, limit=50, vocab_size=60).after(prompt_length)


def test_every_option_is_checked():
    """A value of a class of its own fits nowhere."""
    for name in OPTIONS:
        with pytest.raises(OptionError, match=name):
            settle(**{name: object()})


def test_an_option_is_declared_once():
    """Its field makes the check, the place in a checkpoint's file, the documentation, the help."""
    help = parser().format_help()
    for name, option in OPTIONS.items():
        assert option.help.endswith(".") and (option.settled or name) in Options.__doc__
        assert hasattr(GenerationConfig(), name) == option.value.in_files
        flag = option.flag or name == "seed"  # a command's flag, of all that it draws
        assert (f"--{(option.alias or name).replace('_', '-')} " in help) == flag, name


def test_values_that_change_nothing_pass():
    neutral = {"guidance_scale": 1.0, "low_memory": False, "penalty_alpha": 0.0, "use_cache": False}
    assert settle(**neutral, encoder_no_repeat_ngram_size=0) == settle()
    assert settle(neutral) == settle()


def test_a_way_of_decoding_that_is_not_here_is_not_replaced_in_silence():
    config = GenerationConfig.from_dict({"penalty_alpha": 0.6})
    with pytest.raises(OptionError, match="penalty_alpha=0.6 is set by the checkpoint"):
        resolve(config, {}, limit=50)
    assert resolve(config, {"penalty_alpha": None, "top_k": None}, limit=50).num_beams == 1


def test_what_is_wrong_in_the_file_is_said_of_the_file():
    config = GenerationConfig(num_beams=0)
    with pytest.raises(OptionError, match="num_beams is 0 in the generation_config"):
        resolve(config, {}, limit=50)


def folder_with(tmp_path, values=None, config=CONFIG):
    if values is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(values))
    return GenerationConfig.from_folder(tmp_path, config)


def test_generation_config_file_is_the_only_one_asked(tmp_path):
    config = {"max_length": 99, "decoder": {"eos_token_id": 5, "decoder_start_token_id": 4}}
    found = folder_with(tmp_path, {"bos_token_id": 0, "use_cache": False}, config)
    assert (found.max_length, found.eos_token_id, start_token(found)) == (None, None, 0)
    assert found.to_dict()["use_cache"] is False


def test_a_start_token_named_in_config_json_alone_is_found(tmp_path):
    config = {"decoder": {"decoder_start_token_id": 4}}
    assert start_token(folder_with(tmp_path, {"eos_token_id": 1}, config)) == 4


def test_without_the_file_the_top_comes_before_the_decoder(tmp_path):
    decoder = {"eos_token_id": 5, "pad_token_id": 6, "max_length": 20, "decoder_start_token_id": 4}
    config = {"eos_token_id": 3, "pad_token_id": None, "decoder": decoder, "image_size": 9}
    found = folder_with(tmp_path, None, config)
    assert (found.eos_token_id, found.pad_token_id, found.max_length) == (3, 6, None)
    assert start_token(found) == 4 and "image_size" not in found.to_dict()
    top = folder_with(tmp_path, None, {**config, "max_length": 20})
    assert top.max_length == 20


def test_start_token():
    own = {"decoder_start_token_id": 4, "bos_token_id": 0}
    assert start_token(settle(own)) == start_token(GenerationConfig(**own)) == 4
    assert start_token(settle(own, decoder_start_token_id=7)) == 7
    assert start_token(settle(own, decoder_start_token_id=[7, 8])) == (7, 8)
    assert start_token(settle(own, bos_token_id=7)) == 4
    assert start_token(settle({"bos_token_id": 0}, bos_token_id=7)) == 7
    assert start_token(settle()) is None


def test_generation_config_that_is_not_json(tmp_path):
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"generation_config\.json is not JSON"):
        GenerationConfig.from_folder(tmp_path, CONFIG)


def test_a_config_survives_saving(tmp_path):
    config = GenerationConfig(num_beams=4, sequence_bias={(3, 4): 1.0}, eos_token_id=(2, 3))
    config.save(tmp_path)
    again = GenerationConfig.from_folder(tmp_path, CONFIG)
    options = resolve(again, {}, limit=9)
    assert (options.num_beams, options.eos_token_ids) == (4, (2, 3))
    assert options.sequence_bias == (((3, 4), 1.0),)


def test_a_model_says_which_options_are_in_force():
    model = tiny_model()
    model.generation_config.num_beams = 3
    options = model.generation_options(max_new_tokens=4)
    assert isinstance(options, Options) and (options.num_beams, options.max_length) == (3, 5)
    with pytest.raises(OptionError, match="outside the vocabulary of 37"):
        model.generate(pixels(), suppress_tokens=[37], decoder_start_token_id=0)
