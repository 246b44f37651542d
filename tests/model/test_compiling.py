"""Generation by compiled steps, against the same without; counted are the shapes that are traced."""

import copy
import gc
import pickle
import shutil
import weakref

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import batch_generate, load
from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.layers.compiled import MOST, Traces, has_compiler
from mlx_vedec.model import compiling
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

    def compiled(function, inputs=None, outputs=None):
        seen = set()

        def call(*args):
            before = signature(args)
            with pytest.MonkeyPatch.context() as patch:
                if before in seen:
                    patch.setattr(Traces, "add", lambda self: None)
                seen.add(before)
                return function(*args)

        return call

    monkeypatch.setattr(mx, "compile", compiled)


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
@pytest.mark.skipif(not has_compiler(), reason="MLX makes code for a CPU with g++, which is absent")
@pytest.mark.parametrize("way", WAYS)
def test_texts_of_compiled_code_are_the_same(model, way):
    test_compiled_texts_are_the_same(model, way)
