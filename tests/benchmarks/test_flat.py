"""The flat computations of `tests/benchmarks/floor.py` are the library's, which adds little."""

import io

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.generation import flow
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.generation.options import Options
from mlx_vedec.generation.sampling import Sampling
from mlx_vedec.measuring.shapes import SHAPES
from mlx_vedec.model import generate as generating
from mlx_vedec.model.config import VisionEncoderDecoderConfig
from tests.benchmarks.flat import DECODERS, Decoding, flat_encoder

DECODED = ("trocr-base", "trocr-small", "manga-ocr")
PIXELS = {"donut-base": (320, 160), "nougat-small": (224, 448)}


def small(name, layers=2):
    """A model of a shape with fewer layers and tokens."""
    encoder, decoder = SHAPES[name]()
    if name in PIXELS:
        encoder.image_size, encoder.embed_dim = PIXELS[name], 32
        encoder.depths = (2, 1, 2, 1)
    else:
        encoder.image_size, encoder.num_hidden_layers = 48, layers
    for field in ("decoder_layers", "num_hidden_layers", "n_layer"):
        if field in vars(decoder):
            setattr(decoder, field, layers)
    decoder.vocab_size = 128
    mx.random.seed(0)
    model = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    )
    model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_encoders(name):
    model = small(name)
    for images in (1, 2):
        pixels = mx.random.normal((images, *PIXELS.get(name, (48, 48)), 3))
        found = flat_encoder(model.encoder)(pixels)
        assert mx.allclose(found, model.encode(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("name", DECODED)
def test_decode_steps(name, bits):
    model = small(name)
    if bits:
        quantize(model, bits)
    assert type(model.decoder) in DECODERS
    memory = model.memory(mx.random.normal((3, 10, model.config.encoder.feature_dims)))
    flat, cache = Decoding(model.decoder, memory, 8), model.decoder.make_cache(memory)
    for token in (2, 5, 17):
        tokens = mx.array([[token], [token + 1], [3]])
        expected = model.step(tokens, cache, None)
        assert mx.allclose(flat.step(tokens), expected, rtol=1e-5, atol=1e-5)


def nodes(*outputs):
    """Operations between what is computed and these arrays."""
    return drawn(*outputs).count("shape=rectangle")


def drawn(*outputs):
    """The graph of what is not computed yet."""
    text = io.StringIO()
    mx.export_to_dot(text, *outputs)
    return text.getvalue()


@pytest.mark.parametrize("wanted", [True, False])
def test_log_probabilities_are_computed_only_where_they_are_wanted(wanted):
    search = Sampling(Options(max_length=8, eos_token_ids=(1,), pad_token_id=0), logprobs=wanted)
    logits = mx.random.normal((3, 7))
    state = search.start(mx.full((3, 1), 2), logits)
    assert ("LogSumExp" in drawn(*state.arrays())) == wanted
    expected = mx.max(logits - mx.logsumexp(logits, axis=-1, keepdims=True), axis=-1)
    decoded = [sequence for [sequence] in search.results(state, range(3))]
    assert [len(sequence.logprobs) for sequence in decoded] == [wanted] * 3
    assert [sequence.tokens for sequence in decoded] == [
        (i,) for i in mx.argmax(logits, 1).tolist()
    ]
    if wanted:
        assert [sequence.logprobs[0] for sequence in decoded] == expected.tolist()
    assert mx.array_equal(mx.max(state.logprobs, axis=-1), expected)


def test_generate_wants_no_log_probabilities(monkeypatch):
    model, wanted = small("trocr-small", 1), []

    def sampling(*args, logprobs):
        wanted.append(logprobs)
        return Sampling(*args, logprobs=logprobs)

    monkeypatch.setattr(generating, "Sampling", sampling)
    features = mx.random.normal((1, 10, model.config.encoder.feature_dims))
    assert model.generate(encoder_outputs=(features,), max_new_tokens=2).shape == (1, 3)
    assert wanted == [False]


def counted(name, layers, monkeypatch):
    """Operations of a decode step written flat, of the library's, and of a greedy one."""
    model = small(name, layers)
    features = mx.random.normal((1, 10, model.config.encoder.feature_dims))
    memory, tokens = model.memory(features), mx.array([[5]])
    mx.eval(model.parameters(), features, memory)
    decoding, cache = Decoding(model.decoder, memory, 32), model.decoder.make_cache(memory)
    mx.eval(decoding.step(tokens), model.step(tokens, cache, None))
    flat = nodes(decoding.step(tokens), *(x for layer in decoding.layers for x in layer["cache"]))
    step = nodes(model.step(tokens, cache, None), *(x for own in cache.layers for x in own.state))
    prompt, options = model.prompt(1, None, model.generation_options(max_length=32))
    run = flow.Flow(model.step)
    run.add(*model.begin(features, prompt, options))
    run.advance()
    (cohort,) = run.cohorts
    mx.eval(cohort.state.arrays(), [own.state for own in run.cache.layers])
    monkeypatch.setattr(flow.mx, "async_eval", lambda *arrays: None)
    run.advance()
    held = [x for own in run.cache.layers for x in own.state]
    return flat, step, nodes(*cohort.state.arrays(), *held)


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODED)
def test_a_step_has_few_operations_beyond_the_flat_one(name, monkeypatch):
    """A layer has eight transposed views of weights, and two of the cache which are made here."""
    flat, step, greedy = zip(
        *(counted(name, layers, monkeypatch) for layers in (1, 3)), strict=True
    )
    assert (step[1] - step[0]) - (flat[1] - flat[0]) <= 2 * (8 + 2)
    assert step[0] - flat[0] <= 10 + 14  # the head, and where the next token stands
    assert (
        greedy[0] - step[0] == greedy[1] - step[1] <= 38
    )  # the search, 6 of them whether a token is left
