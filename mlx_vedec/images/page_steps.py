"""Steps for pages, Donut's and Nougat's: fitted into a page, centred on black."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from PIL import Image

from ..errors import ImageError
from .base_image_processor import BaseImageProcessor, sides, size_of
from .boxes import Size, around, without_margins
from .sizes import HEIGHT_AND_WIDTH, Sides, as_thumbnail, with_shortest_edge
from .steps import Steps, lies_across


@dataclass(kw_only=True, eq=False)
class DonutSteps(BaseImageProcessor):
    """Pages: shrunk to fit into 2560x1920 and centred on black; lists are [width, height].

    `do_align_long_axis` first turns a picture that lies across the page by a quarter, clockwise.
    """

    width_first: ClassVar[bool] = True
    sizes: ClassVar[Sequence[set[str]]] = HEIGHT_AND_WIDTH
    pads_last: ClassVar[bool] = False
    size: Sides = sides(height=2560, width=1920)
    do_thumbnail: bool = True
    do_align_long_axis: bool = False
    do_pad: bool | None = True

    def _steps(self, picture: Image.Image | Size) -> Steps:
        steps = Steps.of(size_of(picture))
        self._lay(steps)
        self._crop(steps)
        return steps

    def _lay(self, steps: Steps) -> None:
        """Turn, resize and pad to the page."""
        page = self.size["width"], self.size["height"]
        if self.do_align_long_axis and lies_across(steps.size, page):
            steps.turn()
        if self.do_resize:
            steps.resize(with_shortest_edge(steps.size, min(page)), self.resample)
        if self.do_thumbnail:
            self._shrink(steps, as_thumbnail(steps.size, page))
        if self.do_pad:
            steps.crop(around(steps.size, page))

    def _shrink(self, steps: Steps, size: Size) -> None:
        steps.resize(size, self.resample or Image.Resampling.BICUBIC)  # never the nearest pixel


@dataclass(kw_only=True, eq=False)
class NougatSteps(DonutSteps):
    """Pages: margins cut off, then as Donut's, to 896x672; lists are [height, width].

    Thumbnails are bicubic, in two steps, and there is no centre crop.
    """

    width_first: ClassVar[bool] = False
    size: Sides = sides(height=896, width=672)
    image_mean: Sequence[float] = (0.485, 0.456, 0.406)
    image_std: Sequence[float] = (0.229, 0.224, 0.225)
    do_crop_margin: bool = True

    def _steps(self, picture: Image.Image | Size) -> Steps:
        steps = Steps.of(size_of(picture))
        self._lift(steps)
        if self.do_crop_margin:
            if not isinstance(picture, Image.Image):
                raise ImageError(
                    f"the size of a picture, {picture}, does not say where its margins are; "
                    "expected the picture; give it, or use do_crop_margin=False"
                )
            steps.crop(without_margins(steps.made(picture)))
        self._lay(steps)
        return steps

    def _lift(self, steps: Steps) -> None:
        """What comes before all else, which is nothing here."""

    @property
    def made_size(self) -> tuple[int, int] | None:
        """Height and width of the pixels, which margins do not change where there is padding."""
        if not self.do_crop_margin:
            return super().made_size
        return replace(self, do_crop_margin=False).made_size if self.do_pad else None

    def _shrink(self, steps: Steps, size: Size) -> None:
        steps.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)

    def _keeps(self, values: np.ndarray) -> bool:
        return super()._keeps(values) and not self.do_crop_margin

    def _restored(self, pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Floats whose margins were cut off stay grey levels, as in transformers."""
        cut = self.do_crop_margin and levels.min() < levels.max()
        return pixels if cut else super()._restored(pixels, levels)
