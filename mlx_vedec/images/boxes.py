"""Sizes of pictures, and boxes in them: moved, grown, of a crop or a page, of what is dark."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from ..errors import ImageError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""
Size = tuple[int, int]
"""Width and height in pixels, as in Pillow."""

PIXEL_LIMIT = 89_478_485  # where Pillow begins to warn; an A3 page at 600 dpi has 70 million
SIDE_LIMIT = 1_000_000  # pixels on a side: thinner ones take memory by their length to resize
DARK = 200  # of 255, between a page's darkest and lightest pixel: below it is ink


def check_size(size: tuple[int, int], name: str) -> None:
    """Raise `ImageError` for a width and height that are too small to read or too large to hold."""
    width, height = size
    if min(size) < 2:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected at least 2 on each side; "
            "check that it is the picture you mean"
        )
    if width * height > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected at most {PIXEL_LIMIT} in all, and "
            f"{SIDE_LIMIT} on a side; make it smaller or cut it up"
        )


def shifted(box: Box, x: int, y: int, within: Box) -> Box:
    """A box moved to the right and down, cut to another box, in which it keeps at least a pixel.

    >>> shifted((0, 0, 20, 10), 5, -3, within=(8, 0, 100, 50))
    (8, 0, 25, 7)
    """
    left, top, right, bottom = within
    return (
        min(max(box[0] + x, left), right - 1),
        min(max(box[1] + y, top), bottom - 1),
        max(min(box[2] + x, right), left + 1),
        max(min(box[3] + y, bottom), top + 1),
    )


def grown(box: Box, by: int, size: Size) -> Box:
    """A box with so many pixels more on each side, as far as a picture of this size reaches."""
    left, top, right, bottom = box
    return max(left - by, 0), max(top - by, 0), min(right + by, size[0]), min(bottom + by, size[1])


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
