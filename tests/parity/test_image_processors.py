"""Pixels against transformers' Pillow backend, bit by bit, and DINOv3's against torch.

torchvision is not among the reference's packages; what it makes of the same pictures was measured
once, see `mlx_vedec/images/image_processors.py`.
"""

from __future__ import annotations

import io
import json
import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402

from mlx_vedec.errors import ImageError  # noqa: E402
from mlx_vedec.images.image_processors import (
    OWN_KINDS,
    PROCESSORS,
    DINOv3ViTImageProcessor,
    ImageProcessor,
)
from mlx_vedec.images.loading import load_image

ALONE = {"DINOv3ViTImageProcessor", "Tipsv2ImageProcessor", "YolosImageProcessor"}  # see below
NAMES = sorted(set(PROCESSORS) - ALONE - {kind.image_processor_type for kind in OWN_KINDS})
THEIRS: dict[str, Any] = {name: getattr(transformers, f"{name}Pil") for name in NAMES}
PAGES = ("DonutImageProcessor", "NougatImageProcessor")
TWO_SIDED = (*PAGES, "DPTImageProcessor", "GotOcr2ImageProcessor")
SIZES = [(2, 3), (31, 17), (64, 64), (97, 256), (300, 41), (41, 300), (383, 385)]
OTHER = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def pixels_of(theirs: Any, image: Image.Image, **overrides: Any) -> np.ndarray:
    """(H, W, C) of one image."""
    [values] = theirs(image, **overrides)["pixel_values"]
    return np.moveaxis(np.asarray(values), 0, -1)


def same_pixels(ours: ImageProcessor, theirs: Any, images: list[Image.Image], **overrides) -> None:
    for image in images:
        result = ours([image], **overrides)[0]
        assert result.dtype == np.float32
        assert np.array_equal(result, pixels_of(theirs, image, **overrides)), image.size
        assert ours.changed(overrides).geometry(image).size == result.shape[1::-1]


def same_options(one: ImageProcessor, other: ImageProcessor) -> None:
    assert type(one) is type(other)
    assert all(getattr(one, name) == getattr(other, name) for name in one.options())


# at the defaults, and as each is read in the other's files

DIALECTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "number": {"size": 30},
    "list": {"size": [30, 40]},
    "object": {"size": {"height": 32, "width": 50}},
    "statistics": {"size": [31, 24], **OTHER, "rescale_factor": 1 / 127.5},
    "one mean": {"size": [40, 30], "image_mean": 0.3},
    "nothing": {"do_resize": False, "do_pad": False, "do_thumbnail": False},
    "crop": {"do_center_crop": True, "crop_size": 33, "size": [50, 60]},
    "larger crop": {"do_center_crop": True, "crop_size": [401, 400], "size": [50, 60]},
    "no arithmetic": {"do_normalize": False, "do_rescale": False, "size": [40, 50]},
    "only arithmetic": {"do_rescale": False, "size": [40, 50]},
    **{f"filter {code}": {"resample": code, "size": [40, 60]} for code in range(6)},
    "nulls": dict.fromkeys(["size", "do_resize", "do_thumbnail", "do_pad", "do_convert_rgb"]),
    "no crop": {"do_center_crop": None, "crop_size": None, "do_align_long_axis": None, "size": 30},
    "no normalising": dict.fromkeys(["do_normalize", "image_mean", "image_std", "pad_size"]),
    "square": {"size": 30, "default_to_square": True},
    "shorter": {"size": 30, "default_to_square": False},
    "shortest": {"size": {"shortest_edge": 30}},
    "between": {"size": {"shortest_edge": 30, "longest_edge": 50}},
    "most": {"size": {"max_height": 50, "max_width": 40}},
    "padded": {"size": {"max_height": 50, "max_width": 40}, "do_pad": True, "pad_size": [60, 70]},
}
WITH_EDGES = ("shorter", "shortest", "between", "most", "padded")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_pixels_are_the_same_bits(tmp_path, name, dialect):
    if name in TWO_SIDED and dialect in WITH_EDGES:
        pytest.skip("its sizes have two sides")
    options = {**DIALECTS[dialect], **({"do_center_crop": False} if dialect == "padded" else {})}
    theirs = THEIRS[name](**options)
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    images = images[1:3] if dialect in ("defaults", "no normalising") else images[1:]
    ours = ImageProcessor.from_dict({"image_processor_type": name, **options})
    same_pixels(ours, theirs, images)
    theirs.save_pretrained(tmp_path / "theirs")
    same_options(ImageProcessor.from_pretrained(tmp_path / "theirs"), ours)
    ours.save_pretrained(tmp_path / "ours")
    same_pixels(ours, THEIRS[name].from_pretrained(tmp_path / "ours"), images[:1])


def test_defaults_are_those_of_the_classes():
    for name, theirs in THEIRS.items():
        saved = json.loads(json.dumps(theirs().to_dict()))
        written = json.loads(json.dumps(PROCESSORS[name]().to_dict()))
        assert {key: written.get(key, saved[key]) for key in saved} == saved
        # of segmentation maps, and of pictures cut into several
        assert set(saved) - set(written) <= {"do_reduce_labels", "min_patches", "max_patches"}


def test_encoders_have_the_same_processors():
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    from mlx_vedec.images.of_encoders import OF_ENCODERS

    alone = {"dinov2_with_registers", "internvl_vision"}  # without one, as the vision models are
    for model_type, kind in OF_ENCODERS.items():
        named = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {}).get("torchvision")
        without = model_type in alone or model_type.endswith("_vision_model")
        assert named == kind or (named is None and without)


def test_real_files_are_read_alike(shared):
    read = set()
    for path in sorted((shared / "configs").glob("*/preprocessor_config.json")):
        ours = ImageProcessor.from_pretrained(path)
        theirs = THEIRS[ours.image_processor_type].from_pretrained(path.parent)
        page = ours.image_processor_type in PAGES
        same_pixels(ours, theirs, [noise(700, 900) if page else noise(500, 60)])
        read.add(path.parent.name)
    assert len(read) >= 14


# by chance: options of a file, other options of a call, pictures of any aspect

OPTIONS = {
    "resample": lambda r: r.randrange(6),
    "do_resize": lambda r: r.random() < 0.7,
    "do_rescale": lambda r: r.random() < 0.7,
    "do_normalize": lambda r: r.random() < 0.7,
    "rescale_factor": lambda r: r.choice([1 / 127.5, 0.003, 2.0]),
    "image_mean": lambda r: [r.random() for _ in range(3)],
    "image_std": lambda r: [r.uniform(0.01, 1) for _ in range(3)],
    "do_convert_rgb": lambda r: r.random() < 0.5,
    "do_center_crop": lambda r: r.random() < 0.5,
    "do_thumbnail": lambda r: r.random() < 0.8,
    "do_align_long_axis": lambda r: r.random() < 0.7,
    "do_crop_margin": lambda r: r.random() < 0.7,
}


def chosen(r: random.Random, name: str) -> dict[str, Any]:
    options = {
        option: choose(r)
        for option, choose in OPTIONS.items()
        if r.random() < 0.4 and option in PROCESSORS[name].options()
    }
    sides = [r.randint(1, 60), r.randint(1, 60)]
    sizes = [sides[0], sides, {"height": sides[0], "width": sides[1]}]
    if name not in TWO_SIDED:
        edges = {"shortest_edge": sides[0], "longest_edge": sum(sides)}
        sizes += [edges, {"shortest_edge": sides[0]}, {"max_height": sides[0], "max_width": 50}]
    crop_size = [r.randint(1, 70), r.randint(1, 70)]
    return {**options, "size": r.choice(sizes), "crop_size": r.choice([crop_size, crop_size[0]])}


def picture(r: random.Random) -> Image.Image:
    """Noise on paper, one pixel thin, wide, high or neither."""
    long, short = r.randint(40, 300), r.choice([1, r.randint(2, 40), r.randint(40, 150)])
    width, height = r.choice([(long, short), (short, long)])
    image = Image.new("RGB", (width, height), r.choice(["white", "black", "#e6e0d8"]))
    box = sorted(r.choices(range(width), k=2)), sorted(r.choices(range(height), k=2))
    part = noise(box[0][1] - box[0][0] + 1, box[1][1] - box[1][0] + 1, r.randrange(99))
    image.paste(part, (box[0][0], box[1][0]))
    return r.choice([image, image, noise(width, height)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", range(3))
def test_random_options_give_the_same_bits(name, block):
    """Where they fail, since a page does not fit or a side has come to nothing, so do we."""
    compared = 0
    for seed in range(block * 20, block * 20 + 20):
        r = random.Random(f"{name} {seed}")
        options, image = chosen(r, name), picture(r)
        overrides = r.choice([{}, chosen(r, name)])
        theirs, ours = THEIRS[name](**options), PROCESSORS[name](**options)
        try:
            expected = pixels_of(theirs, image, **overrides)
        except ValueError:
            with pytest.raises(ImageError):
                ours([image], **overrides)
        else:
            assert np.array_equal(ours([image], **overrides)[0], expected), (seed, options)
            compared += 1
    assert compared >= 8


@pytest.mark.parametrize("name", NAMES)
def test_overrides_are_the_same(name):
    ours, theirs = PROCESSORS[name](), THEIRS[name]()
    crop = {"do_center_crop": True, "crop_size": {"height": 30, "width": 20}}
    sizes = [{"size": size} for size in ([9, 12], (8, 7), 20, {"height": 9, "width": 8})]
    for overrides in [*sizes, {"do_normalize": False, "size": 20}, {**crop, "size": [60, 50]}]:
        same_pixels(ours, theirs, [noise(50, 70)], **overrides)


def test_a_batch_is_padded_alike():
    options = {"do_resize": False, "do_pad": True, "do_center_crop": False}
    images = [noise(40, 20), noise(30, 50), noise(7, 8)]
    for name in sorted(set(NAMES) - {*TWO_SIDED, "BeitImageProcessor"}):
        for size in (None, {"height": 60, "width": 70}):
            expected = THEIRS[name](**options, pad_size=size)(images, return_tensors="np")
            result = PROCESSORS[name](**options, pad_size=size)(images)
            assert np.array_equal(result, np.moveaxis(expected["pixel_values"], 1, -1))


# other modes


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"NougatImageProcessor"}))
def test_grey_models(name):
    options = {"image_mean": [0.4], "image_std": [0.2], "size": 32, "do_convert_rgb": False}
    theirs = THEIRS[name](**options)
    ours = PROCESSORS[name](**options)
    if theirs.do_convert_rgb is not True:
        same_pixels(ours, theirs, [noise(50, 20).convert("L")])


def saved(image: Image.Image) -> Image.Image:
    """With the transparency of its palette where a file has it: elsewhere they do not look."""
    image.save(content := io.BytesIO(), "PNG")
    return Image.open(content)


@pytest.mark.parametrize("name", NAMES)
def test_transparency_is_composited_alike(name):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    theirs, ours = THEIRS[name](do_convert_rgb=True, size=24), PROCESSORS[name](size=24)
    images = [Image.fromarray(values), Image.fromarray(values).convert("LA")]
    same_pixels(ours, theirs, [*images, saved(images[0].convert("P"))])
    assert np.array_equal(ours([load_image(images[0])]), ours([images[0]]))


# sizes in multiples of a number


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("multiple", [1, 14, 32])
def test_dpt_rounds_sides_to_multiples(keep, multiple):
    options = {"keep_aspect_ratio": keep, "ensure_multiple_of": multiple, "size": [60, 90]}
    theirs, ours = (
        THEIRS["DPTImageProcessor"](**options),
        PROCESSORS["DPTImageProcessor"](**options),
    )
    same_pixels(ours, theirs, [noise(*size, 1) for size in SIZES[1:4]])


YOLOS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "first files": {"size": 40, "max_size": 70, "pad_and_return_pixel_mask": False},
    "number": {"size": 40},
    "between": {"size": {"shortest_edge": 40, "longest_edge": 70}, "resample": 3},
    "list": {"size": [30, 40], "do_rescale": False},
    "most": {"size": {"max_height": 50, "max_width": 40}, "do_normalize": False},
    "crop": {"size": [50, 60], "do_center_crop": True, "crop_size": 33, "do_pad": None},
    "padded": {"size": [50, 60], "pad_size": {"height": 80, "width": 70}},
}


@pytest.mark.parametrize("dialect", YOLOS)
def test_yolos_pixels_are_the_same_bits(tmp_path, dialect):
    options, theirs_class = YOLOS[dialect], transformers.YolosImageProcessorPil
    theirs = theirs_class(**options)
    ours = ImageProcessor.from_dict({"image_processor_type": "YolosFeatureExtractor", **options})
    large = [(64, 64), (41, 30), (40, 40), (70, 61), (52, 40)]
    images = [noise(*size) for size in (large[:2] if dialect == "defaults" else large)]
    if not ours.pad_size:
        same_pixels(ours, theirs, images)
    theirs.save_pretrained(tmp_path / "theirs")
    again = ImageProcessor.from_pretrained(tmp_path / "theirs")
    same_options(again, ours)
    ours.save_pretrained(tmp_path / "ours")
    if ours.do_pad:
        expected = theirs_class.from_pretrained(tmp_path / "ours")(images, return_tensors="np")
        assert np.array_equal(ours(images), np.moveaxis(expected["pixel_values"], 1, -1))


def test_tipsv2_pixels_are_those_of_its_options():
    """Its class cannot be imported without torchvision; ViT's does the same with its options."""
    options = {"size": {"height": 448, "width": 448}, "do_normalize": False, "resample": 2}
    ours = PROCESSORS["Tipsv2ImageProcessor"]()
    same_pixels(ours, THEIRS["ViTImageProcessor"](**options), [noise(31, 17)])


# DINOv3, whose class cannot be imported without torchvision: the same steps in torch


def dinov3_pixels(image: Image.Image, size: tuple[int, int], mode: str) -> np.ndarray:
    values = torch.tensor(np.array(image)).movedim(-1, 0)[None] * (1 / 255)
    made = torch.nn.functional.interpolate(values, size=size, mode=mode, antialias=True)
    mean, std = (torch.tensor(OTHER[name])[:, None, None] for name in ("image_mean", "image_std"))
    return ((made[0] - mean) / std).movedim(0, -1).numpy()


@pytest.mark.parametrize(("resample", "mode"), [(2, "bilinear"), (3, "bicubic")])
def test_dinov3_resizes_without_rounding(resample, mode):
    processor = DINOv3ViTImageProcessor(resample=resample)
    for seed, (width, height) in enumerate([*SIZES, (1, 50), (600, 50)]):
        image = noise(width, height, seed)
        for size in ((224, 224), (40, 300), (31, 17)):
            result = processor(image, size=size)[0]
            assert np.abs(result - dinov3_pixels(image, size, mode)).max() < 5e-4
            by_levels = processor(image, size=size, do_rescale=False, image_mean=0.0, image_std=255)
            by_levels = (by_levels[0] - OTHER["image_mean"]) / OTHER["image_std"]
            if size != (height, width) and min(image.size) > 2:
                assert np.abs(by_levels - result).max() > 5e-3


# arrays of numbers, which transformers takes in their own range

SWITCHES = [
    {"do_resize": resize, "do_rescale": rescale, "do_normalize": normalize}
    for resize in (True, False)
    for rescale in (True, False)
    for normalize in (True, False)
]
LEVELS = np.asarray(noise(29, 23))
NUMBERS: dict[str, np.ndarray] = {
    "float16": (LEVELS / 255).astype(np.float16),
    "float32": (LEVELS / 255).astype(np.float32),
    "float64": LEVELS / 255,
    "float levels": LEVELS.astype(np.float32),
    "int64 levels": LEVELS.astype(np.int64),
    "uint16 levels": LEVELS.astype(np.uint16),
    "black and white": (LEVELS > 127).astype(np.float32),
    "bool": LEVELS > 127,
    "dark": (LEVELS / 2550).astype(np.float32),
    "uint8": LEVELS,
}


@pytest.mark.filterwarnings("ignore:the image's floats are from 0 to 1")
@pytest.mark.parametrize("values", NUMBERS)
@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_every_type_and_range(name, values):
    image = NUMBERS[values]
    size = {"height": 40, "width": 32} if name in PAGES else {"height": 12, "width": 16}
    for switches in SWITCHES:
        options = {"size": size, "do_center_crop": False, **switches}
        ours = PROCESSORS[name](**options)([image])[0]
        theirs = pixels_of(THEIRS[name](**options), image)
        assert np.allclose(ours, theirs, atol=5e-3 if values == "float16" else 1e-5), (
            name,
            values,
            switches,
        )


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_cropped_and_padded_alike(name):
    crop = {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 31, "width": 20}}
    options = {"do_rescale": False, "do_thumbnail": False, "size": {"height": 40, "width": 32}}
    options |= {"do_crop_margin": False, **crop}
    known = {key: value for key, value in options.items() if key in PROCESSORS[name].options()}
    ours = PROCESSORS[name](**known)([NUMBERS["float64"]])[0]
    theirs = pixels_of(THEIRS[name](**known), NUMBERS["float64"])
    assert np.allclose(ours, theirs, atol=1e-6)


def test_numbers_that_are_no_grey_levels_are_refused_where_they_are_resized():
    for values in (LEVELS + 0.5, LEVELS / 255 - 0.5, LEVELS.astype(np.int32) + 1):
        with pytest.raises(ValueError):
            THEIRS["ViTImageProcessor"]()(values)
        with pytest.raises(ImageError, match="expected whole numbers from 0 to 255, or floats"):
            ImageProcessor()([values])
