"""Image processors: their files and the pixels they make; `parity/` compares with transformers.

Where the pixels come from is in `test_geometry.py`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import mlx_vedec
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.errors import CheckpointError, ConfigError, ImageError
from mlx_vedec.images.image_processors import (
    PROCESSORS,
    BeitImageProcessor,
    CLIPImageProcessor,
    DeiTImageProcessor,
    DINOv3ViTImageProcessor,
    DonutImageProcessor,
    ImageProcessor,
    NougatImageProcessor,
    SiglipImageProcessor,
    ViTImageProcessor,
)
from mlx_vedec.images.of_encoders import OF_ENCODERS

NOISE = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


# the processor's files


def test_old_and_new_dialects_agree():
    new = ImageProcessor.from_dict(
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": 384, "width": 384},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "image_mean": [0.5, 0.5, 0.5],
        }
    )
    old = {"feature_extractor_type": "ViTFeatureExtractor", "size": 384}
    assert ImageProcessor.from_dict(old) == new
    assert ImageProcessor.from_dict({**old, "size": [384, 384]}) == new
    assert ImageProcessor.from_dict({"image_processor": new.to_dict(), "other": 1}) == new
    for name in ("ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor"):
        assert ImageProcessor.from_dict({"image_processor_type": name, "size": 384}) == new


def test_lists_are_height_and_width():
    processor = ImageProcessor(size=[32, 384])  # type: ignore[arg-type]
    assert processor.size == {"height": 32, "width": 384}
    nulls = {"height": 9, "width": 8, "shortest_edge": None}
    assert ImageProcessor(size=nulls).size == {"height": 9, "width": 8}  # type: ignore[arg-type]


def test_nulls_turn_off_or_are_the_default_of_the_class():
    nulls = dict.fromkeys(["do_center_crop", "crop_size", "size", "resample", "image_mean"])
    deit = ImageProcessor.from_dict({"image_processor_type": "DeiTImageProcessorFast", **nulls})
    assert deit.size == {"height": 256, "width": 256}
    assert deit.crop_size == {"height": 224, "width": 224}
    assert (deit.do_center_crop, deit.resample, deit.do_rescale) == (False, 3, True)
    assert ImageProcessor.from_dict(deit.to_dict()) == deit
    vit = ImageProcessor.from_dict({"image_processor_type": "ViTImageProcessorFast", **nulls})
    assert (vit.do_center_crop, vit.crop_size, vit.resample) == (False, None, 2)


def test_a_file_without_a_type_takes_the_encoders(tmp_path):
    assert ImageProcessor.from_dict({}, "deit").resample == 3
    (tmp_path / "preprocessor_config.json").write_text('{"size": 384}')
    (tmp_path / "config.json").write_text('{"encoder": {"model_type": "deit"}}')
    assert ImageProcessor.from_pretrained(tmp_path).image_processor_type == "DeiTImageProcessor"
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    assert ImageProcessor.from_pretrained(tmp_path).image_processor_type == "ViTImageProcessor"


def test_every_encoder_has_a_processor():
    assert set(OF_ENCODERS) == set(ENCODERS) and set(OF_ENCODERS.values()) <= set(PROCESSORS)
    assert type(ImageProcessor.from_dict({}, "data2vec-vision")) is BeitImageProcessor
    assert type(ImageProcessor.from_dict({}, "vit_msn")) is ViTImageProcessor


@pytest.mark.parametrize("name", ["OwlImageProcessor", "ViT", "ViTImageProcessorX", None])
def test_unknown_types_list_the_known(name):
    with pytest.raises(ConfigError, match="BeitImageProcessor, CLIPImageProcessor") as caught:
        ImageProcessor.from_dict({"image_processor_type": name}, None if name is None else "vit")
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in PROCESSORS)


def test_classes_by_the_names_people_know():
    for name, kind in PROCESSORS.items():
        assert getattr(mlx_vedec, name) is kind
        assert kind() == ImageProcessor.from_dict({"image_processor_type": name})
        assert kind().to_dict()["image_processor_type"] == name
        assert type(ImageProcessor.from_dict(kind().to_dict())) is kind
    assert mlx_vedec.AutoImageProcessor is ImageProcessor
    assert ImageProcessor() == ViTImageProcessor() != DeiTImageProcessor()


def test_a_class_reads_a_file_as_its_own():
    foreign = {"image_processor_type": "TexifyImageProcessor", "size": [8, 6]}
    assert DonutImageProcessor.from_dict(foreign) == DonutImageProcessor(size=[8, 6])  # type: ignore
    assert isinstance(
        ViTImageProcessor.from_dict(DeiTImageProcessor().to_dict()), ViTImageProcessor
    )


def test_pictures_cut_into_several_are_refused():
    """InternVL's steps give one image here, and padding around an image is not DPT's way here."""
    tiles = {"image_processor_type": "GotOcr2ImageProcessorFast", "crop_to_patches": True}
    with pytest.raises(ConfigError, match="crop_to_patches is true.*use crop_to_patches=False"):
        ImageProcessor.from_dict(tiles)
    padded = {"image_processor_type": "DPTImageProcessor", "do_pad": True, "size_divisor": 14}
    with pytest.raises(ConfigError, match="size_divisor 14.*use do_pad=False"):
        ImageProcessor.from_dict(padded)
    with pytest.raises(ConfigError, match="ensure_multiple_of is 0; expected 1 or more"):
        ImageProcessor.from_dict({**padded, "do_pad": False, "ensure_multiple_of": 0})


def test_what_a_number_and_a_list_are_depends_on_the_class():
    for kind in (ViTImageProcessor, DeiTImageProcessor, DonutImageProcessor, NougatImageProcessor):
        assert kind(size=32).size == {"height": 32, "width": 32}
    for kind in (CLIPImageProcessor, SiglipImageProcessor):
        assert kind(size=32).size == {"shortest_edge": 32}
        assert kind(crop_size=32).crop_size == {"height": 32, "width": 32}
        assert kind(size=[32, 48]).size == {"height": 32, "width": 48}
    assert DonutImageProcessor(size=[1920, 2560]).size == {"height": 2560, "width": 1920}
    assert NougatImageProcessor(size=[896, 672]).size == {"height": 896, "width": 672}
    assert DonutImageProcessor()([PICTURE], size=(6, 8)).shape == (1, 8, 6, 3)
    square = {
        "image_processor_type": "CLIPImageProcessorFast",
        "size": 9,
        "default_to_square": True,
    }
    assert ImageProcessor.from_dict(square).size == {"height": 9, "width": 9}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_nulls_of_a_fast_dump(kind):
    names = [*PROCESSORS[kind].options(), "data_format", "device", "default_to_square"]
    dump = {**dict.fromkeys(names), "image_processor_type": f"{kind}Fast"}
    processor = ImageProcessor.from_dict(dump)
    plain = PROCESSORS[kind]()
    assert type(processor) is type(plain)
    for name in plain.options():
        off = name.startswith("do_") and getattr(plain, name)
        assert getattr(processor, name) == (False if off else getattr(plain, name))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", "384"),
        ("size", [1, 2, 3]),
        ("size", {"longest_edge": 3}),
        ("size", {"max_height": 3}),
        ("size", {"shortest_edge": 3, "longest_edge": -3}),
        ("size", {"height": 3, "width": 4.5}),
        ("crop_size", {"shortest_edge": 3}),
        ("resample", 6),
        ("rescale_factor", "1/255"),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", "half"),
        ("image_std", [0.5, 0.5, 0]),
        ("image_std", [0.5]),
        ("do_normalize", "false"),
        ("do_center_crop", True),
        ("do_pad", 3),
        ("pad_size", {"shortest_edge": 3}),
        ("line_aspect_ratio", -1),
    ],
)
def test_values_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ConfigError, match="expected"):
        ImageProcessor(**{field: value})


@pytest.mark.parametrize("kind", [DonutImageProcessor, NougatImageProcessor])
def test_pages_need_both_sides(kind):
    with pytest.raises(ConfigError, match="expected pixels.* an object with height and width$"):
        kind(size={"shortest_edge": 3})
    with pytest.raises(ConfigError, match=r"size is \[1, 2, 3\]"):
        kind()([PICTURE], size=[1, 2, 3])


def test_a_centre_crop_needs_a_size():
    with pytest.raises(ConfigError, match="crop_size is None; expected a size"):
        ImageProcessor(do_center_crop=True)


def test_saving_keeps_what_is_not_understood(tmp_path):
    values = {
        "feature_extractor_type": "DeiTFeatureExtractor",
        "processor_class": "TrOCRProcessor",
        "line_aspect_ratio": 12,
        "size": 384,
    }
    processor = ImageProcessor.from_dict(values)
    processor.save_pretrained(tmp_path / "new")
    written = json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())
    assert written["image_processor_type"] == "DeiTImageProcessor"
    assert written["processor_class"] == "TrOCRProcessor"
    assert written["size"] == {"height": 384, "width": 384}
    assert written["line_aspect_ratio"] == 12
    assert "feature_extractor_type" not in written
    assert ImageProcessor.from_pretrained(tmp_path / "new") == processor
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["preprocessor_config.json"]
    assert "line_aspect_ratio" not in ImageProcessor().to_dict()


def test_the_merged_file_comes_first_and_is_kept_up(tmp_path):
    ImageProcessor(size=[32, 384]).save_pretrained(tmp_path)  # type: ignore[arg-type]
    merged = tmp_path / "processor_config.json"
    merged.write_text('{"processor_class": "TrOCRProcessor"}')
    assert ImageProcessor.from_pretrained(tmp_path).size["width"] == 384
    nested = {"image_processor_type": "ViTImageProcessor", "size": 64}
    merged.write_text(json.dumps({"image_processor": nested, "processor_class": "P"}))
    assert ImageProcessor.from_pretrained(tmp_path).size["width"] == 64
    ImageProcessor(size=[16, 16]).save_pretrained(tmp_path)  # type: ignore[arg-type]
    assert ImageProcessor.from_pretrained(tmp_path).size["width"] == 16
    assert json.loads(merged.read_text())["processor_class"] == "P"


def test_a_folder_without_a_processor(tmp_path):
    with pytest.raises(CheckpointError, match="has no preprocessor_config.json, nor .*; give the"):
        ImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a Hub id"):
        ImageProcessor.from_pretrained(tmp_path / "not" / "there")


def test_the_file_itself(tmp_path):
    (tmp_path / "config.json").write_text('{"encoder": {"model_type": "deit"}}')
    (tmp_path / "preprocessor_config.json").write_text('{"size": 64}')
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 96}}')
    for name, side in (("preprocessor_config.json", 64), ("processor_config.json", 96)):
        processor = ImageProcessor.from_pretrained(tmp_path / name)
        assert processor == DeiTImageProcessor(size=side)  # type: ignore[arg-type]
    processor = ViTImageProcessor.from_pretrained(str(tmp_path), do_normalize=False, size=[8, 9])
    assert processor.size == {"height": 8, "width": 9}
    assert not processor.do_normalize
    with pytest.raises(ConfigError, match="do_thumbnail is no option"):
        ViTImageProcessor.from_pretrained(tmp_path, do_thumbnail=False)


def test_real_files(shared):
    seen = set()
    for path in sorted((shared / "configs").glob("*/preprocessor_config.json")):
        values = json.loads(path.read_text())
        processor = ImageProcessor.from_pretrained(path)
        assert processor == ImageProcessor.from_pretrained(path.parent)
        assert {"height", "width"} == set(processor.size)
        size = (processor.size["height"], processor.size["width"])
        assert size in {(224, 224), (384, 384), (2560, 1920), (1280, 960), (896, 672)}
        assert processor([PICTURE]).shape == (1, *size, 3)
        assert processor.extra.get("processor_class") == values.get("processor_class")
        seen.add(values.get("image_processor_type") or values["feature_extractor_type"])
    assert seen >= {"ViTImageProcessor", "ViTFeatureExtractor", "DeiTFeatureExtractor"}
    assert seen >= {"DonutFeatureExtractor", "NougatImageProcessor"}


# pixels


def test_values_are_rescaled_and_normalised():
    same = {"height": 13, "width": 17}
    processor = ImageProcessor(size=same, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 4])
    expected = (NOISE / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]
    result = processor([PICTURE])
    assert result.dtype == np.float32
    assert np.allclose(result[0], expected, atol=1e-6)
    assert np.array_equal(processor([PICTURE], do_normalize=False, do_rescale=False)[0], NOISE)
    assert np.allclose(processor([PICTURE], do_normalize=False)[0], NOISE / 255)


def test_a_centre_crop_pads_with_black():
    plain = {"do_resize": False, "do_rescale": False, "do_normalize": False}
    image = Image.fromarray(NOISE[:3, :6])
    processor = ImageProcessor(do_center_crop=True, crop_size=[6, 3], **plain)  # type: ignore
    result = processor([image])[0]
    assert result.shape == (6, 3, 3)
    assert np.array_equal(result[2:5], NOISE[:3, 1:4])  # three rows to add: two above, one below
    assert result[[0, 1, 5]].max() == 0


@pytest.mark.parametrize(("size", "expected"), [((17, 13), (8, 10)), ((13, 17), (10, 8))])
def test_shortest_edge_keeps_the_aspect(size, expected):
    image = Image.new("RGB", size)
    assert ImageProcessor(size={"shortest_edge": 8})([image]).shape[1:3] == expected


def test_one_mean_makes_grey_images():
    processor = ImageProcessor(size={"height": 13, "width": 17}, image_mean=[0.0], image_std=[1.0])
    result = processor([PICTURE])
    assert result.shape == (1, 13, 17, 1)
    assert np.allclose(result[0, ..., 0] * 255, np.asarray(PICTURE.convert("L")), atol=1e-4)


def test_one_number_is_for_all_channels():
    assert ImageProcessor(image_mean=0.25).image_mean == (0.25, 0.25, 0.25)  # type: ignore[arg-type]


def test_other_modes_are_converted():
    grey = PICTURE.convert("L")
    assert np.array_equal(ImageProcessor()([grey]), ImageProcessor()([grey.convert("RGB")]))


def test_overrides_are_for_one_call():
    processor = ImageProcessor()
    assert processor([PICTURE], size=32, resample=None).shape == (1, 32, 32, 3)
    assert processor.size == {"height": 224, "width": 224}
    with pytest.raises(ConfigError, match="resample is 9"):
        processor([PICTURE], resample=9)


def test_unknown_overrides_are_refused():
    with pytest.raises(ValueError, match="do_normalise is no option.*did you mean do_normalize"):
        ImageProcessor()([PICTURE], do_normalise=False)
    with pytest.raises(ValueError, match="zzz is no option.*known are crop_size, do_center_crop"):
        ImageProcessor()([PICTURE], zzz=1)
    with pytest.raises(ValueError, match="do_thumbnail is no option"):
        ImageProcessor()([PICTURE], do_thumbnail=False)
    for name in ("extra", "image_processor_type"):
        with pytest.raises(ValueError, match=f"{name} is no option"):
            ImageProcessor()([PICTURE], **{name: {}})


def test_batches_need_one_shape():
    processor = ImageProcessor()
    assert processor([PICTURE, Image.new("L", (50, 9))]).shape == (2, 224, 224, 3)
    with pytest.raises(ImageError, match=r"\(9, 50, 3\).*do_resize=True"):
        processor([PICTURE, Image.new("L", (50, 9))], do_resize=False)
    with pytest.raises(ImageError, match="no shapes.*give one image"):
        processor([])


def test_batches_are_padded_where_asked():
    processor = ImageProcessor(do_resize=False, do_pad=True)
    images = [Image.new("RGB", (5, 9), "white"), Image.new("RGB", (7, 3), "white")]
    pixels = processor(images)
    assert pixels.shape == (2, 9, 7, 3)
    assert (pixels[1, 3:] == 0).all()  # after normalising: black would be -1
    assert (pixels[0, :, :5] == 1).all()
    assert processor(images, pad_size=[10, 11]).shape == (2, 10, 11, 3)
    with pytest.raises(ImageError, match="up to 9 high and 7 wide; expected at most the pad_size"):
        processor(images, pad_size=8)


def test_sources_of_every_kind(tmp_path):
    PICTURE.save(tmp_path / "a.png")
    expected = ImageProcessor()([PICTURE])
    for source in (PICTURE, NOISE, tmp_path / "a.png"):
        assert np.array_equal(ImageProcessor()(source), expected)
    assert ImageProcessor()((PICTURE, NOISE)).shape == (2, 224, 224, 3)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_that_cannot_be(kind):
    processor = PROCESSORS[kind]()
    for mode, size in (("RGB", (0, 5)), ("F", (5, 0)), ("L", (0, 0))):
        with pytest.raises(ImageError, match="the image is .* pixels; expected 1 or more on each"):
            processor([Image.new(mode, size)])
    with pytest.raises(ImageError, match="the image is 100000x1000 pixels; expected .* at most"):
        processor.geometry((100_000, 1000))


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1)])
@pytest.mark.parametrize("kind", PROCESSORS)
def test_thin_images(kind, size):
    processor = PROCESSORS[kind](size=[60, 60])  # type: ignore[arg-type]
    image = Image.effect_noise(size, 99)
    pixels = processor([image])
    assert np.isfinite(pixels).all()
    assert processor.geometry(image).size == pixels.shape[2:0:-1]


def test_a_resize_that_no_memory_holds_is_refused():
    with pytest.raises(ImageError, match="the resized image is 200000000x200"):
        ImageProcessor(size={"shortest_edge": 200})([Image.new("RGB", (2_000_000, 2))])
    with pytest.raises(ImageError, match="the resized image is 0x40 pixels"):
        DonutImageProcessor(size=[40, 40])([Image.new("RGB", (1, 60))])  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="the resized image is 0x8 pixels"):
        ImageProcessor(size={"max_height": 8, "max_width": 8})([Image.new("RGB", (2, 60))])
    with pytest.raises(ImageError, match="the cropped image is 20000x20000"):
        ImageProcessor(do_center_crop=True, crop_size=20_000)([PICTURE])  # type: ignore[arg-type]


def test_floats_stay_in_their_range():
    """0.25, 0.5 and 1.0 are cut to the levels 63, 127 and 255, and come back between 0 and 1."""
    values = np.tile(np.float32([0.25, 0.5, 1.0]), (8, 8, 1))
    small = {"size": {"height": 4, "width": 4}, "do_rescale": False}
    plain = ViTImageProcessor(**small, do_normalize=False)([values])[0, 0, 0]
    assert plain == pytest.approx([63 / 255, 127 / 255, 1.0])
    normal = ViTImageProcessor(**small)([values])[0, 0, 0]
    assert normal == pytest.approx([2 * level / 255 - 1 for level in (63, 127, 255)])
    as_they_are = ViTImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    assert np.array_equal(as_they_are([values])[0], values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "uint16"])
def test_whole_numbers_are_grey_levels(dtype):
    for kind in PROCESSORS.values():
        processor = kind(size={"height": 20, "width": 20}, do_center_crop=False)
        pixels = processor([NOISE.astype(dtype)])
        assert np.allclose(pixels, processor([NOISE]), atol=1e-6), kind


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "LAB", "HSV", "CMYK"])
def test_rare_modes(mode):
    assert np.isfinite(ImageProcessor()([Image.new(mode, (9, 9))])).all()


def test_floats_that_are_rescaled_twice_are_a_warning():
    with pytest.warns(UserWarning, match="from 0 to 1 already.*do_rescale=False"):
        ImageProcessor()([NOISE / 255])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_numbers_that_are_not_finite(value):
    values = NOISE.astype(np.float32)
    values[0, 0, 0] = value
    with pytest.raises(ImageError, match="some of them nan"):
        ImageProcessor(do_resize=False)([values])


def test_floats_are_not_rounded_by_dinov3():
    processor = DINOv3ViTImageProcessor(size=[3, 5], do_normalize=False)  # type: ignore[arg-type]
    image = Image.fromarray(NOISE)
    result, levels = processor(image)[0] * 255, processor(image, do_rescale=False)[0]
    assert 0.01 < np.abs(result - levels).max() <= 1
    assert np.array_equal(levels, levels.round())
    crop = {"do_center_crop": True, "crop_size": [6, 8]}  # of 3 more, 1 is above and to the left
    padded = processor(image, **crop)[0]
    assert np.array_equal(padded[1:4, 1:6], processor(image)[0])
    assert np.count_nonzero(padded) == 3 * 5 * 3
    grey = processor(image, image_mean=[0.5], image_std=[0.5], do_normalize=True)
    assert grey.shape == (1, 3, 5, 1)


# pages

BARE = {"do_rescale": False, "do_normalize": False}


def page(width: int, height: int, ink: tuple[int, int, int, int], paper: int = 255) -> Image.Image:
    """Paper with a black box of ink."""
    image = Image.new("RGB", (width, height), (paper,) * 3)
    image.paste((0, 0, 0), ink)
    return image


def test_pages_are_shrunk_and_centred():
    processor = DonutImageProcessor(size=[60, 80], **BARE)  # type: ignore[arg-type]
    wide = processor([Image.new("RGB", (300, 100), "white")])[0]
    assert wide.shape == (80, 60, 3)
    assert (wide[:30].max(), wide[30:50].min(), wide[50:].max()) == (0, 255, 0)
    high = processor([Image.new("RGB", (60, 97), "white")])[0]  # to 49 x 80, as 60 x 97 is too high
    assert (high[:, :5].max(), high[:, 5:54].min(), high[:, 54:].max()) == (0, 255, 0)
    small = processor([Image.new("RGB", (30, 31), "white")], do_resize=False)[0]
    assert (small[24:55, 15:45].min(), small.sum()) == (255, 30 * 31 * 3 * 255)


def test_pages_are_turned_clockwise():
    processor = DonutImageProcessor(size=[20, 40], do_align_long_axis=True, **BARE)  # type: ignore
    wide = Image.new("RGB", (40, 20), "black")
    wide.paste((255, 0, 0), (0, 0, 4, 4))  # at the upper left
    turned = processor([wide])[0]
    assert turned[1, 18].tolist() == [255, 0, 0]
    assert turned[1, 1].tolist() == [0, 0, 0]
    for upright in (Image.new("RGB", (20, 40)), Image.new("RGB", (20, 20))):
        assert processor.geometry(upright).across[0] == 1
    kept = processor([wide], do_align_long_axis=False)[0]  # shrunk to 20 x 10, at 15
    assert kept[15, 0, 0] > 200 > 0 == kept[15, 19, 0]


def test_margins_are_cut_off():
    processor = NougatImageProcessor(size=[20, 10], do_pad=False, **BARE)  # type: ignore[arg-type]
    assert processor([page(50, 70, (12, 20, 22, 40))])[0].max() == 0
    assert processor([page(50, 70, (12, 20, 22, 40))], do_crop_margin=False)[0].max() == 255
    for paper, ink in ((255, 199), (254, 199), (200, 156)):  # below 200 of 255 is ink
        for level, corner in ((ink, (0, 0)), (ink + 1, (12, 20))):
            grey = page(50, 70, (12, 20, 22, 40), paper)
            grey.paste((level,) * 3, (0, 0, 2, 2))
            assert processor.geometry(grey).to_original((0, 0, 1, 1))[:2] == corner


def test_blank_pages_have_no_margins():
    processor = NougatImageProcessor(size=[20, 10], **BARE)  # type: ignore[arg-type]
    assert (processor([Image.new("RGB", (30, 60), "white")])[0] == 255).all()
    assert processor([Image.new("1", (30, 60))]).shape == (1, 20, 10, 3)


def test_pages_that_cannot_be_padded():
    for kind in (DonutImageProcessor, NougatImageProcessor):
        processor = kind(size=[10, 10], do_resize=False, do_thumbnail=False)
        with pytest.raises(ImageError, match="to pad is 17x13 pixels; expected at most the 10x10"):
            processor([PICTURE])
        assert processor([PICTURE], do_pad=False).shape == (1, 13, 17, 3)


def test_values_that_no_file_should_have_are_named_in_one_line():
    deep: list[object] = []
    deep.append(deep)
    for name, value in (
        ("do_resize", np.zeros(3)),
        ("resample", np.zeros((0, 0))),
        ("image_mean", 10**400),
        ("image_std", [1e300] * 3),
        ("size", deep),
        ("image_mean", deep),
    ):
        with pytest.raises(ConfigError, match=f"image processor: {name} is") as caught:
            ImageProcessor(**{name: value})  # type: ignore[arg-type]
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
