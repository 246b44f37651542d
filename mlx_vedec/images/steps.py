"""What is done to a picture before an encoder sees it: planned first, by sizes alone, then done.

One plan makes the pixels and says where they came from, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from ..errors import ImageError
from .geometry import Geometry, Size
from .lines import Box
from .pictures import PIXEL_LIMIT

Step = Callable[[Image.Image], Image.Image]
DARK = 200  # of 255, between a page's darkest and lightest pixel: below it is ink
CLOCKWISE = 3  # quarter turns counter-clockwise


@dataclass
class Plan:
    """The steps for a picture of some size, each decided on the size that is left by those before.

    >>> plan = Plan.of((600, 50))
    >>> plan.resize((384, 32), Image.Resampling.BILINEAR)
    >>> plan.made(Image.new("RGB", (600, 50))).size == plan.geometry.size
    True
    """

    geometry: Geometry
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, size: Size) -> Plan:
        """A plan to do nothing."""
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
        self.steps.append(lambda image: image.resize(size, resample, reducing_gap=reducing_gap))

    def crop(self, box: Box) -> None:
        """Cut to a box, black where it reaches out."""
        if box == (0, 0, *self.size):
            return
        self.geometry = self.geometry.cropped(box)
        checked(self.size, "the cropped image")
        self.steps.append(lambda image: image.crop(box))

    def turn(self) -> None:
        """Turn by a quarter, clockwise."""
        self.geometry = self.geometry.turned(CLOCKWISE)
        self.steps.append(lambda image: image.transpose(Image.Transpose.ROTATE_270))

    def made(self, image: Image.Image) -> Image.Image:
        """The picture after all steps."""
        for step in self.steps:
            image = step(image)
        return image


def checked(size: Size, name: str) -> Size:
    """The size, if an image can have it."""
    width, height = size
    if min(size) < 1 or width * height > PIXEL_LIMIT:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected 1 or more on each side and at most "
            f"{PIXEL_LIMIT} in all; give a picture that is less thin or smaller, or another size"
        )
    return size


def middle(size: Size, crop: Mapping[str, int], *, pads_less_first: bool = False) -> Box:
    """The box of a centre crop in a picture, which it may reach out of.

    Of an odd number of pixels the smaller part is cut off on the left and on top, but the larger
    part padded, or the smaller too with `pads_less_first`, as torchvision does.
    """
    left, top = (
        -(-excess // 2) if excess < 0 and pads_less_first else excess // 2
        for excess in (size[0] - crop["width"], size[1] - crop["height"])
    )
    return left, top, left + crop["width"], top + crop["height"]


def around(size: Size, page: Size) -> Box:
    """The box of a page with a picture in its middle.

    Of an odd number the smaller part is padded on the left and on top.
    """
    if size[0] > page[0] or size[1] > page[1]:
        raise ImageError(
            f"the image to pad is {size[0]}x{size[1]} pixels; expected at most the "
            f"{page[0]}x{page[1]} of size; turn do_resize and do_thumbnail on, or do_pad off"
        )
    left, top = -((page[0] - size[0]) // 2), -((page[1] - size[1]) // 2)
    return left, top, left + page[0], top + page[1]


def lies_across(size: Size, page: Size) -> bool:
    """Whether a picture is wide and the page high, or the reverse."""
    return (size[0] - size[1]) * (page[0] - page[1]) < 0


def without_margins(image: Image.Image) -> Box:
    """The box of what is dark in a picture; all of it where it has one grey level only."""
    grey = image.convert("L")
    extremes: tuple[int, int] = grey.getextrema()  # pyright: ignore[reportAssignmentType]
    lightest, darkest = extremes[1], extremes[0]
    if lightest == darkest:
        return 0, 0, *image.size
    span = lightest - darkest
    ink = [255 * ((level - darkest) / span * 255 < DARK) for level in range(256)]
    box = grey.point(ink).getbbox()
    assert box is not None  # the darkest pixel is ink
    return box
