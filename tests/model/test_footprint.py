"""What memory is taken: less than the bound, none that stays, and at loading little more than the
weights."""

import gc
import weakref
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import batch_generate, load
from mlx_vedec.encoders import ENCODERS, windows
from mlx_vedec.encoders.windows import in_pieces
from mlx_vedec.errors import OptionError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.layers import cpu
from mlx_vedec.measuring.shapes import SHAPES, random_model, shape_config
from mlx_vedec.model import footprint
from mlx_vedec.model.footprint import check_fits, estimate_memory, fitting_batch_size
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel
from mlx_vedec.reading import image_queue as batching
from tests.support.tiny import tiny_config, tiny_model

WIDE = {"hidden_size": 96, "num_attention_heads": 4, "num_hidden_layers": 3, "patch_size": 16}
SWIN = {"embed_dim": 32, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "window_size": 7}
STAGES = {
    "swin": SWIN,
    "donut-swin": SWIN,
    "swinv2": {**SWIN, "pretrained_window_sizes": (0,) * 3},
    "hiera": {"embed_dim": 32, "depths": (1, 2, 3, 1)},
}


def peak(work) -> int:
    """Bytes that MLX holds at most for some work, on top of what is there before."""
    gc.collect()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    result = work()
    mx.eval(result)
    return mx.get_peak_memory() - before


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 224])
@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_takes_at_most_the_bound_and_not_much_less(kind, images, size, monkeypatch):
    """On one core; how many arrays are under way at once depends on the machine's other work."""
    monkeypatch.setattr(cpu, "cores", lambda: 1)
    family = ENCODERS[kind]
    encoder = family(family.config_class(**STAGES.get(kind, WIDE), image_size=size))
    encoder.eval()
    mx.eval(encoder.parameters())
    model = tiny_model()
    model.encoder, model.config.encoder = encoder, encoder.config
    bound = estimate_memory(model, batch_size=images).encoder
    taken = peak(lambda: encoder(mx.random.normal((images, size, size, 3))).last_hidden_state)
    assert taken <= bound <= 2.5 * taken


@pytest.mark.slow
def test_large_maps_are_worked_on_in_pieces(monkeypatch):
    """Bit by bit the same values, with less memory; whole in training, where dropouts are drawn."""
    config = ENCODERS["donut-swin"].config_class(**SWIN, image_size=112)
    encoder = ENCODERS["donut-swin"](config)
    encoder.eval()
    pixels = mx.random.normal((2, 224, 300, 3))  # large beside what is under way
    mx.eval(encoder.parameters(), pixels)
    taken, found = [], []
    with cpu.plain():
        for size in (1 << 30, 1 << 12):
            monkeypatch.setattr(windows, "PIECE", size)
            found.append(encoder(pixels).last_hidden_state)
            taken.append(peak(lambda: encoder(pixels).last_hidden_state))
    assert mx.allclose(*found, rtol=1e-5, atol=1e-6)
    assert taken[1] < 0.6 * taken[0]
    rows = []
    in_pieces(lambda x: rows.append(len(x[0])) or x, mx.zeros((2, 10, 1 << 8)))
    assert rows == [2] * 5


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"num_beams": 4}, {"kv_bits": 8}, {"max_kv_size": 8}])
@pytest.mark.parametrize("images", [1, 8])
@pytest.mark.parametrize("shape", ["trocr", "donut-base", "vit-gpt2", "manga-ocr"])
def test_decoding_takes_at_most_the_bound(shape, images, options):
    model = decoders(shape)
    mx.eval(model.parameters())
    width = model.config.encoder.feature_dims
    found = estimate_memory(model, batch_size=images, max_length=40, **options)
    features = mx.random.normal((images, model.encoder.grid(64, 64).features, width))
    mx.eval(features)
    taken = peak(lambda: model.generate(encoder_outputs=(features,), max_length=40, **options))
    assert taken <= found.decoding - found.weights


def decoders(shape: str) -> VisionEncoderDecoderModel:
    """Decoders of a shape, narrow and of two layers, behind a small ViT."""
    if shape == "trocr":  # heads of 32, which can be quantized
        wide = {"d_model": 64, "decoder_attention_heads": 2, "max_position_embeddings": 64}
        return ready(tiny_config({"image_size": 64}, {"vocab_size": 4000, **wide}))
    decoder = shape_config(shape).decoder
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"n_embd": 64, "n_layer": 2, "n_head": 2, "d_model": 64, "decoder_layers": 2}
    small |= {"decoder_attention_heads": 2, "decoder_ffn_dim": 128, "intermediate_size": 128}
    small |= {"vocab_size": 4000}
    kept = {name: value for name, value in small.items() if name in vars(decoder)}
    config = tiny_config({"image_size": 64})
    config.decoder = replace(decoder, **kept)
    return ready(config)


def ready(config) -> VisionEncoderDecoderModel:
    """A model that never ends a text by itself."""
    model = VisionEncoderDecoderModel(config)
    model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
    model.eval()
    return model


@pytest.mark.parametrize("options", [{}, {"kv_bits": 4}, {"max_kv_size": 8}])
@pytest.mark.parametrize("beams", [1, 4])
def test_caches_are_counted_to_the_byte(options, beams):
    model = decoders("donut-base")
    features = mx.zeros((2, model.encoder.grid(64, 64).features, 24))
    settings = {"bits": options.get("kv_bits"), "max_size": options.get("max_kv_size")}
    cache = model.decoder.make_cache(model.memory(features), 2 * beams, **settings)
    model.step(mx.ones((2 * beams, 40), mx.int32), cache, None)
    found = estimate_memory(model, batch_size=2, num_beams=beams, max_length=40, **options)
    assert found.image_cache == cache.memory_nbytes
    assert found.own_cache == cache.nbytes - cache.memory_nbytes


@pytest.mark.parametrize("name", SHAPES)
def test_an_estimate_of_a_config_allocates_nothing(name):
    before = mx.get_active_memory()
    config = shape_config(name)
    found = estimate_memory(config, batch_size=16, num_beams=4)
    assert mx.get_active_memory() - before < 2 << 20
    smaller = estimate_memory(config, dtype="float16", quantize=4, max_length=32, kv_bits=8)
    assert all(b <= a for a, b in zip(vars(found).values(), vars(smaller).values(), strict=True))
    assert smaller.weights < found.weights / 4
    assert str(found).startswith(f"{found.total / 1e6:,.0f} MB: weights")


def test_weights_are_counted_as_they_are_held():
    model = random_model("trocr-small")
    found = estimate_memory(model, max_length=40)
    held = sum(x.nbytes for x in footprint.parameters(model).values())
    assert found.weights == held == estimate_memory(model.config, max_length=40).weights
    assert estimate_memory(model, dtype="float16").weights == held // 2
    packed = estimate_memory(model, quantize=8).weights
    footprint.quantize_model(model, 8)
    assert packed == estimate_memory(model).weights
    with pytest.raises(OptionError, match="quantized, which stays"):
        estimate_memory(model, dtype="float16")


def test_what_does_not_fit_is_refused_and_batches_are_made_to_fit(monkeypatch):
    model = tiny_model()
    sizes = {n: estimate_memory(model, batch_size=n).total for n in (1, 4, 8)}
    monkeypatch.setattr(footprint, "device_memory", lambda: sizes[8] - 1)
    assert fitting_batch_size(model) == 4
    assert fitting_batch_size(model, 3) == 2
    check_fits(estimate_memory(model, batch_size=4))
    with pytest.raises(OptionError, match="up to .* MB: weights .*; take fewer images"):
        check_fits(estimate_memory(model, batch_size=8))
    monkeypatch.setattr(footprint, "device_memory", lambda: sizes[1] - 1)
    with pytest.raises(OptionError, match="the device has"):
        fitting_batch_size(model)


def test_more_images_than_usual_are_taken_only_where_they_take_little(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(footprint, "device_memory", lambda: 10**15)
    assert fitting_batch_size(model) == 64
    beside = estimate_memory(model, batch_size=64)
    monkeypatch.setattr(footprint, "SPARE", beside.total - beside.weights - 1)
    assert fitting_batch_size(model) == 32
    monkeypatch.setattr(footprint, "SPARE", 0)
    assert fitting_batch_size(model) == 16


def test_an_encoder_of_no_size_needs_one():
    model = tiny_model()
    del model.config.encoder.__dict__["image_size"]
    type(model.config.encoder).image_size, kept = None, type(model.config.encoder).image_size
    try:
        with pytest.raises(OptionError, match="give image_size"):
            estimate_memory(model)
        assert estimate_memory(model, image_size=16).encoder > 0
    finally:
        type(model.config.encoder).image_size = kept


def test_the_device_has_some_memory(monkeypatch):
    assert footprint.device_memory() > 1 << 28
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 5})
    assert footprint.device_memory() == 5


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_loading_takes_a_tenth_more_than_the_weights(tmp_path, stored):
    """Widening on the CPU too, of which both copies are there for one tensor at a time."""
    model = tiny_model(
        {"hidden_size": 240, "num_attention_heads": 4, "num_hidden_layers": 6},
        {"d_model": 256, "decoder_layers": 6, "decoder_ffn_dim": 512, "vocab_size": 500},
    )
    model.astype(stored).save_pretrained(tmp_path)
    del model
    kept = []
    taken = peak(lambda: kept.append(VisionEncoderDecoderModel.from_pretrained(tmp_path)) or [])
    held = sum(x.nbytes for x in footprint.parameters(kept[0]).values())
    assert held > 20e6
    assert held <= taken <= 1.1 * held


@pytest.mark.slow
def test_a_thousand_images_leave_nothing():
    """Rows join and leave all the time, and what is held after each hundred is the same."""
    model, processor, images = lines(1000)
    held, caches = [], weakref.WeakSet()
    begin = model.begin
    model.begin = lambda *a, **k: (lambda found: caches.add(found[1]) or found)(begin(*a, **k))
    options = {"max_length": 8, "do_sample": True, "batch_size": 8}
    for number, result in enumerate(batch_generate(model, processor, images, **options)):
        assert result.error is None
        if number % 100 == 99:
            gc.collect()
            mx.clear_cache()
            held.append(mx.get_active_memory())
            assert len(caches) <= 2
    assert max(held[1:]) - min(held[1:]) < 1 << 20
    assert len(held) == 10
    del model.begin
    gc.collect()
    assert not caches


def lines(count):
    """A tiny model whose texts end early or late, the bundled processor, and noise for images."""
    _, processor = load()
    model = tiny_model({"image_size": (32, 768), "patch_size": 32}, {"vocab_size": 278})
    model.generation_config = GenerationConfig(
        decoder_start_token_id=1, eos_token_id=2, pad_token_id=0
    )
    draws = np.random.default_rng(0)
    images = (draws.integers(0, 255, (32, 768, 3), np.uint8) for _ in range(count))
    return model, processor, images


def test_buffers_that_nobody_uses_are_given_back(monkeypatch):
    model, processor, images = lines(12)
    cleared, clear = [], mx.clear_cache
    monkeypatch.setattr(mx, "clear_cache", lambda: cleared.append(1) or clear())
    monkeypatch.setattr(batching, "IDLE", -1)
    list(batch_generate(model, processor, images, batch_size=4, max_length=4))
    assert len(cleared) >= 3


def test_a_batch_is_as_large_as_memory_allows(monkeypatch):
    model, processor, images = lines(10)
    bound = estimate_memory(model, batch_size=4, max_length=6, num_beams=2).total
    monkeypatch.setattr(footprint, "device_memory", lambda: bound)
    started, begin = [], model.begin
    model.begin = lambda features, *a, **k: (
        started.append(len(features)) or begin(features, *a, **k)
    )
    options = {"batch_size": None, "max_length": 6, "num_beams": 2}
    assert len(list(batch_generate(model, processor, images, **options))) == 10
    assert max(started) == 4


def test_nothing_of_the_encoder_is_left_but_its_features():
    """What its layers computed is freed before the first token is decoded."""
    model = tiny_model()
    size = model.config.encoder.image_size
    pixels = mx.zeros((8, *((size, size) if isinstance(size, int) else size), 3))
    mx.eval(model.parameters(), pixels)
    gc.collect()
    mx.clear_cache()  # buffers of other tests would be taken, which are larger than needed
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    features = model.features(pixels)
    mx.eval(features)
    held, peak = mx.get_active_memory() - before, mx.get_peak_memory() - before
    assert held <= features.nbytes + 4096 < peak
