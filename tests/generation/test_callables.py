"""Functions that callers give are checked at their border, in whatever arrays they answer."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError, TokenError
from tests.support.tiny import pixels, tiny_model

START = {"decoder_start_token_id": 0, "max_new_tokens": 3}
GREEDY = {
    "numpy": lambda scores: np.argmax(np.array(scores), axis=-1),
    "list": lambda scores: mx.argmax(scores, axis=-1).tolist(),
    "mlx": lambda scores: mx.argmax(scores, axis=-1),
    "int64": lambda scores: mx.argmax(scores, axis=-1).astype(mx.int64),
}
EMPTY, NAN = np.zeros((0,)), float("nan")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.mark.parametrize("form", GREEDY)
def test_a_sampler_in_any_array(model, form):
    plain = model.generate(pixels(), **START)
    assert model.generate(pixels(), sampler=GREEDY[form], **START).tolist() == plain.tolist()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s: mx.full((len(s),), NAN), "ids of the sampler are float32; expected"),
        (lambda s: mx.full((len(s),), 37), "the sampler gave ids outside the vocabulary"),
        (lambda s: np.full((len(s),), -1), "the sampler gave ids outside the vocabulary"),
        (lambda s: np.full((len(s),), 2**33 + 1), "the sampler gave ids outside the vocabulary"),
        (lambda s: mx.argmax(s), r"ids of the sampler are \(\); expected \(2,\)"),
        (lambda s: mx.argmax(s, axis=-1)[:1], r"ids of the sampler are \(1,\); expected \(2,\)"),
        (lambda s: None, "ids of the sampler are None"),
        (lambda s: "ab", "ids of the sampler are 'ab'"),
    ],
)
def test_a_sampler_that_gives_no_ids(model, answer, message):
    with pytest.raises((OptionError, TokenError), match=message):
        model.generate(pixels(), sampler=answer, **START)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["logits_processor", "logits_processors"])
def test_a_processor_in_any_array(model, name, beams):
    given = {"num_beams": beams, **START}
    plain = model.generate(pixels(), **given)
    for same in (lambda _, scores: np.array(scores), lambda _, scores: scores.tolist()):
        assert model.generate(pixels(), **{name: same}, **given).tolist() == plain.tolist()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["logits_processor", "logits_processors"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s: s * NAN, "{name} leave no token that may come next.*one is nan"),
        (lambda s: mx.where(mx.arange(37) == 3, NAN, s), "{name} leave no token"),
        (lambda s: s - mx.inf, "{name} leave no token that may come next: every score is -inf"),
        (lambda s: s[:, :5], "scores of {name} are .*; expected"),
        (lambda s: s[0], "scores of {name} are .*; expected"),
        (lambda s: s > 0, "scores of {name} are True and False"),
        (lambda s: None, "scores of {name} are None"),
    ],
)
def test_a_processor_that_gives_no_scores(model, answer, message, name, beams):
    with pytest.raises(OptionError, match=message.format(name=name)):
        model.generate(pixels(), **{name: lambda _, s: answer(s)}, num_beams=beams, **START)


@pytest.mark.parametrize("form", [list, np.array, mx.array, set])
def test_a_prefix_function_in_any_form(model, form):
    tokens = model.generate(pixels(), prefix_allowed_tokens_fn=lambda *_: form([5, 6]), **START)
    assert set(tokens[:, 1:].flatten().tolist()) <= {5, 6}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "gave None; expected a list of token ids"),
        (5, "gave 5; expected a list"),
        ([1.5], r"gave \[1.5\]; expected a list"),
        (["a"], r"gave \['a'\]; expected a list"),
        ([], "allows nothing for image 0"),
        (EMPTY, "allows nothing for image 0"),
        ([37], "outside the vocabulary"),
        ([-1], "outside the vocabulary"),
    ],
)
def test_a_prefix_function_that_lists_no_ids(model, answer, message):
    with pytest.raises((OptionError, TokenError), match=message):
        model.generate(pixels(), prefix_allowed_tokens_fn=lambda *_: answer, **START)


@pytest.mark.parametrize("answer", [True, np.array([True, True]), [1, 1], mx.array(True), np.True_])
def test_a_criterion_in_any_form(model, answer):
    assert model.generate(pixels(), stopping_criteria=lambda *_: answer, **START).shape == (2, 2)


@pytest.mark.parametrize("answer", [None, "x", 0.5, [True] * 3, mx.array(NAN), EMPTY])
def test_a_criterion_that_does_not_answer(model, answer):
    with pytest.raises(OptionError, match="answers of stopping_criteria are .*; expected"):
        model.generate(pixels(), stopping_criteria=lambda *_: answer, **START)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({"forced_bos_token_id": 5, "suppress_tokens": [5]}, "forced_bos_token_id, suppress_"),
        ({"suppress_tokens": [*range(37)]}, "suppress_tokens leave"),
        ({"sequence_bias": {(i,): -np.inf for i in range(37)}}, "sequence_bias leave"),
        ({"forced_eos_token_id": 2, "suppress_tokens": [2]}, "forced_eos_token_id, suppress_"),
    ],
)
def test_rules_that_leave_nothing_are_named(model, rules, named, beams):
    with pytest.raises(OptionError, match=named):
        model.generate(pixels(), **rules, num_beams=beams, **START)


def test_numbers_and_lists_of_numpy_are_options(model):
    plain = model.generate(pixels(), suppress_tokens=[4, 5], num_beams=2, **START)
    given = {**START, "num_beams": np.int64(2), "max_new_tokens": np.int32(3)}
    arrays = model.generate(pixels(), suppress_tokens=np.array([4, 5]), **given)
    assert arrays.tolist() == plain.tolist()


@pytest.mark.parametrize("bias", [{9: 50.0}, {"9": 50.0}, {(9,): 50.0}, [[9, 50.0]], [[[9], 50.0]]])
def test_a_bias_in_the_forms_of_mlx_lm_transformers_and_json(model, bias):
    tokens = model.generate(pixels(), logit_bias=bias, **START)
    assert (tokens[:, 1:] == 9).all().item()


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-12])
def test_the_coldest_draws_are_the_likeliest(model, temperature):
    plain = model.generate(pixels(), **START)
    assert model.generate(pixels(), temp=temperature, **START).tolist() == plain.tolist()
