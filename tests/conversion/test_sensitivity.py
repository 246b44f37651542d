"""Costs of single layers against models with that layer quantized; bits chosen for a size."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlx_vedec import QuantizationConfig
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.conversion import sensitivity
from mlx_vedec.conversion.sensitivity import (
    CANDIDATES,
    LayerCosts,
    Sensitivities,
    choose,
    measure,
)
from mlx_vedec.errors import ConfigError, OptionError
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.measuring.likelihoods import written
from mlx_vedec.measuring.verification import verify
from tests.measuring.test_verification import pictures, processor, small_model  # noqa: F401
from tests.support.tiny import tiny_model


@pytest.fixture(scope="module")
def measured(processor, pictures):  # noqa: F811
    """At temperature 1, which is what `verify` has."""
    model = small_model()
    steps = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sensitivity, "TEMPERATURE", 1.0)
        found = measure(
            model,
            processor,
            pictures[:3],
            candidates=(2, 4, 8),
            progress=lambda *s: steps.append(s),
        )
    assert steps[-1] == (3, 3) and steps == sorted(steps)
    ours, theirs = parameters(model), parameters(small_model())
    assert all(mx.array_equal(ours[name], theirs[name]) for name in theirs)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "encoder.layers.0.attn.q_proj",
        "encoder.layers.1.mlp.fc2",
        "decoder.layers.0.cross_attn.v_proj",
        "decoder.layers.2.mlp.fc1",
        "decoder.embed_tokens",
    ],
)
def test_costs_are_those_of_the_layer_alone(processor, pictures, measured, path):  # noqa: F811
    """`verify` says the same of a model in which nothing else is quantized."""
    name = small_model().renames.layer_on_disk(path)
    (layer,) = [layer for layer in measured.layers if layer.name == name]
    assert [*layer.costs] == [2, 4, 8]
    for bits, cost in layer.costs.items():
        overrides = {"encoder": False, "decoder": False, name: {"bits": bits}}
        alone = small_model(QuantizationConfig(4, overrides=overrides))
        found = verify(small_model(), alone, processor, pictures[:3])
        assert [x.name for x in found.layers] == [name]
        assert cost == pytest.approx(found.divergence, rel=1e-2, abs=1e-6)
        assert measured.tokens == found.tokens and measured.images == 3


@pytest.mark.slow
def test_costs_are_of_softer_distributions(processor, pictures):  # noqa: F811
    """Those of logits divided by 2."""
    model = small_model()
    (text,) = written(model, processor, pictures[:1])
    pixels = processor.pixels(pictures[:1])
    ids = mx.array([[*text.prompt, *text.tokens[:-1]]])
    found = measure(model, processor, pictures[:1], candidates=(3,))
    layer = found.layers[0]
    overrides = {"encoder": False, "decoder": False, layer.name: {"bits": 3}}
    alone = small_model(QuantizationConfig(4, overrides=overrides))
    logits = (m(pixels, ids).logits[0] / 2 for m in (model, alone))
    p, q = (np.array(nn.log_softmax(x, axis=-1)).astype(np.float64) for x in logits)
    assert layer.costs[3] == pytest.approx((np.exp(p) * (p - q)).sum() / len(p), rel=1e-2)


@pytest.mark.slow
def test_every_layer_is_measured(measured):
    assert {x.name for x in measured.layers} == {*quantize(small_model(), 4).formats}
    for layer in measured.layers:
        assert layer.costs[2] > layer.costs[8] and layer.costs[8] < 1e-3


@pytest.mark.slow
def test_sizes_are_those_of_a_model(measured):
    for target in (4.0, 6.3, 8.8):
        config = choose(measured, target)
        model = small_model()
        plan = quantize(model, config)
        bits = {name: form.bits for name, form in plan.formats.items()}
        model.astype("float16")
        assert measured.bits_per_weight(bits) == pytest.approx(bits_per_weight(model))
        assert bits_per_weight(model) <= target


def test_layers_that_no_group_divides(processor, pictures):  # noqa: F811
    """They stay floats and count as such; smaller groups where those divide."""
    model = tiny_model({"num_hidden_layers": 1}, {"vocab_size": 278, "decoder_layers": 1})
    found = measure(model, processor, pictures[:1], candidates=(4,))
    plan = quantize(model, QuantizationConfig(4, recipe="uniform"))
    assert {x.name: x.group_size for x in found.layers} == {
        name: form.group_size for name, form in plan.formats.items()
    }
    assert plan.left_out and {x.group_size for x in found.layers} == {32}
    bits = bits_per_weight(model.astype("float16"))
    assert found.bits_per_weight({x.name: 4 for x in found.layers}) == pytest.approx(bits)


def test_weights_come_back_after_a_failure(monkeypatch, processor, pictures):  # noqa: F811
    model = small_model()
    monkeypatch.setattr(sensitivity, "divergence", lambda a, b: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(model, processor, pictures[:1], candidates=(2,))
    ours, theirs = parameters(model), parameters(small_model())
    assert all(mx.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_fewer_images(processor, pictures):  # noqa: F811
    given = {"candidates": (3,), "max_images": 2}
    found = measure(small_model(), processor, pictures, **given)
    assert found.images == 2 and found == measure(
        small_model(), processor, pictures[:2], candidates=[3]
    )


def test_what_cannot_be_measured(processor, pictures):  # noqa: F811
    with pytest.raises(OptionError, match="quantized already; measure it before"):
        measure(small_model(4), processor, pictures)
    with pytest.raises(OptionError, match="there are no images to measure with"):
        measure(small_model(), processor, [])
    with pytest.raises(OptionError, match="no candidates; give bits among .2, 3, 4"):
        measure(small_model(), processor, pictures, candidates=())
    with pytest.raises(ConfigError, match="affine with bits 7"):
        measure(small_model(), processor, pictures, candidates=(7,))


# --- choosing

BITS = st.sets(st.sampled_from(CANDIDATES), min_size=1)
COST = st.floats(-1e-6, 10, allow_nan=False)


@st.composite
def sensitivities(draw):
    layers = [
        LayerCosts(
            f"layer.{number}",
            64 * draw(st.integers(1, 3000)),
            draw(st.sampled_from([32, 64])),
            {bits: draw(COST) for bits in sorted(draw(BITS))},
        )
        for number in range(draw(st.integers(1, 12)))
    ]
    return Sensitivities(tuple(layers), draw(st.integers(0, 100_000)), 64, 1, 1)


def span(found):
    """The least and the most bits per weight."""
    return tuple(
        found.bits_per_weight({x.name: best(x.costs) for x in found.layers}) for best in (min, max)
    )


def cost(found, bits):
    """The sum of the layers' costs, nats per token."""
    return sum(layer.rising[bits[layer.name]] for layer in found.layers)


def chosen(found, target):
    config = choose(found, target)
    return {
        layer.name: config.overrides.get(layer.name, {"bits": config.bits})["bits"]
        for layer in found.layers
    }


def between(draw, found):
    least, most = span(found)
    return min(max(least + draw(st.floats(0, 1)) * (most - least), least), most)


@given(st.data(), sensitivities())
@settings(max_examples=100, deadline=None)
def test_the_size_is_reached_within_a_step(data, found):
    """At most the target; and with the last step undone it would be more."""
    target = between(data.draw, found)
    bits = chosen(found, target)
    size = found.bits_per_weight(bits)
    assert size <= target
    assert all(bits[layer.name] in layer.costs for layer in found.layers)
    if bits != {layer.name: max(layer.costs) for layer in found.layers}:
        widest = max(move.saved for layer in found.layers for move in layer.moves())
        weights = sum(layer.weights for layer in found.layers) + found.others
        assert size + widest / weights > target


@given(st.data(), sensitivities())
@settings(max_examples=100, deadline=None)
def test_a_smaller_model_never_costs_less(data, found):
    low, high = sorted(between(data.draw, found) for _ in range(2))
    assert cost(found, chosen(found, low)) >= cost(found, chosen(found, high)) - 1e-9


@given(sensitivities())
def test_more_bits_never_cost_more(found):
    for layer in found.layers:
        costs = [layer.rising[bits] for bits in sorted(layer.costs)]
        assert costs == sorted(costs, reverse=True)
        assert all(layer.rising[bits] >= layer.costs[bits] for bits in layer.costs)


@given(sensitivities(), st.data())
@settings(max_examples=60, deadline=None)
def test_no_other_choice_is_smaller_and_cheaper(found, data):
    """The sizes it stops at are on the lower hull: nothing drawn at random lies below."""
    target = between(data.draw, found)
    bits = chosen(found, target)
    other = {x.name: data.draw(st.sampled_from(sorted(x.costs))) for x in found.layers}
    smaller = found.bits_per_weight(other) <= found.bits_per_weight(bits) - 1e-9
    cheaper = cost(found, other) < cost(found, bits) - 1e-9
    assert not (smaller and cheaper)


@settings(max_examples=50, deadline=None)
@given(sensitivities(), st.sampled_from([-0.5, 0.5]))
def test_sizes_out_of_reach(found, by):
    least, most = span(found)
    target = least + by if by < 0 else most + by
    with pytest.raises(OptionError, match=f"{least:.2f} are the least and {most:.2f} the most"):
        choose(found, target)


def test_slopes_never_fall():
    """Costs on a line, which rounding bends: the steps of a layer keep their order."""
    costs = {bits: 0.1 * (8 - bits) for bits in CANDIDATES}
    layer = LayerCosts("a", 64 * 333, 64, costs)
    moves = [*layer.moves()]
    assert [m.slope for m in moves] == sorted(m.slope for m in moves)
    assert [m.bits for m in moves] == sorted((m.bits for m in moves), reverse=True)


def test_ties_are_broken_the_same_way():
    costs = {2: 1.0, 4: 0.5, 8: 0.0}
    layers = [LayerCosts(name, 640, 64, costs) for name in "cab"]
    found = Sensitivities(tuple(layers), 0, 64, 1, 1)
    other = Sensitivities(tuple(layers[::-1]), 0, 64, 1, 1)
    for target in np.linspace(2.5, 8.5, 13):
        assert choose(found, target) == choose(other, target)
