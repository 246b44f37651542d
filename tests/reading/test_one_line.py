"""A crop of one line of any shape: read, evaluated and learned from alike."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.data.batches import Batches
from mlx_vedec.data.samples import Dataset
from mlx_vedec.images.line_images import is_line_shaped, on_canvas
from mlx_vedec.images.lines import find_lines
from mlx_vedec.measuring.evaluation import evaluate
from mlx_vedec.pages.reading import read_page
from mlx_vedec.reading.generate import batch_generate, generate, stream_generate
from mlx_vedec.reading.load import load

WORDS = ["tea", "rice and", "more of it"]


@pytest.fixture(scope="module")
def reader():
    return load()


def crop(text: str, size: int = 28) -> Image.Image:
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("RGB", (int(right) + 20, int(bottom) + 14), "white")
    ImageDraw.Draw(picture).text((10, 6), text, fill=0, font=font)
    return picture


def test_crops_of_every_width_are_read(reader):
    crops = [crop(text) for text in WORDS]
    aspect = reader[1].line_aspect_ratio
    assert not any(is_line_shaped(picture.size, aspect) for picture in crops)
    assert [result.text for result in batch_generate(*reader, crops)] == WORDS
    found = evaluate(
        *reader, Dataset([*zip(crops, WORDS, strict=True)]), metrics=["cer"], bootstrap=0
    )
    assert found.metrics["cer"].value == 0


def test_reading_a_page_evaluating_and_training_see_the_same_pixels(reader):
    model, processor = reader
    picture = crop(WORDS[0])
    seen = processor.on_canvas(picture)
    pixels = np.array(processor.pixels([seen]))
    assert np.array_equal(np.array(processor.pixels([picture])), pixels)
    batches = Batches([(picture, WORDS[0])], model, processor, batch_size=1)
    (batch,) = batches.epoch(0)
    assert np.array_equal(np.array(batch.pixel_values), pixels)
    shown = []
    page = read_page(model, processor, picture, layout=False, progress=shown.append)
    assert page.text == WORDS[0]
    assert shown[0].tokens == generate(model, processor, picture).tokens


def test_words_of_a_crop_stand_in_it(reader):
    picture = crop("rice and")
    left, top, right, bottom = find_lines(picture)[0]
    first, second = generate(*reader, picture, boxes=True).boxes
    for box in (first.box, second.box):
        assert 0 <= box[0] < box[2] <= picture.width and 0 <= box[1] < box[3] <= picture.height
    assert first.box[0] <= left + 12 and abs(first.box[2] - second.box[0]) < 30
    assert abs(second.box[2] - right) < 20


def test_what_is_taken_as_it_is():
    """Lines of the aspect and wider ones, blank pictures, and pages."""
    page = Image.new("RGB", (200, 200), "white")
    for top in (20, 120):
        page.paste(crop("tea"), (30, top))
    for picture in (Image.new("RGB", (384, 32)), Image.new("RGB", (900, 30)), page):
        assert on_canvas(picture, 12) == (picture, (0, 0, *picture.size))


def test_low_pictures_are_not_stretched():
    """Marks side by side, a line too faint to be found, and one that would be cut in two."""
    apart = Image.new("RGB", (60, 40), "white")
    apart.paste(0, (10, 8, 14, 16))
    apart.paste(0, (24, 8, 44, 32))
    assert len(find_lines(apart)) == 2
    faint = Image.new("RGB", (62, 18), (240, 230, 220))
    assert not find_lines(faint)
    long = crop("more of it and rice and tea")
    for picture in (apart, faint, long):
        canvas, box = on_canvas(picture, 12)
        assert is_line_shaped(canvas.size, 12)
        assert box[2] - box[0] >= picture.width - 24 and canvas.height < 3 * picture.height
    canvas, box = on_canvas(faint, 12)
    assert (canvas.size, box) == ((216, 18), (0, 0, 62, 18))
    assert canvas.getcolors() == [(216 * 18, (240, 230, 220))]
    assert on_canvas(Image.new("RGB", (300, 110)), 12)[0].size == (300, 110)


@pytest.mark.parametrize("size, said", [((200, 200), "1.0:1"), ((1200, 30), "40.0:1")])
def test_what_is_no_line_is_a_warning_everywhere(reader, size, said):
    picture = Image.new("RGB", size, "white")
    match = f"{said}, but this checkpoint reads lines.*read_page"
    with pytest.warns(UserWarning, match=match):
        generate(*reader, picture, max_new_tokens=1)
    with pytest.warns(UserWarning, match=match):
        [*stream_generate(*reader, picture, max_new_tokens=1)]
    with pytest.warns(UserWarning, match=match):
        evaluate(*reader, Dataset([(picture, "a")]), metrics=["cer"], bootstrap=0, max_new_tokens=1)
    with pytest.warns(UserWarning, match=f"{said}, but this checkpoint reads lines.*is learned"):
        [*Batches([(picture, "a")] * 3, *reader, batch_size=1, workers=0).epoch(0)]


def test_numbers_are_read_as_pictures_and_processed_as_they_are(reader):
    """What is read may be floats from 0 to 1; the processor's own call is transformers'."""
    model, processor = reader
    levels = np.asarray(crop("rice and"))
    floats = (levels / 255).astype(np.float32)
    assert generate(model, processor, floats).text == "rice and"
    assert "".join(p.text for p in stream_generate(model, processor, floats)) == "rice and"
    batch = processor(images=[floats], do_rescale=False).pixel_values
    assert np.allclose(np.array(batch), np.array(processor.pixels([levels])), atol=1 / 100)
    both = processor(images=np.stack([levels, levels])).pixel_values
    assert np.array_equal(np.array(both)[1], np.array(processor.pixels([levels]))[0])
