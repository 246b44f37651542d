"""Attentions and hidden states of every step and layer of `generate`, against transformers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.parity.reference import close, generate_both, image, lively_pair, one_thread

FIELDS = (
    *("encoder_attentions", "encoder_hidden_states"),
    *("decoder_attentions", "cross_attentions", "decoder_hidden_states"),
)
WAYS = {
    "greedy": {"eos_token_id": [7, 34]},
    "prompt": {"prompt": [[1, 2, 5], [2, 7, 8], [2, 9, 9]], "mask": [[0, 1, 1], [1] * 3, [1] * 3]},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": [7, 34]},
    "samples": {"do_sample": True, "top_k": 1, "num_return_sequences": 2},
}
DECODERS = ("TrOCR", "Bert", "GPT2")


@pytest.fixture(autouse=True, scope="module")
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module", params=DECODERS)
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return lively_pair(folder, decoder=(request.param, {}), seed=2)


def nested(value):
    """The arrays of a tuple of tuples, in their order, and how it is nested."""
    if isinstance(value, tuple):
        parts = [nested(part) for part in value]
        return [x for arrays, _ in parts for x in arrays], [kind for _, kind in parts]
    return [value], tuple(value.shape)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_every_step_and_layer(pair, options):
    asked = {"output_attentions": True, "output_hidden_states": True}
    given = {"eos_token_id": [34], "pad_token_id": 0, "max_length": 9, **options}
    pair[0].set_attn_implementation("eager")  # the one that gives attentions
    out, expected = generate_both(pair, **given, **asked)
    assert out.sequences.tolist() == expected.sequences.tolist()
    for name in FIELDS:
        (found, kinds), (wanted, shapes) = nested(out[name]), nested(getattr(expected, name))
        assert kinds == shapes, name
        for ours, theirs in zip(found, wanted, strict=True):
            close(ours, theirs)


def test_only_what_is_asked_for(pair):
    _, y = image(pair[0], 2)
    ours = pair[1]
    tokens = ours.generate(y, output_attentions=True, max_length=6)
    dicts = {"return_dict_in_generate": True, "max_length": 6}
    plain, states = (ours.generate(y, **dicts, output_hidden_states=asked) for asked in (0, 1))
    assert np.array_equal(tokens, plain.sequences) and np.array_equal(tokens, states.sequences)
    assert all(plain[name] is None for name in FIELDS)
    assert [n for n in FIELDS if states[n]] == ["encoder_hidden_states", "decoder_hidden_states"]
