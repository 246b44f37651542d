"""Steps of image processors that are unlike ViT's: sizes in multiples of a number, no cropping.

DPT's and YOLOS' sides are multiples of a number. GOT-OCR's, which InternVL takes too, would cut a
picture into several, which is refused: a model here reads one image at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image

from ..errors import ConfigError
from .base_image_processor import BaseImageProcessor, sides, size_of
from .boxes import Size
from .sizes import HEIGHT_AND_WIDTH, Sides, resized
from .steps import Steps

if TYPE_CHECKING:
    from typing_extensions import Self

YOLOS_MULTIPLE, YOLOS_LONGEST = 16, 1333


@dataclass(kw_only=True, eq=False)
class UncroppedProcessor(BaseImageProcessor):
    """Resize, rescale and normalise; `do_center_crop` is not looked at, as in transformers."""

    def _steps(self, picture: Image.Image | Size) -> Steps:
        steps = Steps.of(size_of(picture))
        if self.do_resize:
            steps.resize(self._resized(steps.size), self.resample)
        return steps

    def _resized(self, size: Size) -> Size:
        return resized(size, self.size)


@dataclass(kw_only=True, eq=False)
class DPTSteps(UncroppedProcessor):
    """Bicubic to 384x384.

    keep_aspect_ratio -- scale both sides alike, by the scale of the two that is nearer 1;
    ensure_multiple_of -- what both sides are rounded to multiples of
    """

    sizes: ClassVar[Sequence[set[str]]] = HEIGHT_AND_WIDTH
    pads_last: ClassVar[bool] = False
    size: Sides = sides(height=384, width=384)
    resample: int = 3
    do_pad: bool | None = False
    keep_aspect_ratio: bool = False
    ensure_multiple_of: int = 1
    size_divisor: int | None = None

    def _check(self) -> None:
        super()._check()
        if type(self.ensure_multiple_of) is not int or self.ensure_multiple_of < 1:
            value = self.ensure_multiple_of
            raise ConfigError(
                f"image processor: ensure_multiple_of is {value!r}; expected 1 or more"
            )
        if self.do_pad and self.size_divisor is not None:
            raise ConfigError(
                f"image processor: do_pad is true with size_divisor {self.size_divisor}; this "
                "padding around the image is not supported; use do_pad=False, and "
                "ensure_multiple_of for sides that are multiples of a number"
            )

    def _resized(self, size: Size) -> Size:
        wanted = self.size["width"], self.size["height"]
        scales = [new / old for new, old in zip(wanted, size, strict=True)]
        if self.keep_aspect_ratio:
            across, down = (abs(1 - scale) for scale in scales)
            scales = [scales[0 if across < down else 1]] * 2
        width, height = (
            round(scale * side / self.ensure_multiple_of) * self.ensure_multiple_of
            for scale, side in zip(scales, size, strict=True)
        )
        return width, height


@dataclass(kw_only=True, eq=False)
class YolosSteps(UncroppedProcessor):
    """Bilinear to 800 along the shorter side or 1333 along the longer, in multiples of 16.

    One number for a size is the shorter side.
    """

    sizes: ClassVar[Sequence[set[str]]] = (
        *HEIGHT_AND_WIDTH,
        {"shortest_edge", "longest_edge"},
        {"max_height", "max_width"},
    )
    size: Sides = sides(shortest_edge=800, longest_edge=YOLOS_LONGEST)
    image_mean: Sequence[float] = (0.485, 0.456, 0.406)
    image_std: Sequence[float] = (0.229, 0.224, 0.225)
    do_pad: bool | None = True

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Build from the keys of a file, which may have those of YOLOS' first files."""
        values = dict(values)
        longest = values.pop("max_size", None) or YOLOS_LONGEST
        padded = values.pop("pad_and_return_pixel_mask", None)
        if padded is not None:
            values.setdefault("do_pad", padded)
        if isinstance(values.get("size"), int):
            values["size"] = {"shortest_edge": values["size"], "longest_edge": longest}
        return super().from_fields(values)

    def __post_init__(self) -> None:
        if isinstance(self.size, int):
            self.size = {"shortest_edge": self.size, "longest_edge": YOLOS_LONGEST}
        super().__post_init__()

    def _resized(self, size: Size) -> Size:
        if "longest_edge" not in self.size:
            return resized(size, self.size)
        return in_sixteens(size, self.size["shortest_edge"], self.size["longest_edge"])


@dataclass(kw_only=True, eq=False)
class GotOcr2Steps(UncroppedProcessor):
    """Bicubic to 384x384; cutting into several images, `crop_to_patches`, is refused."""

    pads_last: ClassVar[bool] = False
    sizes: ClassVar[Sequence[set[str]]] = HEIGHT_AND_WIDTH
    size: Sides = sides(height=384, width=384)
    do_convert_rgb: bool | None = True
    resample: int = 3
    image_mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711)
    crop_to_patches: bool = False

    def _check(self) -> None:
        super()._check()
        if self.crop_to_patches:
            raise ConfigError(
                "image processor: crop_to_patches is true, which makes several images of one; "
                "expected false: a VisionEncoderDecoder model reads one image; use "
                "crop_to_patches=False"
            )


def in_sixteens(size: Size, shortest: int, longest: int) -> Size:
    """The size, in multiples of 16, of a picture whose shorter side becomes `shortest`.

    It becomes less where the longer side would be above `longest`.
    """
    width, height = size
    short, long = sorted(size)
    edge = longest * short / long if long / short * shortest > longest else shortest
    if width < height:
        size = round(edge), int(edge * height / width)
    elif height != round(edge):
        size = int(edge * width / height), round(edge)
    return size[0] - size[0] % YOLOS_MULTIPLE, size[1] - size[1] % YOLOS_MULTIPLE
