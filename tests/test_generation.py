"""Where options come from, which wins, and the loop on a decoder made of a table."""

import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import ConfigError, OptionError
from mlx_vedec.generation.greedy import greedy
from mlx_vedec.generation.options import GenerationConfig, Options, resolve, start_token

CONFIG = {"decoder": {}, "encoder": {}}


def settle(config=None, prompt_length=1, limit=50, **given):
    config = GenerationConfig(**(config or {}))
    return resolve(config, given, prompt_length=prompt_length, limit=limit)


def test_the_call_wins_over_the_checkpoint():
    own = {"max_length": 30, "eos_token_id": 2, "pad_token_id": 1}
    assert settle(own) == Options(30, (2,), 1)
    assert settle(own, max_length=10, eos_token_id=[3, 4], pad_token_id=0) == Options(10, (3, 4), 0)
    assert settle(own, max_length=None) == Options(30, (2,), 1)


def test_length():
    assert settle().max_length == 50
    assert settle(max_new_tokens=5, prompt_length=3).max_length == 8
    assert settle(max_tokens=5, prompt_length=3).max_length == 8
    assert settle(max_new_tokens=5, max_length=3).max_length == 6
    assert settle({"max_new_tokens": 5}, max_length=9).max_length == 9
    assert settle({"max_length": 900}).max_length == 50


def test_pad_falls_back_to_the_end_token():
    assert settle({"eos_token_id": (7, 8)}).pad_token_id == 7
    assert settle({"eos_token_id": 7, "pad_token_id": 0}).pad_token_id == 0
    assert settle().eos_token_ids == () and settle().pad_token_id == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_lenght": 5}, "max_lenght is not a generation option; did you mean max_length?"),
        ({"zzz": 5}, "known are bad_words_ids, "),
        ({"max_tokens": 5, "max_new_tokens": 6}, "are the same option; give one"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; expected a whole number of at least 1"),
        ({"max_length": 2.5}, "max_length is 2.5"),
        ({"max_length": True}, "max_length is True"),
        ({"max_length": 1}, "leaves no room after a prompt of 1 tokens"),
        ({"max_new_tokens": 50}, "goes past the end of the position table, 50 tokens"),
        ({"num_beams": 4}, "num_beams=4 is asked for, but only plain greedy.*pass num_beams=1"),
        ({"do_sample": True}, "pass do_sample=False"),
    ],
)
def test_options_that_cannot_be(given, message):
    with pytest.raises(OptionError, match=message):
        settle(**given)


def test_a_checkpoint_that_asks_for_beams_is_not_decoded_greedily_in_silence():
    config = GenerationConfig.from_dict({"num_beams": 4, "no_repeat_ngram_size": 3})
    with pytest.raises(OptionError, match="num_beams=4 is set by the checkpoint"):
        resolve(config, {}, prompt_length=1, limit=50)
    given = {"num_beams": 1, "no_repeat_ngram_size": 0}
    assert resolve(config, given, prompt_length=1, limit=50).max_length == 50


def folder_with(tmp_path, values=None, config=CONFIG):
    if values is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(values))
    return GenerationConfig.from_folder(tmp_path, config)


def test_generation_config_file_is_the_only_one_asked(tmp_path):
    config = {"max_length": 99, "decoder": {"eos_token_id": 5, "decoder_start_token_id": 4}}
    found = folder_with(tmp_path, {"bos_token_id": 0, "use_cache": False}, config)
    assert (found.max_length, found.eos_token_id, start_token(found, {})) == (None, None, 0)
    assert found.to_dict()["use_cache"] is False


def test_a_start_token_named_in_config_json_alone_is_found(tmp_path):
    config = {"decoder": {"decoder_start_token_id": 4}}
    assert start_token(folder_with(tmp_path, {"eos_token_id": 1}, config), {}) == 4


def test_without_the_file_the_top_comes_before_the_decoder(tmp_path):
    decoder = {"eos_token_id": 5, "pad_token_id": 6, "max_length": 20, "decoder_start_token_id": 4}
    config = {"eos_token_id": 3, "pad_token_id": None, "decoder": decoder, "image_size": 9}
    found = folder_with(tmp_path, None, config)
    assert (found.eos_token_id, found.pad_token_id, found.max_length) == (3, 6, None)
    assert start_token(found, {}) == 4 and "image_size" not in found.to_dict()
    top = folder_with(tmp_path, None, {**config, "max_length": 20})
    assert top.max_length == 20


def test_start_token():
    config = GenerationConfig(decoder_start_token_id=4, bos_token_id=0)
    assert start_token(config, {}) == 4
    assert start_token(config, {"decoder_start_token_id": 7}) == 7
    assert start_token(config, {"bos_token_id": 7}) == 4
    assert start_token(GenerationConfig(bos_token_id=0), {"bos_token_id": 7}) == 7
    assert start_token(GenerationConfig(), {}) is None


def test_generation_config_that_is_not_json(tmp_path):
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"generation_config\.json is not JSON"):
        GenerationConfig.from_folder(tmp_path, CONFIG)


class Counter:
    """A decoder whose next token is one more than the last; counts how often it is asked."""

    def __init__(self):
        self.shapes, self.masks = [], []

    def __call__(self, tokens, cache, mask):
        self.shapes.append(tokens.shape)
        self.masks.append(None if mask is None else mask.shape)
        return mx.where(mx.arange(10)[None] == tokens[:, -1:] + 1, 2.0, 0.0)


def run(prompt, options, mask=None):
    step = Counter()
    return step, list(greedy(step, None, mx.array(prompt), options, mask))


def test_rows_end_on_their_own_and_are_padded():
    step, tokens = run([[1], [4]], Options(20, (6,), 9))
    assert [t.ids.tolist() for t in tokens] == [[2, 5], [3, 6], [4, 9], [5, 9], [6, 9]]
    assert [t.ended.tolist()[1] for t in tokens] == [False, True, True, True, True]
    logp = 2 - np.log(np.exp(2) + 9)
    np.testing.assert_allclose(tokens[1].logprob.tolist(), [logp, logp], rtol=1e-5)
    assert tokens[2].logprob.tolist()[1] == 0
    np.testing.assert_allclose(mx.exp(tokens[0].logprobs).sum(-1).tolist(), [1, 1], rtol=1e-5)


def test_no_step_is_taken_past_the_length():
    step, tokens = run([[1, 2]], Options(5, (), 0))
    assert [t.ids.tolist() for t in tokens] == [[3], [4], [5]]
    assert step.shapes == [(1, 2), (1, 1), (1, 1)]


def test_the_end_token_may_be_the_padding():
    """GPT-2's: the end token's own probability counts, what follows does not."""
    _, tokens = run([[1], [4]], Options(20, (6,), 6))
    assert [t.ids.tolist()[1] for t in tokens] == [5, 6, 6, 6, 6]
    assert tokens[1].logprob.tolist()[1] < 0 == tokens[2].logprob.tolist()[1]


def test_forced_tokens():
    """The second token and the last of the length; a row that ends before is not touched."""
    _, tokens = run([[1], [4]], Options(6, (9,), 0, forced_bos_token_id=3, forced_eos_token_id=9))
    assert [t.ids.tolist() for t in tokens] == [[3, 3], [4, 4], [5, 5], [6, 6], [9, 9]]
    assert tokens[0].logprob.tolist() == [0, 0] and tokens[-1].ended.tolist() == [True, True]
    _, tokens = run([[1], [4]], Options(6, (6,), 0, forced_eos_token_id=6))
    assert [t.ids.tolist() for t in tokens] == [[2, 5], [3, 6], [4, 0], [5, 0], [6, 0]]
    config = {"forced_eos_token_id": 5, "forced_bos_token_id": 3}
    settled = settle(config, forced_bos_token_id=7)
    assert (settled.forced_bos_token_id, settled.forced_eos_token_id) == (7, 5)


def test_the_mask_grows_with_the_tokens():
    step, _ = run([[1, 2]], Options(5, (), 0), mx.ones((1, 2)))
    assert step.masks == [(1, 2), (1, 3), (1, 4)]
