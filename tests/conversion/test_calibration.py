"""Calibration: nearer to the teacher on images held out, never worse, and what may not change."""

import math
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import VisionEncoderDecoderModel, load
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.conversion.calibration import calibrate
from mlx_vedec.errors import OptionError
from mlx_vedec.layers.packed import Quantized
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.layers.quantization_recipes import quantizable_layers
from tests.support.tiny import tiny_model

LINES = sorted((Path(__file__).parents[1] / "data" / "lines").glob("*.png"))
IMAGES = LINES[:6]
TABLE = "decoder.model.decoder.embed_tokens"
TWO = QuantizationConfig(2, recipe="uniform", decoder_bits=None)  # half of the layers
WIDE = (
    {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128},
    {
        "d_model": 64,
        "decoder_ffn_dim": 128,
    },
)


@pytest.fixture(scope="module")
def teacher():
    return load()


def student(settings=TWO, dtype="float32"):
    model, _ = load()
    quantize(model, settings)
    return model.astype(dtype)


def arrays(model):
    return dict(tree_flatten(model.parameters()))


def same(model, other):
    ours, theirs = arrays(model), arrays(other)
    return ours.keys() == theirs.keys() and all(
        ours[n].dtype == theirs[n].dtype and mx.array_equal(ours[n], theirs[n]) for n in ours
    )


def changed(model, other):
    ours, theirs = arrays(model), arrays(other)
    return {name for name in ours if not mx.array_equal(ours[name], theirs[name])}


def divergence(model, teacher, processor, images):
    """Written apart from the package's: of the quantized model itself, an image at a time."""
    total, tokens = 0.0, 0
    for image in images:
        seen = processor.pixels([image])
        ids = teacher.generate(seen)
        p, q = (mx.softmax(m(seen, ids[:, :-1]).logits, axis=-1) for m in (teacher, model))
        total += (p * mx.log(p / q)).sum().item()
        tokens += ids.shape[1] - 1
    return total / tokens


@pytest.fixture(scope="module")
def calibrated(teacher):
    model, done = student(dtype="float16"), []
    found = calibrate(
        model, *teacher, IMAGES, batch_size=5, progress=lambda *counts: done.append(counts)
    )
    return model, found, done


@pytest.mark.slow
def test_it_comes_nearer(teacher, calibrated):
    model, found, done = calibrated
    layers = sum(isinstance(layer, Quantized) for layer in quantizable_layers(model).values())
    assert done == [(number + 1, layers) for number in range(layers)]
    assert (found.images, found.held_out) == (5, 1)
    assert found.after == found.rounded < found.before
    before = divergence(student(dtype="float16").astype("float32"), *teacher, IMAGES)
    assert divergence(copy_of(model).astype("float32"), *teacher, IMAGES) < 0.5 * before


def copy_of(model):
    copy = student(dtype="float16")
    copy.update(model.parameters())
    return copy


@pytest.mark.slow
def test_only_quantized_layers_change(calibrated):
    model, before = calibrated[0], student(dtype="float16")
    own = changed(model, before)
    assert own and all(name.rpartition(".")[0] in quantizable_layers(model) for name in own)
    assert not any(name.endswith(".bias") for name in own)
    assert {n: (x.shape, x.dtype) for n, x in arrays(model).items()} == {
        n: (x.shape, x.dtype) for n, x in arrays(before).items()
    }


@pytest.mark.slow
def test_what_is_saved_is_what_was_calibrated(calibrated, tmp_path):
    calibrated[0].save_pretrained(tmp_path)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype="float16")
    assert same(calibrated[0], again)


@pytest.mark.slow
def test_what_was_measured_is_what_the_model_does(teacher, calibrated):
    """The divergence on the image held out, with the quantized layers of the model itself."""
    model, found, _ = calibrated
    own = copy_of(model).astype("float32")
    each = [divergence(own, *teacher, [image]) for image in IMAGES]
    assert min(abs(kl - found.after) / found.after for kl in each) < 1e-2  # of small numbers


@pytest.mark.slow
def test_the_same_seed_gives_the_same(teacher, calibrated):
    model = student(dtype="float16")
    assert calibrate(model, *teacher, IMAGES, batch_size=5) == calibrated[1]
    assert same(model, calibrated[0])


def spoil(model, *_, **__):
    leaf = model.encoder.layers[0].mlp.fc1
    leaf.update({"weight": 0 * leaf.weight, "scales": 3 * leaf.scales})


@pytest.mark.slow
def test_rounding_that_is_worse_is_undone(teacher, monkeypatch):
    monkeypatch.setattr("mlx_vedec.conversion.calibration.round_weights", spoil)
    model = student()
    found = calibrate(model, *teacher, LINES[:2])
    assert found.rounded > found.before == found.after
    assert same(model, student())


def test_a_failure_leaves_the_model(teacher, monkeypatch):
    """Where the rounding breaks off half done, as Ctrl-C would."""

    def stop(model, *_, **__):
        spoil(model)
        raise KeyboardInterrupt

    monkeypatch.setattr("mlx_vedec.conversion.calibration.round_weights", stop)
    model = student().astype("float16")
    model.train()
    with pytest.raises(KeyboardInterrupt):
        calibrate(model, *teacher, LINES[:2])
    assert same(model, student().astype("float16")) and model.training


@pytest.mark.slow
def test_other_modes_stay(teacher):
    layer = {"encoder.encoder.layer.0": {"bits": 2, "mode": "affine"}}
    settings = QuantizationConfig(mode="mxfp4", recipe="uniform", overrides=layer)
    model, before = student(settings), student(settings)
    assert calibrate(model, *teacher, LINES[:3]).rounded
    fixed = {path for path, leaf in quantizable_layers(model).items() if leaf.mode != "affine"}
    own = {name.rpartition(".")[0] for name in changed(model, before)}
    assert fixed and own and not own & fixed


# --- errors


def refused(match, model, teacher, processor, images=IMAGES, **options):
    with pytest.raises(OptionError, match=match):
        calibrate(model, teacher, processor, images, **options)


def test_what_cannot_be_calibrated_is_refused(teacher):
    floats, processor = teacher
    model = student()
    refused("not quantized; quantize it", floats, floats, processor)
    refused("its own teacher", model, model, processor)
    refused("has 278 tokens, and the teacher 37", model, tiny_model(), processor)
    refused("images are 0", model, floats, processor, [])
    refused("images are 1", model, floats, processor, IMAGES[:1])
    fixed = tiny_model(*WIDE)
    quantize(fixed, QuantizationConfig(mode="mxfp8", recipe="uniform", overrides={TABLE: False}))
    refused("in mode mxfp8, which cannot", fixed, tiny_model(*WIDE), processor)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_model_of_nan_is_refused(teacher, part):
    model = student()
    last = model.encoder.norm if part == "encoder" else model.decoder.layers[-1].mlp_norm
    last.weight = last.weight * math.nan
    refused("divergence from its teacher is nan|values that are not finite", model, *teacher)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("held_out", 0), ("held_out", 1.0)])
def test_numbers_out_of_range(teacher, name, value):
    refused(f"^{name} is {value}; expected", student(), *teacher, **{name: value})
