"""Image steps that three readers of formulas have in code of their own, by their names.

Which they are was read from the projects' published code, and the numbers are theirs: TexTeller's
`texteller/utils/image.py`, nougat-latex-ocr's `NougatLaTexProcessor` and texify's
`VariableDonutImageProcessor`. A checkpoint says which it needs by the name of an image processor in
its files, ours or theirs, or the caller says it: `load(…, image_steps="texify")`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops

from ..errors import ConfigError, ImageError
from .base_image_processor import BaseImageProcessor, sides, size_of
from .boxes import Box, Size, around
from .page_steps import NougatSteps
from .sizes import HEIGHT_AND_WIDTH, Sides
from .steps import Steps

FAINT = 15  # grey levels from the background that a pixel of TexTeller's border may differ by
DIFFERENCE = (0.114, 0.587, 0.299, 0)  # of red, green and blue: it takes RGB for BGR there
GREY = (0.2989, 0.587, 0.114, -0.5)  # torchvision's weights; the last makes Pillow cut, not round


@dataclass(kw_only=True, eq=False)
class TexTellerSteps(BaseImageProcessor):
    """Trimmed, grey, bicubic into a square, of whose sides the shorter may be 1 less; 448x448.

    What is left of the square, on the right and below, is zeros after normalising.
    """

    sizes: ClassVar[Sequence[set[str]]] = HEIGHT_AND_WIDTH
    own_steps: ClassVar[str] = "texteller"
    kept: ClassVar[Sequence[str]] = ()
    size: Sides = sides(height=448, width=448)
    resample: int = 3
    image_mean: Sequence[float] = (0.9545467,)
    image_std: Sequence[float] = (0.15394445,)
    do_pad: bool | None = True

    def _check(self) -> None:
        super()._check()
        if self.size["height"] != self.size["width"] or self.size["width"] < 2:
            raise ConfigError(
                f"image processor: size is {dict(self.size)}; TexTeller's steps make a square: "
                "expected equal sides, of 2 pixels or more"
            )
        if len(self.image_mean) != 1:
            raise ConfigError(
                f"image processor: image_mean has {len(self.image_mean)} numbers; expected 1, as "
                "TexTeller's steps make grey images"
            )

    @property
    def frame(self) -> Sides | None:
        """The square."""
        return self.size if self.do_pad else None

    @property
    def made_size(self) -> tuple[int, int] | None:
        """Height and width of the pixels: the square, unless it is not filled."""
        square = self.do_resize and self.do_pad
        return (self.size["height"], self.size["width"]) if square else None

    @property
    def sees_colours(self) -> bool:
        """Always: the border is told by them."""
        return True

    def _steps(self, picture: Image.Image | Size) -> Steps:
        steps = Steps.of(size_of(picture))
        if not isinstance(picture, Image.Image):
            raise ImageError(
                f"the size of a picture, {picture}, does not say where its border is; expected "
                "the picture; give it"
            )
        steps.crop(without_border(picture))
        steps.functions.append(lambda image: image.convert("L", GREY))
        if self.do_resize:
            steps.resize(_into_square(steps.size, self.size["width"]), self.resample)
        return steps

    def _keeps(self, values: np.ndarray) -> bool:
        """Numbers become a picture, whose border is trimmed."""
        return False


@dataclass(kw_only=True, eq=False)
class TexifySteps(BaseImageProcessor):
    """Into 420x420 at its own proportions, larger or smaller, in the middle of white."""

    sizes: ClassVar[Sequence[set[str]]] = HEIGHT_AND_WIDTH
    own_steps: ClassVar[str] = "texify"
    kept: ClassVar[Sequence[str]] = ("resample",)
    pads_last: ClassVar[bool] = False
    size: Sides = sides(height=420, width=420)
    image_mean: Sequence[float] = (0.485, 0.456, 0.406)
    image_std: Sequence[float] = (0.229, 0.224, 0.225)
    do_pad: bool | None = True

    def _steps(self, picture: Image.Image | Size) -> Steps:
        steps = Steps.of(size_of(picture))
        page = self.size["width"], self.size["height"]
        if self.do_resize:
            scale = min(new / old for new, old in zip(page, steps.size, strict=True))
            width, height = (
                min(int(old * scale), new) for new, old in zip(page, steps.size, strict=True)
            )
            steps.resize((width, height), self.resample)
        if self.do_pad:
            steps.crop(around(steps.size, page), fill="white")
        return steps

    def _keeps(self, values: np.ndarray) -> bool:
        """Numbers become a picture, as white is one of its grey levels."""
        return False


@dataclass(kw_only=True, eq=False)
class NougatLatexSteps(NougatSteps):
    """What is lower than half of 224x560 is enlarged to that half, on black; then as Nougat's."""

    own_steps: ClassVar[str] = "nougat-latex"
    kept: ClassVar[Sequence[str] | None] = None
    size: Sides = sides(height=224, width=560)
    do_crop_margin: bool = False

    def _lift(self, steps: Steps) -> None:
        """Lay a low picture at the left of the canvas, in the middle of its height."""
        width, height = steps.size
        across, down = self.size["width"], self.size["height"]
        if height >= down // 2:
            return
        wide = max(1, int(width / height * (down // 2)))
        if wide > across:
            size = across, max(1, int(across / width * height))
        else:
            size = wide, down // 2
        steps.resize(size, Image.Resampling.BICUBIC)
        top = -((down - size[1]) // 2)
        steps.crop((0, top, across, top + down))


def without_border(image: Image.Image) -> Box:
    """The box in which a picture (RGB) differs from its commonest corner; all of it if nowhere.

    Of colours that are equally common, the corner counts that comes first: top left, top right,
    bottom left, bottom right.
    """
    right, bottom = image.width - 1, image.height - 1
    corners = [image.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]
    (common, _), *_ = Counter(corners).most_common(1)
    differs = ImageChops.difference(image, Image.new("RGB", image.size, common))  # pyright: ignore
    grey = differs.convert("L", DIFFERENCE)
    box = grey.point([255 * (level > FAINT) for level in range(256)]).getbbox()
    return box or (0, 0, *image.size)


def _into_square(size: Size, side: int) -> Size:
    """The size at which the shorter side is one less than the square's, if the longer then fits."""
    short, long = sorted(size)
    shorter, longer = side - 1, int((side - 1) * long / short)
    if longer > side:
        shorter, longer = max(1, int(side * shorter / longer)), side
    return (shorter, longer) if size[0] <= size[1] else (longer, shorter)
