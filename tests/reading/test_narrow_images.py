"""Checkpoints that were trained on narrower images too read no more of one than they need."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec import batch_generate, generate, load, stream_generate
from mlx_vedec.errors import ImageError
from mlx_vedec.images.line_images import on_canvas
from tests.support.tiny import pixels, tiny_model

WIDE = {"image_size": (16, 64), "patch_size": (16, 4)}


@pytest.fixture(scope="module")
def reader():
    return load()


@pytest.fixture
def encoder():
    found = tiny_model(WIDE).encoder
    found.config.extra["narrow_images"] = True
    return found


def line(text: str) -> Image.Image:
    font = ImageFont.load_default(size=28)
    picture = Image.new("L", (int(font.getlength(text)) + 20, 44), 255)
    ImageDraw.Draw(picture).text((10, 6), text, fill=0, font=font)
    return picture


@pytest.mark.parametrize("rows", [1, 2])
def test_narrow_images_have_the_positions_of_the_first_columns(rows):
    """As a model that was built for them, with the first part of each row of the table."""
    size = {**WIDE, "patch_size": (16 // rows, 4)}
    encoder = tiny_model(size).encoder
    encoder.config.extra["narrow_images"] = True
    narrow = tiny_model({**size, "image_size": (16, 24)}).encoder
    table = encoder.position_embeddings
    kept = [0, *(1 + 16 * row + column for row in range(rows) for column in range(6))]
    narrow.update({**encoder.parameters(), "position_embeddings": table[:, mx.array(kept)]})
    x = pixels(2, 16, 24)
    ours = encoder(x).last_hidden_state
    assert mx.allclose(ours, narrow(x).last_hidden_state, atol=1e-6)
    resized = encoder(x, interpolate_pos_encoding=True).last_hidden_state
    assert not mx.allclose(ours, resized, atol=1e-2)  # which is transformers' way


@pytest.mark.parametrize("size", [(16, 26), (16, 68), (8, 24)])
def test_other_images_are_refused(encoder, size):
    """Those no patch divides, wider and lower ones; and all where the config does not say so."""
    for built, given in ((encoder, size), (tiny_model(WIDE).encoder, (16, 24))):
        with pytest.raises(ImageError, match=f"image is {given[0]}×{given[1]} but this encoder"):
            built(pixels(1, *given))


@pytest.mark.parametrize("ink, width", [(1, 16), (12, 16), (13, 32), (44, 48), (61, 64), (64, 64)])
def test_blank_columns_are_left_out_by_quarters(encoder, ink, width):
    """And a patch of them stays."""
    x = np.ones((1, 16, 64, 3), np.float32)
    x[:, 3, ink - 1] = 0.5
    assert encoder.narrowed(mx.array(x)).shape == (1, 16, width, 3)
    assert tiny_model(WIDE).encoder.narrowed(mx.array(x)).shape == (1, 16, 64, 3)
    assert encoder.narrowed(mx.ones((1, 16, 64, 3))).shape == (1, 16, 16, 3)


def test_long_and_short_lines_are_read_together(reader, monkeypatch):
    """In their order, as one by one and as a stream, with boxes where the words stand."""
    model, processor = reader
    texts = ["tea", "a line that is a good deal longer than", "rice and", "more of it, and tea"] * 3
    widths, encoder = [], model.encoder
    lines = [line(text) for text in texts]
    for picture in lines[:4]:
        seen = processor.pixels([processor.on_canvas(picture)])
        widths.append(encoder.narrowed(seen).shape[2])
    assert widths == [192, 576, 192, 384]
    encode, seen = model.features, []
    monkeypatch.setattr(model, "features", lambda x: seen.append(x.shape[0]) or encode(x))
    found = [*batch_generate(model, processor, lines, batch_size=3, boxes=True)]
    assert sum(seen) == 12 and len(seen) < 8, "those of one width are looked for"
    assert [result.text for result in found] == texts
    for picture, result in zip(lines[:4], found, strict=False):
        assert result.tokens == generate(model, processor, picture).tokens
        stream = stream_generate(model, processor, picture)
        assert "".join(part.text for part in stream) == result.text
    last = found[1].boxes[-1].box
    assert found[1].boxes[-1].text == "than" and last[0] > 0.8 * lines[1].width
    box = on_canvas(lines[0], 24)[1]
    assert box[2] > lines[0].width and found[0].boxes[0].box[2] <= lines[0].width
