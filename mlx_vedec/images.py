"""Pictures to pixels as Hugging Face's image processors make them, from the same JSON files.

Pillow resizes and numpy does the rest, so the pixels equal those of transformers' Pillow backend
bit for bit (its torchvision backend differs from both by up to one grey level). Reading pictures
is in `pictures.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .config import read_json
from .errors import CheckpointError, ConfigError, ImageError
from .files import write_json
from .geometry import Geometry
from .lines import Box
from .pictures import ImageSource, check_size, load_image, to_rgb

__all__ = ["ImageProcessor", "ImageSource", "load_image", "refuse_unknown"]

OWN_FILE, MERGED_FILE = "preprocessor_config.json", "processor_config.json"
TYPE_NAME = re.compile(r"(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")
# What a processor does where its file says nothing, as in transformers.
DEFAULTS: dict[str, dict[str, Any]] = {
    "DeiT": {"resample": 3, "size": 256, "do_center_crop": True, "crop_size": 224},
    "ViT": {"resample": 2, "size": 224, "do_center_crop": False, "crop_size": None},
}
# Which processor belongs to an encoder: the oldest files name none.
KINDS = {"deit": "DeiT", "swin": "ViT", "swinv2": "ViT", "vit": "ViT"}
SIZE_KEYS = ({"height", "width"}, {"shortest_edge"})


@dataclass(kw_only=True)
class ImageProcessor:
    """Resize, centre crop, rescale and normalise, under Hugging Face's field names.

    Sizes may be given as an int (a square) or [height, width] too; `resample` is the number of a
    Pillow filter. A processor with one mean makes grey images. `line_aspect_ratio` is our own key:
    the width to height of the lines a checkpoint was trained on. Keys that are not fields are kept
    in `extra` and saved.

    >>> processor = ImageProcessor.from_dict({"feature_extractor_type": "ViTFeatureExtractor"})
    >>> processor([Image.new("RGB", (600, 50), "white")], size=[32, 384]).shape
    (1, 32, 384, 3)
    """

    image_processor_type: str = "ViTImageProcessor"
    do_convert_rgb: bool | None = None
    do_resize: bool = True
    size: Mapping[str, int] = field(default_factory=lambda: {"height": 224, "width": 224})
    resample: int = 2
    do_center_crop: bool = False
    crop_size: Mapping[str, int] | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Sequence[float] = (0.5, 0.5, 0.5)
    image_std: Sequence[float] = (0.5, 0.5, 0.5)
    line_aspect_ratio: float | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], model_type: str | None = None) -> ImageProcessor:
        """Build from a parsed JSON file of any age. A null stands for the default of its class.

        `model_type` is that of the encoder, for files that do not name their processor.
        """
        values = dict(values.get("image_processor", values))
        old_name = values.pop("feature_extractor_type", None)
        kind = _kind(values.pop("image_processor_type", None) or old_name, model_type)
        known = {f.name for f in fields(cls)} - {"extra"}
        given = {name: values[name] for name in known & set(values) if values[name] is not None}
        extra = {name: value for name, value in values.items() if name not in known}
        type_name = f"{kind}ImageProcessor"
        return cls(**{**DEFAULTS[kind], **given}, image_processor_type=type_name, extra=extra)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ImageProcessor:
        """Read a folder's `preprocessor_config.json`, or what `processor_config.json` has of it."""
        folder = Path(folder)
        values = _read(folder / MERGED_FILE).get("image_processor") or _read(folder / OWN_FILE)
        if not values:
            raise CheckpointError(
                f"{folder} has no {OWN_FILE}; expected one beside the model; take the one of the "
                "checkpoint it was trained from, or save an ImageProcessor there"
            )
        config = _read(folder / "config.json")
        return cls.from_dict(values, (config.get("encoder") or config).get("model_type"))

    def __post_init__(self) -> None:
        self.size = _size("size", self.size)
        if self.crop_size is not None:
            self.crop_size = _size("crop_size", self.crop_size, SIZE_KEYS[:1])
        self.image_mean = _numbers("image_mean", self.image_mean)
        self.image_std = _numbers("image_std", self.image_std)
        self._check()

    def _check(self) -> None:
        means, deviations = self.image_mean, self.image_std
        cropped = self.crop_size is not None or not self.do_center_crop
        aspect = 1 if self.line_aspect_ratio is None else self.line_aspect_ratio
        expectations = {
            "resample": (self.resample in range(6), "a Pillow filter, 0 to 5"),
            "crop_size": (cropped, "a size, as do_center_crop is true"),
            "rescale_factor": (_is_number(self.rescale_factor), "a number"),
            "image_mean": (len(means) in (1, 3), "3 numbers, or 1 for grey images"),
            "image_std": (
                len(deviations) == len(means) and all(deviations),
                "as many numbers as image_mean has, and no zero",
            ),
            "line_aspect_ratio": (_is_number(aspect) and aspect > 0, "a number above 0"),
        }
        for name in (f.name for f in fields(self) if f.name.startswith("do_")):
            expectations[name] = (getattr(self, name) in (True, False, None), "true or false")
        for name, (fits, expected) in expectations.items():
            if not fits:
                raise _wrong(name, getattr(self, name), expected)

    def to_dict(self) -> dict[str, Any]:
        """What `preprocessor_config.json` holds, for us and for transformers."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        present = {name: value for name, value in values.items() if value is not None}
        return {**self.extra, **present}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `preprocessor_config.json`; where `processor_config.json` has a copy, that too."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / OWN_FILE, self.to_dict())
        merged = _read(folder / MERGED_FILE)
        if "image_processor" in merged:
            write_json(folder / MERGED_FILE, {**merged, "image_processor": self.to_dict()})

    def __call__(self, images: Sequence[Image.Image], **overrides: Any) -> np.ndarray:
        """Images to pixels (B, H, W, C) float32; an override replaces a field for this call."""
        refuse_unknown(overrides, OVERRIDES)
        given = {name: value for name, value in overrides.items() if value is not None}
        options = replace(self, **given)
        pixels = [options._pixels(image) for image in images]
        shapes = sorted({array.shape for array in pixels})
        if len(shapes) != 1:
            raise ImageError(
                f"images come out in {shapes or 'no'} shapes; expected one for all; give one image "
                "or more, and do_resize=True with a size of height and width"
            )
        return np.stack(pixels)

    def _pixels(self, image: Image.Image) -> np.ndarray:
        """One image as pixels (H, W, C)."""
        image = to_rgb(image) if len(self.image_mean) == 3 else to_rgb(image).convert("L")
        if self.do_resize:
            target = self._target(*image.size)
            check_size(target, "the resized image")
            image = image.resize(target, self.resample)
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
        if self.do_center_crop and self.crop_size:
            pixels = _cut(pixels, _middle(image.size, self.crop_size))
        factor = self.rescale_factor if self.do_rescale else 1.0
        values = (pixels.astype(np.float64) * factor).astype(np.float32)
        if self.do_normalize:
            mean = np.asarray(self.image_mean, dtype=np.float32)
            values = (values - mean) / np.asarray(self.image_std, dtype=np.float32)
        return values

    def geometry(self, size: tuple[int, int]) -> Geometry:
        """Where the pixels made of a picture of this (width, height) lie in it.

        >>> processor = ImageProcessor(size={"height": 32, "width": 384})
        >>> processor.geometry((600, 50)).to_original((8, 0, 16, 32))
        (12, 0, 25, 50)
        """
        geometry = Geometry.of(size)
        if self.do_resize:
            geometry = geometry.resized(self._target(*size))
        if self.do_center_crop and self.crop_size:
            geometry = geometry.cropped(_middle(geometry.size, self.crop_size))
        return geometry

    def _target(self, width: int, height: int) -> tuple[int, int]:
        """The width and height to resize to."""
        if "shortest_edge" not in self.size:
            return self.size["width"], self.size["height"]
        edge = self.size["shortest_edge"]
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge


OVERRIDES = {f.name for f in fields(ImageProcessor)} - {"image_processor_type", "extra"}


def refuse_unknown(names: Collection[str], known: Collection[str]) -> None:
    """Raise `ConfigError` for a name that is not known, with the one it resembles."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise ConfigError(f"{name} is no option of the processor; {hint}")


def _kind(type_name: str | None, model_type: str | None) -> str:
    match = TYPE_NAME.fullmatch(type_name or "")
    kind = match[1] if match else "" if type_name else KINDS.get(model_type or "", "")
    if kind not in DEFAULTS:
        known = ", ".join(f"{kind}ImageProcessor" for kind in DEFAULTS)
        raise ConfigError(f"image_processor_type is {type_name!r}; expected one of {known}")
    return kind


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"image processor: {name} is {value!r}; expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    """One number for all three channels, or a list with one for each."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if not all(_is_number(number) for number in values):
        raise _wrong(name, value, "numbers")
    return tuple(float(number) for number in values)


def _size(name: str, value: Any, allowed: Sequence[set[str]] = SIZE_KEYS) -> dict[str, int]:
    """A size in any dialect as a dict."""
    sides = (value, value) if isinstance(value, int) else value
    if isinstance(sides, (list, tuple)) and len(sides) == 2:
        sides = {"height": sides[0], "width": sides[1]}
    if isinstance(sides, Mapping):
        sides = {key: length for key, length in sides.items() if length is not None}
        if set(sides) in allowed and all(type(n) is int and n > 0 for n in sides.values()):
            return sides
    keys = " or ".join(" and ".join(sorted(names)) for names in allowed)
    raise _wrong(name, value, f"pixels: one number, [height, width], or an object with {keys}")


def _middle(size: tuple[int, int], crop: Mapping[str, int]) -> Box:
    """The box of a centre crop in an image of a (width, height), which it may reach out of."""
    left, top = (size[0] - crop["width"]) // 2, (size[1] - crop["height"]) // 2
    return left, top, left + crop["width"], top + crop["height"]


def _cut(pixels: np.ndarray, box: Box) -> np.ndarray:
    """A box of an image (H, W, C), black where the image does not reach."""
    left, top, right, bottom = box
    part = pixels[max(0, top) : bottom, max(0, left) : right]
    cut = np.zeros((bottom - top, right - left, pixels.shape[2]), dtype=pixels.dtype)
    row, column = max(0, -top), max(0, -left)
    cut[row : row + part.shape[0], column : column + part.shape[1]] = part
    return cut
