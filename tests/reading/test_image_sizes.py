"""Images of another size than the model was built for, and processors from elsewhere."""

import json
import logging
import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import (
    ImageProcessor,
    Processor,
    VisionEncoderDecoderModel,
    batch_generate,
    generate,
    load,
)
from mlx_vedec.conversion.convert import convert
from mlx_vedec.errors import CheckpointError, ConfigError, ImageError, OptionError
from mlx_vedec.reading.generate import check_reader
from mlx_vedec.reading.image_sizes import match_images, resize_images
from tests.support.tiny import pixels, tiny_model

WIDE = {"height": 16, "width": 48}


@pytest.fixture
def folder(tmp_path):
    """A model built for 16×16, beside a processor that makes images of 16×48."""
    path = tmp_path / "wide"
    tiny_model(decoder={"vocab_size": 278}).save_pretrained(path)
    Processor(ImageProcessor(size=WIDE), load()[1].tokenizer).save_pretrained(path)
    return path


def features(model, **options):
    return np.array(model.encode(pixels(1, 16, 48), **options))


def test_positions_are_interpolated_to_the_processors_size(folder, caplog):
    with caplog.at_level(logging.WARNING, "mlx_vedec"):
        model, processor = load(folder)
    warning = [record.getMessage() for record in caplog.records]
    assert len(warning) == 1
    for part in ("16×48 (preprocessor_config.json)", "16×16 (config.json)"):
        assert part in warning[0]
    expected = features(tiny_model(decoder={"vocab_size": 278}), interpolate_pos_encoding=True)
    np.testing.assert_allclose(features(model), expected, rtol=1e-5, atol=1e-5)
    image = mx.zeros((40, 90, 3), dtype=mx.uint8)
    assert generate(model, processor, image, max_tokens=2).tokens
    with pytest.raises(ImageError, match=r"image is 8×8; expected 16×48, .* or 16×16") as error:
        model.encode(pixels(1, 8, 8))
    assert "preprocessor_config.json" in str(error.value) and "config.json" in str(error.value)
    model.encode(pixels(1, 16, 16))  # the config's own, as before


def test_a_model_and_a_processor_that_were_loaded_apart(folder, caplog):
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    processor = Processor.from_pretrained(folder)
    image = mx.zeros((40, 90, 3), dtype=mx.uint8)
    apart = generate(model, processor, image, max_tokens=2)
    [again] = batch_generate(model, processor, [image], max_tokens=2)
    together = generate(*load(folder), image, max_tokens=2)
    assert apart.tokens == again.tokens == together.tokens
    assert len(caplog.records) == 2  # one for each of the two models


def test_a_check_of_the_two_changes_nothing(folder, caplog):
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    check_reader(model, Processor.from_pretrained(folder))
    assert model.encoder.processor_size is None and not caplog.records


def test_a_processor_of_the_models_size_changes_nothing(caplog):
    model, processor = tiny_model(), Processor(ImageProcessor(size=16))
    match_images(model, processor)
    with pytest.raises(ImageError, match="was built for 16×16"):
        model.encode(pixels(1, 16, 48))
    assert not caplog.records


@pytest.mark.parametrize("size", [(16, 48), 32])
def test_a_baked_size_computes_what_interpolation_does(folder, tmp_path, size, caplog):
    height, width = size if isinstance(size, tuple) else (size, size)
    before = tiny_model(decoder={"vocab_size": 278})
    images = pixels(2, height, width)
    expected = np.array(before.encode(images, interpolate_pos_encoding=True))
    convert(folder, tmp_path / "baked", image_size=size)
    caplog.clear()
    model, processor = load(tmp_path / "baked")
    assert not caplog.records
    np.testing.assert_allclose(np.array(model.encode(images)), expected, rtol=1e-5, atol=1e-5)
    assert processor(images=mx.zeros((9, 9, 3), dtype=mx.uint8)).pixel_values.shape == (
        1,
        height,
        width,
        3,
    )
    config = json.loads((tmp_path / "baked" / "config.json").read_text())
    assert config["encoder"]["image_size"] == (size if isinstance(size, int) else list(size))


@pytest.mark.parametrize(
    "size, message",
    [
        ((18, 16), "height that 4 divides"),
        ((16, 0), "expected a positive number"),
        ((10**6, 16), "expected sides of 16384 at most"),
        ((16, 16, 16), "expected a positive number or"),
        ("x", "image_size is 'x'"),
    ],
)
def test_sizes_that_do_not_fit(size, message):
    model, processor = tiny_model(), Processor(ImageProcessor(size=16))
    with pytest.raises((ConfigError, OptionError), match=message):
        resize_images(model, processor, size)
    assert model.config.encoder.image_size == 16 and processor.image_processor.size["width"] == 16


def test_a_processor_that_goes_by_the_image_cannot_be_resized():
    model, processor = tiny_model(), Processor(ImageProcessor(size=16, do_resize=False))
    with pytest.raises(ConfigError, match="set do_resize in preprocessor_config.json"):
        resize_images(model, processor, (16, 48))
    with pytest.raises(OptionError, match="has no image processor"):
        resize_images(model, Processor(), 16)


def test_a_processor_and_a_tokenizer_in_subfolders(folder):
    for part, names in (
        ("processor", ["preprocessor_config.json"]),
        ("tokenizer", ["tokenizer.json", "tokenizer_config.json"]),
    ):
        (folder / part).mkdir()
        for name in names:
            shutil.move(folder / name, folder / part / name)
    model, processor = load(folder)
    assert processor.image_processor.size == WIDE and processor.tokenizer.eos_token_id is not None
    model, processor = load(folder.parent, subfolder=folder.name)
    assert processor.image_processor.size == WIDE and model.config.encoder.image_size == 16


def test_a_processor_from_elsewhere(folder):
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"processor=…\), --processor"):
        load(folder)
    other = folder.parent / "other"
    Processor(ImageProcessor(size=16), load()[1].tokenizer).save_pretrained(other)
    model, processor = load(folder, processor=other)
    assert processor.image_processor.size == {"height": 16, "width": 16}
    shutil.copy(other / "preprocessor_config.json", folder)
    with pytest.raises(CheckpointError, match=r"no tokenizer: .* --processor"):
        load(folder)


@pytest.mark.parametrize("subfolder", ["../wide", "/wide", "absent"])
def test_subfolders_that_are_not_there(folder, subfolder):
    with pytest.raises(CheckpointError, match="path inside|has no subfolder absent; it has wide"):
        load(folder.parent, subfolder=subfolder)
