"""Generation by compiled steps against the same without, and how many shapes are traced."""

import copy
import gc
import pickle
import shutil
import weakref

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import batch_generate, load, stream_generate
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.decoders.step import CompiledStep
from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.generation import compiled as searching
from mlx_vedec.layers import compiled
from mlx_vedec.layers.compiled import Traces, has_compiler
from mlx_vedec.model import compiling
from tests.conftest import DATA
from tests.support.tiny import pixels, tiny_model

START = {"decoder_start_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
WAYS = {
    "greedy": {},
    "with an end": {"eos_token_id": [3, 5, 9, 11]},
    "sampling": {"do_sample": True, "top_k": 9, "top_p": 0.9, "temperature": 1.5},
    "sequences": {"do_sample": True, "num_return_sequences": 3, "min_p": 0.01},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beams that end": {"num_beams": 4, "eos_token_id": [3, 5, 9], "early_stopping": True},
    "beams that hope": {"num_beams": 2, "early_stopping": "never", "length_penalty": 2.0},
    "drawn beams": {"num_beams": 3, "do_sample": True},
    "a window": {"max_kv_size": 4},
    "8 bits": {"kv_bits": 8, "num_beams": 2},
    "rules": {
        "no_repeat_ngram_size": 2,
        "repetition_penalty": 1.4,
        "min_length": 6,
        "bad_words_ids": [[7], [4, 8]],
        "sequence_bias": [[[6], 0.5]],
        "forced_eos_token_id": 3,
        "forced_bos_token_id": 8,
        "exponential_decay_length_penalty": (3, 1.2),
        "suppress_tokens": [10],
        "renormalize_logits": True,
    },
    "rules with beams": {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "loops": {"stop_on_repetition": True},
    "a clock": {"max_time": 1000.0},
    "a mask": {"decoder_attention_mask": [[0, 1, 1], [1, 1, 1], [1, 1, 1]]},
}


def generated(model, rows=3, **options):
    """The tokens (N, L) of images with prompts."""
    mx.random.seed(7)
    prompt = [[2, 5, 6], [2, 7, 8], [2, 9, 4]][:rows]
    given = {**START, "max_length": 39, **options}
    if "decoder_attention_mask" in given:
        given["decoder_attention_mask"] = mx.array(given["decoder_attention_mask"])
    return model.generate(pixels(rows), decoder_input_ids=mx.array(prompt), **given).tolist()


def small():
    return tiny_model(
        decoder={"d_model": 64, "decoder_attention_heads": 2, "max_position_embeddings": 40}
    )


@pytest.fixture(scope="module")
def model():
    return small()


def signature(args):
    """What MLX compiles a function for: the shapes and types of arrays, and all else as it is."""
    leaves = tree_flatten(args, is_leaf=lambda x: not isinstance(x, (list, tuple, dict)))
    return tuple(
        (name, x.shape, x.dtype) if isinstance(x, mx.array) else (name, x) for name, x in leaves
    )


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch, request):
    """Functions that are called again each time, and traced for each signature once.

    MLX itself calls a C++ compiler on a CPU, seconds of work.
    """
    if request.node.get_closest_marker("slow"):
        return

    def compile_(function, inputs=None, outputs=None):
        seen = set()

        def call(*args):
            before = signature(args)
            with pytest.MonkeyPatch.context() as patch:
                if before in seen:
                    patch.setattr(Traces, "add", lambda self: None)
                seen.add(before)
                return function(*args)

        return call

    monkeypatch.setattr(mx, "compile", compile_)


@pytest.mark.parametrize("way", WAYS)
def test_compiled_texts_are_the_same(model, way):
    """Of at most two sizes of buffers, so of few shapes, and none is new the second time."""
    before = model._compiling.traces
    plain, texts = (generated(model, compile=on, **WAYS[way]) for on in (False, True))
    assert texts == plain
    made = model._compiling.traces - before
    assert 0 < made <= 6
    generated(model, compile=True, **WAYS[way])
    assert model._compiling.traces == before + made


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="MLX makes code for a CPU with g++")
@pytest.mark.parametrize("way", ["sampling", "beams", "rules"])
def test_texts_of_compiled_code_are_the_same(model, way):
    test_compiled_texts_are_the_same(model, way)


@pytest.mark.slow
def test_a_batch_that_empties_and_fills_takes_few_shapes():
    """Lines that end leave places to others, or stay until few enough go on."""
    lines = sorted((DATA / "lines").glob("seen_*.png"))[:12] * 2
    bundled, processor = load()
    shared = {"batch_size": 6, "num_beams": 2}
    plain = [r.tokens for r in batch_generate(bundled, processor, lines, **shared, compile=False)]
    found = [r.tokens for r in batch_generate(bundled, processor, lines, **shared, compile=True)]
    assert found == plain and len({len(tokens) for tokens in found}) > 5
    assert bundled._compiling.traces < 24


@pytest.mark.parametrize("beams", [1, 3])
def test_streams_are_the_same(beams):
    line = DATA / "lines" / "seen_006.png"
    model, processor = load()
    plain, found = (
        [
            (response.text, response.token)
            for response in stream_generate(model, processor, line, compile=on, num_beams=beams)
        ]
        for on in (False, True)
    )
    assert found == plain and len(plain) > 5
    assert model._compiling.traces > 0


def test_weights_that_change_are_read_and_modules_that_change_are_traced_anew():
    model = small()
    first = generated(model, compile=True)
    traces = model._compiling.traces
    model.decoder.embed_positions.weight = model.decoder.embed_positions.weight * -1
    second = generated(model, compile=True)
    assert second == generated(model) != first and model._compiling.traces == traces
    quantize(model, 4)
    third = generated(model, compile=True)
    assert third == generated(model) != second and model._compiling.traces > 0


def test_copies_compile_their_own():
    model = small()
    expected = generated(model, compile=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._compiling is not model._compiling
        assert generated(other, compile=True) == expected


def test_compiled_steps_hold_no_model():
    model = small()
    for _ in range(2):
        generated(model, compile=True)
    gone = weakref.ref(model.decoder.layers[0]), weakref.ref(model._compiling)
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_a_search_over_many_scores_stays_outside_on_a_cpu(model, monkeypatch):
    before = model._compiling.searches.traces.made
    for most, grows in ((3 * 37 - 1, False), (3 * 37, True)):
        monkeypatch.setattr(searching, "MOST_SCORES", most)
        options = {"suppress_tokens": [4, 30]}
        assert generated(model, compile=True, **options) == generated(model, **options)
        assert (model._compiling.searches.traces.made > before) == grows


def test_too_many_shapes_are_forgotten(model, monkeypatch):
    monkeypatch.setattr(compiled, "MOST", 2)
    for rows in (1, 2, 3, 1, 2):
        assert generated(model, rows, compile=True) == generated(model, rows)
        assert model._compiling._step.traces.kept <= 4


def test_on_a_cpu_a_model_is_compiled_when_it_pays(monkeypatch, capfd):
    """After many steps, and where there is a compiler; else nothing is, and nothing is said."""
    monkeypatch.setattr(compiling, "PAYS", 50)
    for there in (False, True):
        model = small()
        monkeypatch.setattr(compiling, "has_compiler", lambda there=there: there)
        assert generated(model) == generated(model, compile=False)
        assert model._compiling.steps > 50
        assert (generated(model), model._compiling.traces > 0) == (generated(model), there)
        before = model._compiling.traces
        generated(model, rows=1, compile=False)
        assert model._compiling.traces == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("found", "fails"), [(None, False), ("/usr/bin/g++", True)])
def test_a_compiler_that_does_not_work_is_none(monkeypatch, found, fails):
    def compile_(function):
        assert fails
        raise RuntimeError("[Compile::eval_cpu] Failed to compile function")

    monkeypatch.setattr(shutil, "which", lambda name: found)
    monkeypatch.setattr(mx, "compile", compile_)
    assert not has_compiler.__wrapped__()


def test_on_a_gpu_it_pays_at_once(monkeypatch):
    monkeypatch.setattr(compiling, "on_gpu", lambda: True)
    model = small()
    assert generated(model) == generated(model, compile=False)
    assert model._compiling.traces > 0


def test_functions_stay_outside_of_what_is_compiled(monkeypatch):
    """The decoder's step is compiled, the rest is not; asked for by name, it is an error."""
    monkeypatch.setattr(compiling, "on_gpu", lambda: True)
    for name, value in {
        "logits_processor": lambda tokens, scores: scores - tokens[:, -1:],
        "logits_processors": lambda tokens, logits: logits + (tokens.size % 3),
        "prefix_allowed_tokens_fn": lambda image, tokens: range(4, 9),
        "sampler": lambda logprobs: mx.argmin(logprobs, axis=-1),
        "stopping_criteria": lambda tokens, scores: tokens[:, -1] == 5,
    }.items():
        options = {name: value if name in ("sampler", "prefix_allowed_tokens_fn") else [value]}
        model = small()
        assert generated(model, **options) == generated(model, compile=False, **options)
        assert model._compiling.searches.traces.made == 0 < model._compiling.traces
        with pytest.raises(OptionError, match=f"compile=True with {name}: functions of Python"):
            generated(model, compile=True, **options)


@pytest.mark.parametrize("beams", [1, 3])
def test_draws_by_a_seed_stay_outside_of_what_is_compiled(beams):
    model, options = small(), {"do_sample": True, "seed": 5, "num_beams": beams}
    assert generated(model, compile=True, **options) == generated(model, compile=False, **options)
    assert model._compiling.searches.traces.made == 0 < model._compiling.traces


def test_what_cannot_be_compiled_is_said(model):
    with pytest.raises(OptionError, match="compile=True with output_attentions"):
        generated(model, compile=True, return_dict_in_generate=True, output_attentions=True)
    with pytest.raises(OptionError, match="compile is 'yes'; expected True or False"):
        generated(model, compile="yes")
    try:
        with pytest.raises(OptionError, match=r"in training; call model.eval\(\) before"):
            generated(model.train(), compile=True)
    finally:
        model.eval()


def test_scores_come_with_compiled_steps(model):
    asked = {"return_dict_in_generate": True, "output_scores": True, "max_length": 9}
    given = {**START, "decoder_input_ids": mx.array([[2, 5]] * 2), **asked}
    plain, found = (model.generate(pixels(), compile=on, **given) for on in (False, True))
    assert len(found.scores) == len(plain.scores) > 2
    for ours, expected in zip(found.scores, plain.scores, strict=True):
        assert mx.allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_no_step_past_the_positions(model):
    """It is an error, and the cache stays as it was."""
    memory = model.memory(model.encode(pixels(1)))
    cache = model.decoder.make_cache(memory)
    step = CompiledStep(model.decoder)
    step.decoder.decode(mx.array([[5] * 39]), cache=cache)
    step(mx.array([[6]]), cache)
    before = [mx.array(part) for layer in cache.layers for part in layer.state]
    with pytest.raises(TokenError, match="41 tokens, but the position table ends at 40"):
        step(mx.array([[7]]), cache)
    after = [part for layer in cache.layers for part in layer.state]
    assert cache.length == 40
    assert all(mx.array_equal(a, b) for a, b in zip(before, after, strict=True))
