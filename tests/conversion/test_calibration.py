"""Tuning scales: nearer to the teacher, the packed integers as they were, and never worse."""

import math
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_vedec import VisionEncoderDecoderModel, load
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.conversion.calibration import calibrate
from mlx_vedec.conversion.calibration_data import Example, batches
from mlx_vedec.conversion.student import floating
from mlx_vedec.conversion.tuning import CalibrationConfig, Tuning
from mlx_vedec.errors import OptionError
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.layers.quantization_recipes import quantizable_layers
from tests.support.tiny import pixels, tiny_model

LINES = sorted((Path(__file__).parents[1] / "data" / "lines").glob("*.png"))
IMAGES = LINES[:6]
QUICK = {"rounding": False, "iters": 3, "batch_size": 5, "learning_rate": 3e-4}
TABLE = "decoder.model.decoder.embed_tokens"
TWO = QuantizationConfig(2, recipe="uniform")
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
        model, *teacher, IMAGES, progress=lambda *counts: done.append(counts), **QUICK
    )
    return model, found, done


def test_it_comes_nearer(teacher, calibrated):
    model, found, done = calibrated
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert (found.images, found.held_out) == (5, 1)
    assert [number for number, _ in found.history] == [0, 1, 2, 3]
    assert found.after == min(kl for _, kl in found.history) < found.before
    assert found.history[found.iteration][1] == found.after
    before = divergence(student(dtype="float16").astype("float32"), *teacher, IMAGES)
    after = divergence(copy_of(model).astype("float32"), *teacher, IMAGES)
    assert after < 0.95 * before


def copy_of(model):
    copy = student(dtype="float16")
    copy.update(model.parameters())
    return copy


def test_only_scales_and_offsets_change(calibrated):
    model, before = calibrated[0], student(dtype="float16")
    own = changed(model, before)
    assert own and all(name.endswith((".scales", ".biases")) for name in own)
    assert arrays(model).keys() == arrays(before).keys()
    assert {x.dtype for x in arrays(model).values()} == {mx.uint32, mx.float16}


def test_what_is_saved_is_what_was_tuned(calibrated, tmp_path):
    calibrated[0].save_pretrained(tmp_path)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path, dtype="float16")
    assert same(calibrated[0], again)


def test_what_was_measured_is_what_the_model_does(teacher, calibrated):
    """The divergence on the image held out, with the quantized layers of the model itself."""
    model, found, _ = calibrated
    own = copy_of(model).astype("float32")
    each = [divergence(own, *teacher, [image]) for image in IMAGES]
    assert min(abs(kl - found.after) / found.after for kl in each) < 1e-3


def test_the_same_seed_gives_the_same(teacher, calibrated):
    model = student(dtype="float16")
    assert calibrate(model, *teacher, IMAGES, **QUICK) == calibrated[1]
    assert same(model, calibrated[0])


def test_vectors_are_tuned_where_asked(teacher):
    model, before = student(), student()
    calibrate(model, *teacher, LINES[:3], **{**QUICK, "iters": 1}, small=True)
    own = changed(model, before)
    vectors = {name for name, x in arrays(before).items() if x.ndim == 1}
    assert own & vectors == vectors
    assert not any(arrays(before)[name].dtype == mx.uint32 for name in own)


@pytest.mark.parametrize("rate", [10.0, 1e38])
def test_it_is_never_worse(teacher, rate):
    """Steps far too long, and such that numbers run out of range: the model is as it was."""
    model = student()
    found = calibrate(model, *teacher, LINES[:3], **{**QUICK, "learning_rate": rate})
    assert found.iteration == 0 and found.after == found.before
    assert same(model, student())


def test_rounding_that_is_worse_is_undone(teacher, monkeypatch):
    def spoil(model, *_, **__):
        leaf = model.encoder.layers[0].mlp.fc1
        leaf.update({"weight": 0 * leaf.weight, "scales": 3 * leaf.scales})

    monkeypatch.setattr("mlx_vedec.conversion.calibration.round_weights", spoil)
    model = student()
    found = calibrate(model, *teacher, LINES[:2])
    assert found.rounded > found.before == found.after
    assert same(model, student())


def test_a_failure_leaves_the_model(teacher):
    def stop(done, of):
        raise KeyboardInterrupt

    model = student().astype("float16")
    model.train()
    with pytest.raises(KeyboardInterrupt):
        calibrate(model, *teacher, LINES[:2], progress=stop, **QUICK)
    assert same(model, student().astype("float16")) and model.training


def test_other_modes_stay(teacher):
    layer = {"encoder.encoder.layer.0": {"bits": 2, "mode": "affine"}}
    settings = QuantizationConfig(mode="mxfp4", recipe="uniform", overrides=layer)
    model, before = student(settings), student(settings)
    assert calibrate(model, *teacher, LINES[:3]).rounded
    fixed = {path for path, leaf in quantizable_layers(model).items() if leaf.mode != "affine"}
    own = {name.rpartition(".")[0] for name in changed(model, before)}
    assert fixed and own and not own & fixed


# --- the step, on a tiny model


class Pictures:
    """A processor whose images are pixels."""

    def pixels(self, images):
        return mx.stack(images)


FED = (2, 5, 7, 9), (2, 11)


def examples(teacher):
    for seen, fed in zip(pixels(), FED, strict=True):
        features = teacher.encode(seen[None])
        states = teacher.decoder.decode(mx.array([fed]), teacher.memory(features))
        yield Example(seen, fed, states[0], features[0], seen.shape)


@contextmanager
def tuning(**options):
    """The tuning of a tiny model, and its examples."""
    teacher, model = tiny_model(*WIDE), tiny_model(*WIDE)
    quantize(model, QuantizationConfig(4, 32, recipe="uniform"))
    config = CalibrationConfig(**options)
    work = Tuning(model, teacher.decoder.head, Pictures(), config, [])
    with floating(model, small=config.small) as student:
        yield partial(work.loss, student), student.steps, [*examples(teacher)]


@pytest.mark.parametrize("options", [{"features": 0.0}, {"temperature": 3.0, "small": True}])
def test_the_gradient_is_that_of_finite_differences(options):
    with tuning(**options) as (loss, start, found):
        (batch,) = batches(found, Pictures(), 2)
        gradient = mx.grad(loss)(start, batch)
        norm = mx.sqrt(sum((g * g).sum() for g in gradient.values()))
        way = {name: g / norm for name, g in gradient.items()}
        width = 1e-3
        ends = [
            loss({name: x + sign * width * way[name] for name, x in start.items()}, batch)
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]).item() / (2 * width)
        assert slope == pytest.approx(norm.item(), rel=0.02)


def test_padding_does_not_count():
    """Two texts of unequal length in a batch are the two by themselves, by their tokens."""
    with tuning(features=0.0, temperature=1.0) as (loss, start, found):
        both = loss(start, next(batches(found, Pictures(), 2))).item()
        alone = [loss(start, next(batches([one], Pictures(), 1))) for one in found]
        mean = sum(x.item() * len(fed) for x, fed in zip(alone, FED, strict=True)) / 6
        assert both == pytest.approx(mean, rel=1e-5)


def test_images_of_one_size_make_a_batch():
    with tuning() as (_, _, found):
        other = found[0]._replace(image=pixels(1, 20, 16)[0], shape=(20, 16, 3))
        sizes = [b.pixels.shape[:3] for b in batches([found[0], other, found[1]], Pictures(), 2)]
        assert sizes == [(2, 16, 16), (1, 20, 16)]


# --- errors


def refused(match, model, teacher, processor, images=IMAGES, **options):
    with pytest.raises(OptionError, match=match):
        calibrate(model, teacher, processor, images, **options)


def test_what_cannot_be_tuned_is_refused(teacher):
    floats, processor = teacher
    model = student()
    refused("not quantized; quantize it", floats, floats, processor)
    refused("its own teacher", model, model, processor)
    refused("has 260 tokens, and the teacher 37", model, tiny_model(), processor)
    refused("images are 0", model, floats, processor, [])
    refused("images are 1", model, floats, processor, IMAGES[:1])
    fixed = tiny_model(*WIDE)
    quantize(fixed, QuantizationConfig(mode="mxfp8", recipe="uniform", overrides={TABLE: False}))
    refused("in mode mxfp8, which cannot", fixed, tiny_model(*WIDE), processor)


def test_nothing_to_do_is_refused():
    with pytest.raises(OptionError, match="rounding is off and iters is 0; expected at least one"):
        CalibrationConfig(rounding=False)


def test_a_model_of_nan_is_refused(teacher):
    model = student()
    model.encoder.norm.weight = model.encoder.norm.weight * math.nan
    refused("divergence from its teacher is nan", model, *teacher, IMAGES[:2])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iters", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("features", -0.5),
        ("held_out", 0.0),
        ("held_out", 1.0),
    ],
)
def test_numbers_out_of_range(name, value):
    with pytest.raises(OptionError, match=f"^{name} is .*; expected"):
        CalibrationConfig(**{name: value})
