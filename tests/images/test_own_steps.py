"""Image steps of TexTeller, nougat-latex and texify, beside computations from their numbers."""

import numpy as np
import pytest
from PIL import Image

from mlx_vedec import (
    ImageProcessor,
    NougatImageProcessor,
    NougatLatexImageProcessor,
    TexifyImageProcessor,
    TexTellerImageProcessor,
)
from mlx_vedec.errors import ConfigError, ImageError, OptionError
from mlx_vedec.images.image_processors import OWN_KINDS, OWN_STEPS

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZES = [(300, 40), (40, 300), (100, 100), (900, 700), (1400, 90), (3, 2), (61, 112)]


def formula(width: int, height: int, paper=(250, 240, 230), seed=0) -> Image.Image:
    """Blots of ink on paper of a colour, with faint spots in its border."""
    r = np.random.default_rng(seed)
    values = np.full((height, width, 3), paper, dtype=np.uint8)
    top, left = height // 4, width // 3
    inside = values[top : height - top or None, left : width - left or None]
    ink = r.random(inside.shape[:2]) < 0.3
    inside[ink] = r.integers(0, 120, (ink.sum(), 3))
    values[0, 1 % width] -= 9  # no more than the border may differ
    return Image.fromarray(values)


def texteller(picture: Image.Image) -> np.ndarray:
    """By its numbers: OpenCV's grey of the difference above 15, torchvision's grey, 447 and 448."""
    values = np.asarray(picture).astype(int)
    corners = [tuple(values[y, x]) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    paper = max(corners, key=lambda corner: (corners.count(corner), -corners.index(corner)))
    away = (np.abs(values - paper) * [3735, 19235, 9798]).sum(-1) + 2**14 >> 15  # BGR of RGB
    rows, columns = (np.flatnonzero((away > 15).any(axis)) for axis in (1, 0))
    if len(rows):
        values = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grey = ((values * [2989, 5870, 1140]).sum(-1) // 10000).astype(np.uint8)
    short, long = sorted(grey.shape)
    new_short, new_long = 447, int(447 * long / short)
    if new_long > 448:
        new_short, new_long = int(448 * new_short / new_long), 448
    height, width = grey.shape
    size = (new_short, new_long) if width <= height else (new_long, new_short)
    resized = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    pixels = np.zeros((448, 448, 1))
    pixels[: size[1], : size[0], 0] = (resized / 255 - 0.9545467) / 0.15394445
    return pixels


def nougat_latex(picture: Image.Image) -> np.ndarray:
    """A picture lower than 112 at the left of black 224x560, others fitted in and centred."""
    width, height = picture.size
    if height < 112:
        wide = max(1, int(width / height * 112))
        size = (wide, 112) if wide <= 560 else (560, max(1, int(560 / width * height)))
        canvas = Image.new("RGB", (560, 224))
        canvas.paste(picture.resize(size), (0, (224 - size[1]) // 2))
        return normalised(canvas)
    lower = Image.Resampling.BILINEAR
    size = (224, 224 * height // width) if width <= height else (224 * width // height, 224)
    image = picture.resize(size, lower)
    if image.height > 224 or image.width > 560:
        tall = image.height > image.width
        fitted = (224 * image.width // image.height, 224) if tall else (560, 0)
        if not tall:
            fitted = 560, 560 * image.height // image.width
        image = image.resize(fitted, Image.Resampling.BICUBIC, reducing_gap=2.0)
    canvas = Image.new("RGB", (560, 224))
    canvas.paste(image, ((560 - image.width) // 2, (224 - image.height) // 2))
    return normalised(canvas)


def texify(picture: Image.Image) -> np.ndarray:
    """As large as 420x420 holds, in the middle of white."""
    scale = min(420 / picture.width, 420 / picture.height)
    size = min(int(picture.width * scale), 420), min(int(picture.height * scale), 420)
    canvas = Image.new("RGB", (420, 420), "white")
    canvas.paste(
        picture.resize(size, Image.Resampling.BILINEAR),
        ((420 - size[0]) // 2, (420 - size[1]) // 2),
    )
    return normalised(canvas)


def normalised(image: Image.Image) -> np.ndarray:
    mean, deviation = IMAGENET
    return (np.asarray(image) / 255 - mean) / deviation


REFERENCES = {"texteller": texteller, "nougat-latex": nougat_latex, "texify": texify}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OWN_STEPS)
def test_pixels_are_those_of_the_published_numbers(name, size):
    picture = formula(*size)
    [pixels] = OWN_STEPS[name]()([picture])
    np.testing.assert_allclose(pixels, REFERENCES[name](picture), atol=2e-5)
    assert pixels.shape[:2] == OWN_STEPS[name]().made_size


def test_texteller_trims_by_the_commonest_corner():
    picture = formula(200, 80, paper=(20, 30, 40), seed=1)  # dark paper: ink differs from it
    picture.putpixel((0, 0), (255, 255, 255))  # one corner of another colour is no background
    [pixels] = TexTellerImageProcessor()([picture])
    np.testing.assert_allclose(pixels, texteller(picture), atol=2e-5)
    blank = Image.new("RGB", (60, 30), (9, 9, 9))
    geometry = TexTellerImageProcessor().geometry(blank)
    assert geometry.to_original((0, 0, 448, 224)) == (0, 0, 60, 30)  # all of it is kept
    marked = Image.new("RGB", (200, 100), "white")
    marked.paste((0, 0, 0), (50, 20, 130, 60))
    assert TexTellerImageProcessor().geometry(marked).to_original((0, 0, 448, 223))[:2] == (50, 20)
    with pytest.raises(ImageError, match="does not say where its border is"):
        TexTellerImageProcessor().geometry((200, 100))


def test_what_their_files_say_selects_them():
    stale = {"size": [896, 672], "max_size": {"height": 896}, "image_mean": [0.5] * 3}
    for names in (
        {"image_processor_type": "VariableDonutImageProcessor"},
        {
            "image_processor_type": "DonutImageProcessor",
            "processor_class": "VariableDonutProcessor",
        },
    ):
        told = ImageProcessor.from_dict({**names, **stale, "resample": 3})
        assert told == TexifyImageProcessor(resample=3)  # texify replaces the rest at each start
    file = {"image_processor_type": "NougatLaTexProcessor", "size": [96, 240], "resample": 3}
    expected = NougatLatexImageProcessor(size=[96, 240], resample=3)  # type: ignore[arg-type]
    assert ImageProcessor.from_dict(file) == expected
    assert ImageProcessor.from_dict({**file, "image_processor_type": "NougatImageProcessor"}) == (
        NougatImageProcessor(size=[96, 240], resample=3)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", OWN_STEPS)
def test_they_are_saved_under_names_of_ours(name, tmp_path):
    processor = ImageProcessor.of_own_steps(name, {"image_mean": [0.1, 0.2, 0.3], "resample": 3})
    processor.save_pretrained(tmp_path)
    assert ImageProcessor.from_pretrained(tmp_path) == processor
    assert ImageProcessor.from_pretrained(tmp_path, image_steps=name) == processor


def test_a_folder_without_a_file_is_told_by_name(tmp_path):
    told = ImageProcessor.from_pretrained(tmp_path, image_steps="texteller")
    assert told == TexTellerImageProcessor()
    with pytest.raises(OptionError, match="image_steps is 'tex'; expected one of texteller, nou"):
        ImageProcessor.from_pretrained(tmp_path, image_steps="tex")
    with pytest.raises(OptionError, match="image_steps is 3; expected one of"):
        ImageProcessor.from_pretrained(tmp_path, image_steps=3)  # type: ignore[arg-type]


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="make a square"):
        TexTellerImageProcessor(size={"height": 96, "width": 400})
    with pytest.raises(ConfigError, match="image_mean has 3 numbers; expected 1"):
        TexTellerImageProcessor(image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))
    with pytest.raises(ImageError, match="resized image is 420x0"):
        TexifyImageProcessor()([Image.new("RGB", (4000, 3))])


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_arrays_are_seen_as_pictures(kind):
    picture = formula(90, 30)
    for values in (np.asarray(picture), np.asarray(picture, dtype=np.int64)):
        assert np.array_equal(kind()([values]), kind()([picture]))


def test_a_nougat_processor_says_its_size_with_margins_too():
    assert NougatImageProcessor().made_size == (896, 672)
    assert NougatImageProcessor(do_pad=False).made_size is None
