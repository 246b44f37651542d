"""Values of wrong types end in our errors, whatever public function of the model gets them."""

import mlx.core as mx
import numpy as np
import pytest

import mlx_vedec
from mlx_vedec import errors
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.generation.options import OPTIONS
from mlx_vedec.model.footprint import estimate_memory
from mlx_vedec.text.error_rates import metric
from mlx_vedec.text.tokenizer import Tokenizer
from tests.support.tiny import pixels, tiny_config, tiny_model

OURS = tuple(kind for kind in vars(errors).values() if str(kind).endswith("Error'>"))
WRONG = [
    *(None, 5, -1, 2**63, 1.5, float("nan"), True, "x", "\ud800", b"x", (), [], {}, {"a": 1}, [[]]),
    *(
        object(),
        lambda *given: None,
        [1, "x"],
        [None],
        np.zeros((0,)),
        np.array(["x"]),
        np.ones((2, 3), complex),
    ),
    *(mx.zeros((2, 2)), mx.zeros((1, 4, 4, 4)), mx.array([[99, -7]]), [[1, 2], [3]], [2**70]),
]
IDS = mx.array([[0, 4, 5], [0, 6, 7]])
START = {"decoder_start_token_id": 0, "max_new_tokens": 2}
MODEL_ARGUMENTS = (
    *("pixel_values", "decoder_input_ids", "decoder_attention_mask", "encoder_outputs"),
    *("past_key_values", "decoder_inputs_embeds", "labels", "decoder_position_ids"),
)


def traceback_of(call, value) -> str:
    """The error that a call with a value ends in, unless it is ours, or none."""
    try:
        found = call(value)
        if isinstance(found, mx.array):
            mx.eval(found)
    except OURS as error:
        return "" if 0 < len(str(error)) < 1000 else f"{value!r}: a message of {len(str(error))}"
    except Exception as error:
        return f"{value!r}: {type(error).__name__}: {str(error)[:200]}"
    return ""


def tracebacks(calls) -> list[str]:
    """All that calls, by name, end in with wrong values."""
    found = [(name, traceback_of(call, value)) for name, call in calls for value in WRONG]
    return [f"{name}: {said}" for name, said in found if said]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def calls(model):
    both = {"pixel_values": pixels(), "decoder_input_ids": IDS}
    for name in MODEL_ARGUMENTS:
        yield name, lambda value, name=name: model(**{**both, name: value}).logits
    for name in ("pixel_values", "decoder_input_ids", "decoder_attention_mask", "encoder_outputs"):
        given = {"pixel_values": pixels(), **START}
        yield f"generate {name}", lambda v, n=name, g=given: model.generate(**{**g, n: v})
    decoder, features = model.decoder, mx.zeros((2, 5, 24))
    yield "encoder", lambda v: model.encoder(v).last_hidden_state
    yield "encode", model.encode
    yield "decoder", lambda v: decoder(v, encoder_hidden_states=mx.zeros((2, 5, 32))).logits
    yield "memory", lambda v: decoder(IDS, encoder_hidden_states=v).logits
    yield "mask", lambda v: decoder(IDS, None, mx.zeros((2, 5, 32)), v).logits
    yield "shifted", model.prepare_decoder_input_ids_from_labels
    yield "scores", lambda v: model.compute_transition_scores(IDS, v)
    yield "sequences", lambda v: model.compute_transition_scores(v, (mx.zeros((2, 37)),))
    yield "beams", lambda v: model.compute_transition_scores(IDS, (mx.zeros((2, 37)),), v)
    yield "resize", lambda v: tiny_model().resize_token_embeddings(v)
    yield "input embeddings", lambda v: model.set_input_embeddings(v)
    yield "output embeddings", lambda v: model.set_output_embeddings(v)
    yield "features", lambda v: model.generate(encoder_outputs=(v,), **START)
    yield "start", lambda v: model.generate(encoder_outputs=features, **{**START, "temp": v})


def test_arguments_of_the_model(model):
    """Arrays of the wrong kind never reach MLX, whose own errors name no argument."""
    assert not tracebacks(calls(model))


def test_options_of_the_model(model):
    given = {"encoder_outputs": model.encode(pixels(1)), **START}
    named = {
        name: lambda value, name=name: model.generate(**{**given, name: value}) for name in OPTIONS
    }
    assert not tracebacks(named.items())


FUNCTIONS = {
    "GenerationConfig.from_dict": lambda v: GenerationConfig.from_dict(v),
    "config": lambda v: mlx_vedec.VisionEncoderDecoderConfig(encoder=v),
    "config of both": mlx_vedec.VisionEncoderDecoderConfig.from_dict,
    "config from folder": mlx_vedec.VisionEncoderDecoderConfig.from_pretrained,
    "encoder config": mlx_vedec.ViTConfig.from_dict,
    "parts": lambda v: mlx_vedec.VisionEncoderDecoderConfig.from_encoder_decoder_configs(v, v),
    "model": mlx_vedec.VisionEncoderDecoderModel,
    "from_pretrained": mlx_vedec.VisionEncoderDecoderModel.from_pretrained,
    "assembled": lambda v: mlx_vedec.VisionEncoderDecoderModel.from_encoder_decoder_pretrained(
        v, v
    ),
    "encoder alone": mlx_vedec.ViTModel,
    "decoder alone": mlx_vedec.TrOCRForCausalLM,
    "bytes": lambda v: estimate_memory(v),
    "batch": lambda v: estimate_memory(tiny_config(), batch_size=v),
    "beams": lambda v: estimate_memory(tiny_config(), num_beams=v),
    "length": lambda v: estimate_memory(tiny_config(), max_length=v),
    "size": lambda v: estimate_memory(tiny_config(), image_size=v),
    "dtype": lambda v: estimate_memory(tiny_config(), dtype=v),
    "quantize": lambda v: estimate_memory(tiny_config(), quantize=v),
    "kv_bits": lambda v: estimate_memory(tiny_config(), kv_bits=v),
    "max_kv_size": lambda v: estimate_memory(tiny_config(), max_kv_size=v),
    "metric": lambda v: metric("cer", v, v),
    "metric's name": lambda v: metric(v, ["a"], ["a"]),
    "normalization": lambda v: mlx_vedec.Normalization(unicode=v),
    "Tokenizer.from_pretrained": Tokenizer.from_pretrained,
}


def test_functions():
    assert not tracebacks(FUNCTIONS.items())
