"""Sheets of pictures with texts of any kind."""

import numpy as np
from PIL import Image, ImageFont

from mlx_vedec.images.sheets import MOST_LINES, TEXT_SIZE, drawable, sheet, wrapped


def test_a_sheet_shows_pictures_and_texts_of_any_kind():
    wide = Image.fromarray(np.zeros((40, 4000), np.uint8))
    texts = ["日本 \U0001f600", "\ud800", "line\nbreak\tand\0nul", "ע\u202eb", "", "long " * 5000]
    image = sheet([(wide, texts), (None, ["none"])])
    assert image.mode == "RGB" and image.width == 900 and image.height < 600
    above = np.asarray(image)[:26]
    assert above.min() == 0  # the picture is there, made narrower
    assert sheet([]).size == (900, 1)


def test_the_font_of_a_pillow_without_freetype():
    font = ImageFont.load_default_imagefont()
    text = drawable("日本 é\n\ud800", font)
    assert text == "?? é\\n\\ud800"
    assert "".join(wrapped(text, font, 30)) == text


def test_lines_fit_their_room():
    font = ImageFont.load_default(TEXT_SIZE)
    lines = wrapped("many words " * 99, font, 200)
    assert len(lines) == MOST_LINES and lines[-1].endswith("...")
    assert all(font.getlength(line) <= 200 for line in lines[:-1])
    assert wrapped("W", font, 1) == ["W"]
