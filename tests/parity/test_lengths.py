"""Texts to the end of the position table, whose last token is never fed, against transformers."""

from __future__ import annotations

import warnings

import mlx.core as mx
import pytest

from mlx_vedec.errors import OptionError
from tests.parity.reference import (
    generate_both,
    image,
    lively_pair,
    one_thread,
    same_generation,
    torch,
)

LIMIT = 20  # the tokens that have a position
WAYS = {"greedy": {}, "beams": {"num_beams": 3, "length_penalty": 2.0}}
UNENDING = {"eos_token_id": [], "pad_token_id": 1}


@pytest.fixture(autouse=True, scope="module")
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return lively_pair(tmp_path_factory.mktemp("lengths"), seed=2)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("prompt", [1, 3, LIMIT])
def test_the_last_token_is_not_fed(pair, prompt, options):
    """As many tokens as have a position, and one more; also where the file asks for that."""
    given = {"prompt": [([2] + [5, 7] * 10)[:prompt]] * 3}
    _, y = image(pair[0], 3)
    for length in ({"max_length": LIMIT + 1}, {"max_new_tokens": LIMIT + 1 - prompt}):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            out, expected = generate_both(pair, eos_token_id=[31], **given, **length, **options)
        assert not [w for w in said if "position table" in str(w.message)]
        same_generation(out, expected)
        ids = mx.array(given["prompt"])
        pair[1].generation_config.max_length = LIMIT + 1
        same = {"decoder_input_ids": ids, "eos_token_id": [31], **options}
        assert pair[1].generate(y, **same).tolist() == out.sequences.tolist()
        pair[1].generation_config.max_length = None
        assert pair[1].generate(y, **same).tolist() == out.sequences.tolist()


def test_samples_to_the_end(pair):
    """One likely token only, so that both draw the same; past that length transformers fails."""
    options = {"do_sample": True, "top_k": 1, "eos_token_id": 31, "forced_eos_token_id": 9}
    torch.manual_seed(0)
    out, expected = generate_both(pair, max_length=LIMIT + 1, **options)
    assert out.sequences.tolist() == expected.sequences.tolist()
    with pytest.raises(IndexError):
        pair[0].generate(image(pair[0], 3)[0], max_length=LIMIT + 2, eos_token_id=31)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("source", ["call", "file"])
def test_a_length_past_the_end_is_a_bound(pair, source, options):
    """The text is that of the greatest length there is, and one warning says so."""
    ours = pair[1]
    _, y = image(pair[0], 3)
    expected = ours.generate(y, eos_token_id=[31], **options)
    for name, value in (("max_length", 512), ("max_new_tokens", 512), ("max_length", LIMIT + 2)):
        call = {name: value} if source == "call" else {}
        if source == "file":
            setattr(ours.generation_config, name, value)
        with pytest.warns(UserWarning, match=f"{name}={value} asks.* end at 21") as said:
            found = ours.generate(y, eos_token_id=[31], **call, **options)
        setattr(ours.generation_config, name, None)
        assert len(said) == 1 and found.tolist() == expected.tolist()


def test_a_least_length_above_the_greatest(pair):
    """An error where the call gave both; else a warning, and no end before the greatest length."""
    ours = pair[1]
    _, y = image(pair[0], 3)
    for both in ({"min_length": 9, "max_length": 8}, {"min_new_tokens": 9, "max_new_tokens": 8}):
        with pytest.raises(OptionError, match="but the most is [89]; lower it, or raise max"):
            ours.generate(y, **both)
        (low, least), (high, most) = both.items()
        for filed, call in ((low, {high: most}), (high, {low: least})):
            setattr(ours.generation_config, filed, both[filed])
            with pytest.warns(UserWarning, match=f"{low}={least} asks for .* the most is"):
                found = ours.generate(y, eos_token_id=[31], **call)
            setattr(ours.generation_config, filed, None)
            assert found.shape[1] == most + (high == "max_new_tokens")
            assert not (found[:, : most - 1] == 31).any()
    with pytest.warns(UserWarning, match="min_length=30 asks for 30 tokens.*the most is 21"):
        assert ours.generate(y, eos_token_id=[31], min_length=30).shape[1] == LIMIT + 1
    with pytest.warns(UserWarning) as said:
        ours.generate(y, eos_token_id=[31], min_new_tokens=40, max_new_tokens=512)
    assert len(said) == 2


def test_sines_without_end_go_on(tmp_path):
    """No table bounds what is asked for; transformers can go so far where it keeps no cache."""
    pair = lively_pair(tmp_path, decoder=("TrOCR", {"use_learned_position_embeddings": False}))
    options = {"eos_token_id": [31], "max_length": 2 * LIMIT, "use_cache": False}
    out, expected = generate_both(pair, **options, suppress_tokens=[1, 31])  # padding has no place
    same_generation(out, expected)
    assert out.sequences.shape[1] == 2 * LIMIT
