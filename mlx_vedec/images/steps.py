"""The steps from a picture to an encoder's pixels: decided first, by sizes alone, then done.

One list of steps makes the pixels and says where they came from, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..errors import ImageError
from .boxes import PIXEL_LIMIT, Box, Size
from .geometry import Geometry

Step = Callable[[Image.Image], Image.Image]
CLOCKWISE = 3  # quarter turns counter-clockwise


@dataclass
class Steps:
    """The steps for a picture of some size, each decided on the size that is left by those before.

    >>> steps = Steps.of((600, 50))
    >>> steps.resize((384, 32), Image.Resampling.BILINEAR)
    >>> steps.made(Image.new("RGB", (600, 50))).size == steps.geometry.size
    True
    """

    geometry: Geometry
    functions: list[Step] = field(default_factory=list)
    resizes: bool = False  # whether any step makes new pixels out of several

    @classmethod
    def of(cls, size: Size) -> Steps:
        """No steps yet."""
        return cls(Geometry.of(checked(size, "the image")))

    @property
    def size(self) -> Size:
        """Width and height after the steps so far."""
        return self.geometry.size

    def resize(self, size: Size, resample: int, reducing_gap: float | None = None) -> None:
        """Pillow's resize, which rounds to whole grey levels after each direction."""
        if size == self.size:
            return
        self.geometry = self.geometry.resized(checked(size, "the resized image"))
        self.resizes = True
        self.functions.append(lambda image: image.resize(size, resample, reducing_gap=reducing_gap))

    def crop(self, box: Box, fill: str = "black") -> None:
        """Cut to a box; where it reaches out, it is filled with a colour."""
        if box == (0, 0, *self.size):
            return
        self.geometry = self.geometry.cropped(box)
        checked(self.size, "the cropped image")
        self.functions.append(lambda image: _cropped(image, box, fill))

    def turn(self) -> None:
        """Turn by a quarter, clockwise."""
        self.geometry = self.geometry.turned(CLOCKWISE)
        self.functions.append(lambda image: image.transpose(Image.Transpose.ROTATE_270))

    def made(self, image: Image.Image) -> Image.Image:
        """The picture after all steps."""
        for step in self.functions:
            image = step(image)
        return image

    def made_of_numbers(self, values: np.ndarray) -> np.ndarray:
        """Numbers (H, W, C) after all steps, each channel by itself, in float32 and unrounded."""
        bands = np.moveaxis(values.astype(np.float32), -1, 0)
        return np.stack([np.asarray(self.made(Image.fromarray(band))) for band in bands], axis=-1)


def _cropped(image: Image.Image, box: Box, fill: str) -> Image.Image:
    if fill == "black":
        return image.crop(box)
    left, top, right, bottom = box
    canvas = Image.new(image.mode, (right - left, bottom - top), fill)
    canvas.paste(image, (-left, -top))
    return canvas


def checked(size: Size, name: str) -> Size:
    """The size itself; raise `ImageError` where an image cannot have it."""
    width, height = size
    if min(size) < 1 or width * height > PIXEL_LIMIT:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected 1 or more on each side and at most "
            f"{PIXEL_LIMIT} in all; give a picture that is less thin or smaller, or another size"
        )
    return size


def lies_across(size: Size, page: Size) -> bool:
    """Whether a picture is wide and the page high, or the reverse."""
    return (size[0] - size[1]) * (page[0] - page[1]) < 0
