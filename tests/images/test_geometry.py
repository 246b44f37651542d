"""Where pixels come from, for every image processor: marks in pictures, found where it says."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from mlx_vedec.errors import ImageError
from mlx_vedec.images.geometry import Geometry
from mlx_vedec.images.image_processors import (
    PROCESSORS,
    DonutImageProcessor,
    ImageProcessor,
    NougatImageProcessor,
)

BARE = {"do_rescale": False, "do_normalize": False}
RED = (255, 0, 0)


def marked(size: tuple[int, int], mark: tuple[int, int, int, int]) -> Image.Image:
    """White paper with a black frame some way inside it, and a red mark inside that."""
    width, height = size
    picture = Image.new("RGB", size, "white")
    picture.paste("black", (width // 12, height // 10, width - width // 9, height - height // 8))
    picture.paste("white", (width // 6, height // 6, width - width // 6, height - height // 6))
    picture.paste(RED, mark)
    return picture


def red_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """The box of the pixels (H, W, 3), of 0 to 1, that are more red than not."""
    red = pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 0.5
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def check_mark(processor: ImageProcessor, size: tuple[int, int], shares: list[float]) -> None:
    """Half a processed pixel on each side is lost to the filter, and one is rounded to."""
    sides = [int(share * side) for share, side in zip(shares, size, strict=True)]
    mark = (sides[0], sides[1], sides[0] + size[0] // 8, sides[1] + size[1] // 8)
    picture = marked(size, mark)
    geometry = processor.geometry(picture)
    [pixels] = processor([picture], do_normalize=False)
    assert pixels.shape[1::-1] == geometry.size
    scales = [abs(a) + abs(b) for a, b, _ in (geometry.across, geometry.down)]
    found = geometry.to_original(red_box(pixels))
    for place, true, scale in zip(found, mark, 2 * scales, strict=True):
        assert abs(place - true) <= 1 + 1.5 * scale, (found, mark, geometry)


SHAPES = [(400, 300), (300, 400), (900, 240), (200, 800), (1200, 1201), (64, 64)]
OPTIONS = {
    "DeiTImageProcessor": {"size": [500, 400], "crop_size": [448, 352]},
    "DonutImageProcessor": {"size": [480, 640]},
    "NougatImageProcessor": {"size": [448, 336]},
}


TRIMMED = "TexTellerImageProcessor"  # and grey: test_own_steps.py has its way back


@pytest.mark.parametrize("kind", [kind for kind in PROCESSORS if kind != TRIMMED])
@pytest.mark.parametrize("size", SHAPES)
def test_a_mark_is_found_where_it_was(kind, size):
    options = OPTIONS.get(kind, {})
    if size == (900, 240) or size == (200, 800):
        options = {**options, "do_center_crop": False}  # it would cut the mark off
    processor = PROCESSORS[kind](**options)
    check_mark(processor, size, [0.3, 0.4])
    check_mark(processor, size, [0.55, 0.3])


@pytest.mark.parametrize("kind", [DonutImageProcessor, NougatImageProcessor])
@pytest.mark.parametrize("seed", range(12))
def test_marks_on_pages_with_any_steps(kind, seed):
    numbers = random.Random(seed)
    flags = {"do_resize", "do_align_long_axis", "do_crop_margin"} & kind.options()
    options = {flag: numbers.random() < 0.7 for flag in sorted(flags)}
    page = {"height": numbers.randint(200, 500), "width": numbers.randint(200, 500)}
    size = numbers.randint(150, 600), numbers.randint(150, 600)
    if not options["do_resize"]:
        page = {"height": 600, "width": 600}
    check_mark(kind(size=page, **options), size, [0.35, 0.6])


# exactly, pixel by pixel: nothing is resized, or to the nearest pixel

NUMBERED = np.random.default_rng(0).permutation(256**2)[: 13 * 17].reshape(13, 17)
NUMBERED = np.stack([NUMBERED % 256, NUMBERED // 256, np.full((13, 17), 7)], axis=-1).astype("u1")


@pytest.mark.parametrize(
    "processor",
    [
        DonutImageProcessor(size=[20, 30], do_align_long_axis=True, do_resize=False),
        DonutImageProcessor(size=[16, 17], do_align_long_axis=True, do_resize=False),
        DonutImageProcessor(size=[48, 49], resample=0, do_thumbnail=False, do_pad=False),
        DonutImageProcessor(size=[40, 30], do_center_crop=True, crop_size=[9, 35], do_resize=False),
        NougatImageProcessor(size=[21, 32], do_resize=False),
        NougatImageProcessor(size=[32, 21], do_resize=False, do_align_long_axis=True),
        NougatImageProcessor(size=[32, 19], do_resize=False, do_crop_margin=False),
        ImageProcessor(do_resize=False, do_pad=True, pad_size=[20, 20]),
    ],
    ids=lambda processor: f"{processor.image_processor_type}-{processor.size}",
)
def test_every_pixel_goes_back_to_where_it_came_from(processor):
    values = np.full((16, 17, 3), 255, dtype=np.uint8)
    values[3:] = NUMBERED  # and a margin above
    picture = Image.fromarray(values)
    [pixels], geometry = processor([picture], **BARE), processor.geometry(picture)
    assert pixels.shape[1::-1] == geometry.size
    compared = 0
    for row, column in np.argwhere(pixels[..., 2] == 7):
        left, top, right, bottom = geometry.to_original((column, row, column + 1, row + 1))
        assert (right - left, bottom - top) == (1, 1)
        assert np.array_equal(values[top, left], pixels[row, column])
        compared += 1
    assert compared >= 8 * 17


def test_sizes_alone_do_where_no_margins_are_looked_for():
    for kind in (kind for name, kind in PROCESSORS.items() if name != TRIMMED):
        processor = kind()
        picture = marked((500, 300), (200, 100, 250, 150))
        if getattr(processor, "do_crop_margin", False):
            with pytest.raises(ImageError, match=r"\(500, 300\), does not say where its margins"):
                processor.geometry((500, 300))
            processor = processor.changed({"do_crop_margin": False})
        assert processor.geometry((500, 300)) == processor.geometry(picture)


def test_margins_are_those_of_what_the_model_sees():
    """A transparent picture is laid on white first; its hidden black is no ink."""
    picture = Image.new("RGBA", (40, 50), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (10, 20, 30, 40))
    geometry = NougatImageProcessor(size=[20, 20]).geometry(picture)  # type: ignore[arg-type]
    assert geometry.to_original((0, 0, 20, 20)) == (10, 20, 30, 40)
    grey = NougatImageProcessor(size=[20, 20], image_mean=[0.5], image_std=[0.5])  # type: ignore
    assert grey.geometry(picture) == geometry


def test_a_geometry_to_which_nothing_was_done():
    assert Geometry.of((3, 4)).to_original((0, 0, 3, 4)) == (0, 0, 3, 4)
    assert ImageProcessor(do_resize=False).geometry((3, 4)) == Geometry.of((3, 4))
