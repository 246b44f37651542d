"""Pictures changed at random, as other scans and cameras would have taken them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from ..errors import OptionError
from ..images.loading import as_file, load_image

Augmentation = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Changes a picture at random: each change that is not 0 comes with `probability`, by itself.

    rotate      -- degrees, up to so many to either side
    scale       -- 0.05: width and height by themselves between 95 and 105 %
    shift       -- 0.02: to either side by up to 2 % of the width, and of the height
    blur        -- radius in pixels of a Gaussian, at most
    contrast    -- 0.3: between 70 and 130 %
    brightness  -- 0.3: between 70 and 130 %
    noise       -- standard deviation in grey levels, at most
    jpeg        -- the lowest quality, 1 to 95; it is drawn from there to 95

    The picture keeps its size. What comes in at its edges has the colour of most of its border.

    >>> augment = Augment(rotate=2, blur=0.5)
    >>> augment(Image.new("RGB", (60, 20)), np.random.default_rng(0)).size
    (60, 20)
    """

    rotate: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    blur: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        limits = {"rotate": 180, "scale": 0.9, "shift": 1, "contrast": 1, "brightness": 1}
        limits |= {"blur": 100, "noise": 255, "jpeg": 95, "probability": 1}
        for name, most in limits.items():
            value = getattr(self, name)
            least = 1 if name == "jpeg" and value else 0
            if not least <= value <= most:
                raise OptionError(f"augment: {name} is {value:g}; expected {least} to {most}")

    def __call__(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """The changed picture, 8-bit RGB; what changes and how much is drawn from `random`."""
        for name, change in CHANGES.items():
            most = getattr(self, name)
            # numbers are drawn in any case, so that one change does not alter the draws of others
            comes, own = random.random() < self.probability, random.spawn(1)[0]
            if most and comes:
                image = change(image, most, own)
        return image


def parse_augment(text: str) -> Augment:
    """An `Augment` as a flag has it, such as `rotate=2,blur=0.5,contrast=0.3,jpeg=30`.

    >>> parse_augment("rotate=2,probability=0.3")
    Augment(rotate=2.0, scale=0.0, shift=0.0, blur=0.0, contrast=0.0, brightness=0.0, noise=0.0, \
jpeg=0.0, probability=0.3)
    """
    known = [field.name for field in fields(Augment)]
    values: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in known or name in values:
            again = "is given twice" if name in values else "is no change"
            raise OptionError(f"augment: {name} {again}; expected some of {', '.join(known)}")
        try:
            values[name] = float(number)
        except ValueError as error:
            raise OptionError(
                f"augment: {part} has no number; expected, for example, {name}=0.5"
            ) from error
    return Augment(**values)


def _placed(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """The picture with each pixel (x, y) taken from (ax + by + c, dx + ey + f)."""
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
        fillcolor=_border(image),
    )


def _border(image: Image.Image) -> tuple[int, ...]:
    """The median colour along the edges."""
    pixels = np.asarray(image)
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(edges, axis=0))


def _rotated(image: Image.Image, most: float, random: np.random.Generator) -> Image.Image:
    angle = math.radians(random.uniform(-most, most))
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = image.width / 2, image.height / 2
    across = (cosine, sine, x - cosine * x - sine * y)
    down = (-sine, cosine, y + sine * x - cosine * y)
    return _placed(image, (*across, *down))


def _scaled(image: Image.Image, most: float, random: np.random.Generator) -> Image.Image:
    a, e = 1 / (1 + random.uniform(-most, most, 2))
    x, y = image.width / 2, image.height / 2
    return _placed(image, (a, 0.0, x - a * x, 0.0, e, y - e * y))


def _shifted(image: Image.Image, most: float, random: np.random.Generator) -> Image.Image:
    x, y = random.uniform(-most, most, 2) * image.size
    return _placed(image, (1.0, 0.0, x, 0.0, 1.0, y))


def _blurred(image: Image.Image, most: float, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, most)))


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[..., Image.Image]:
    return lambda image, most, random: kind(image).enhance(1 + random.uniform(-most, most))


def _noisy(image: Image.Image, most: float, random: np.random.Generator) -> Image.Image:
    noise = random.normal(0, random.uniform(0, most), (image.height, image.width, 1))
    values = np.asarray(image, np.float32) + noise.astype(np.float32)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _compressed(image: Image.Image, least: float, random: np.random.Generator) -> Image.Image:
    return load_image(as_file(image, "JPEG", quality=int(random.integers(round(least), 96))))


# In the order in which they happen to a page that is printed, laid down, photographed and saved.
CHANGES: dict[str, Callable[[Image.Image, float, np.random.Generator], Image.Image]] = {
    "rotate": _rotated,
    "scale": _scaled,
    "shift": _shifted,
    "blur": _blurred,
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "noise": _noisy,
    "jpeg": _compressed,
}
