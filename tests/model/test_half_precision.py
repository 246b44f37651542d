"""Halves of a model that overflow in half precision are computed in float32."""

import warnings

import mlx.core as mx
import pytest

from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.errors import OptionError
from tests.support.tiny import pixels, tiny_model

OPTIONS = {"decoder_start_token_id": 0, "max_new_tokens": 5, "eos_token_id": 2}


def types(half):
    return {x.dtype for x in parameters(half).values()}


def overflowing(part):
    """A model whose encoder, or decoder, has values that float16 cannot hold on their way."""
    model = tiny_model()
    mlp = getattr(model, part).layers[0].mlp
    mlp.fc1.weight = mlp.fc1.weight * 3e3
    mlp.fc2.weight = mlp.fc2.weight * 3e3
    return model


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_half_that_overflows_is_widened_once(part):
    model = overflowing(part)
    expected = model.generate(pixels(), **OPTIONS).tolist()
    model.astype("float16")
    with pytest.warns(UserWarning, match=f"the {part} overflows in half precision") as caught:
        found = model.generate(pixels(), **OPTIONS).tolist()
    assert len(caught) == 1
    assert types(getattr(model, part)) == {mx.float32}
    other = "decoder" if part == "encoder" else "encoder"
    assert types(getattr(model, other)) == {mx.float16}
    assert [row[0] for row in found] == [row[0] for row in expected]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.generate(pixels(), **OPTIONS).tolist() == found


def test_half_precision_that_holds_is_left_alone():
    model = tiny_model().astype("float16")
    model.generate(pixels(), **OPTIONS)
    assert types(model) == {mx.float16}


def test_what_is_not_finite_in_float32_either_is_an_error():
    model = tiny_model()
    with pytest.raises(OptionError, match="encoder gives values that are not finite"):
        model.generate(pixels() * mx.nan, **OPTIONS)
    with pytest.raises(OptionError, match="decoder gives values that are not finite"):
        model.generate(encoder_outputs=(mx.full((2, 17, 24), mx.nan),), **OPTIONS)
    assert types(model) == {mx.float32}
