"""Image processors: their files and the pixels they make; `parity/` compares with transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mlx_vedec.errors import CheckpointError, ConfigError, ImageError
from mlx_vedec.images import ImageProcessor

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


def test_null_is_the_default_of_the_class():
    nulls = dict.fromkeys(["do_center_crop", "crop_size", "size", "resample", "do_rescale"])
    deit = ImageProcessor.from_dict({"image_processor_type": "DeiTImageProcessorFast", **nulls})
    assert deit.size == {"height": 256, "width": 256}
    assert deit.crop_size == {"height": 224, "width": 224}
    assert (deit.do_center_crop, deit.resample, deit.do_rescale) == (True, 3, True)
    vit = ImageProcessor.from_dict({"image_processor_type": "ViTImageProcessorFast", **nulls})
    assert (vit.do_center_crop, vit.crop_size, vit.resample) == (False, None, 2)


def test_a_file_without_a_type_takes_the_encoders(tmp_path):
    assert ImageProcessor.from_dict({}, "deit").resample == 3
    (tmp_path / "preprocessor_config.json").write_text('{"size": 384}')
    (tmp_path / "config.json").write_text('{"encoder": {"model_type": "deit"}}')
    assert ImageProcessor.from_pretrained(tmp_path).image_processor_type == "DeiTImageProcessor"
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    assert ImageProcessor.from_pretrained(tmp_path).image_processor_type == "ViTImageProcessor"


@pytest.mark.parametrize("name", ["OwlImageProcessor", "ViT", "ViTImageProcessorX", None])
def test_unknown_types_list_the_known(name):
    with pytest.raises(ConfigError, match="DeiTImageProcessor, ViTImageProcessor") as caught:
        ImageProcessor.from_dict({"image_processor_type": name})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", "384"),
        ("size", [1, 2, 3]),
        ("size", {"longest_edge": 3}),
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
        ("line_aspect_ratio", -1),
    ],
)
def test_values_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ConfigError, match="expected"):
        ImageProcessor(**{field: value})


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
    with pytest.raises(CheckpointError, match="has no preprocessor_config.json; expected"):
        ImageProcessor.from_pretrained(tmp_path)


def test_real_files(shared):
    seen = []
    for path in sorted((shared / "configs").glob("*/preprocessor_config.json")):
        values = json.loads(path.read_text())
        name = values.get("image_processor_type") or values["feature_extractor_type"]
        if name.startswith(("ViT", "DeiT")):
            processor = ImageProcessor.from_pretrained(path.parent)
            assert {"height", "width"} == set(processor.size)
            assert processor([PICTURE]).shape[1] in (224, 384)
            seen.append(name)
    assert {"ViTImageProcessor", "ViTFeatureExtractor", "DeiTFeatureExtractor"} <= set(seen)


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


def test_a_resize_that_no_memory_holds_is_refused():
    with pytest.raises(ImageError, match="the resized image is 200000000x200"):
        ImageProcessor(size={"shortest_edge": 200})([Image.new("RGB", (2_000_000, 2))])
