"""A line's image: cut along its outline, straightened along its baseline, and in pieces.

What stands outside the outline becomes paper. Places of a strip lead back to places of the page. A
line too wide for a checkpoint that names the aspect of its lines is cut into several pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageStat

from ..errors import LayoutError
from ..images.boxes import Box
from ..images.ink import dark_on_light, find_ink, leveled
from ..images.line_images import PrintedLine
from ..reading.word_boxes import WordBox
from .layout import FoundLine, Line, Points, area, box_around, corners

Floats = NDArray[np.float64]
LEVEL = 0.75  # pixels that a baseline may leave its height by and still be level
REVERSED = 1.2  # how much deeper than high an outline is whose baseline runs against the reading
TALLEST = 4000  # pixels of a strip; a line has no more
STEP = 8.0  # pixels between the places of an outline that are looked at
BEYOND = 3  # sides of the page that an outline or a baseline may be away from its corner
LONGEST = 60_000  # pixels of a line along its baseline
MOST_PLACES = 5_000  # of an outline, that are looked at
SPARE = 0.4  # line heights at its ends, where a fine dot may stand that was not seen
COLUMNS = 8  # that are straightened as one


@dataclass(frozen=True, eq=False)
class Strip:
    """A line's image, upright, and where each of its columns stands on the page.

    image   -- W pixels wide, RGB, or grey for canvases that are. feet -- (W + 1, 2) places of the
               page where the edges of its columns meet the baseline. normals -- (W + 1, 2) unit
               vectors from there to the top
    above   -- rows above the baseline
    """

    image: Image.Image
    feet: Floats
    normals: Floats
    above: float
    page: tuple[int, int]

    def to_page(self, box: Box) -> Box:
        """The box on the page around a box of the strip."""
        left, top, right, bottom = box
        edges = slice(left, right + 1)
        depths = self.above - np.array([top, bottom], float)
        places = self.feet[edges] + depths[:, None, None] * self.normals[edges]
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        width, height = self.page
        x, y = np.clip(np.floor(low + 1e-6), 0, [width - 1, height - 1]).astype(int).tolist()
        u, v = np.clip(np.ceil(high - 1e-6), [x + 1, y + 1], [width, height]).astype(int).tolist()
        return x, y, u, v


def outline_of(line: Line, size: tuple[int, int]) -> Points:
    """The outline that a line is cut along; a `LayoutError` where nothing of the page is inside."""
    name = f"line {line.id}" if line.id else "a line"
    points = line.polygon or (corners(line.box) if line.box != (0, 0, 0, 0) else ())
    if len(set(points)) < 3:
        raise LayoutError(
            f"{name} has an outline of {len(set(points))} points; expected three or more; draw it"
        )
    if area(points) < 1:
        raise LayoutError(f"{name} has an outline without an area; expected one around its text")
    left, top, right, bottom = box_around(points)
    width, height = size
    inside = left < width and top < height and right > 0 and bottom > 0
    near = max(map(abs, (left / width, right / width, top / height, bottom / height))) < BEYOND
    if not (inside and near):
        raise LayoutError(
            f"{name} is at {left},{top} to {right},{bottom}, outside the page of {width}x{height} "
            "pixels; expected a layout of this image, in its pixels"
        )
    return points


def cut(picture: Image.Image, line: Line) -> Strip:
    """The line of an RGB page as a strip, from its start to its end, its letters upright.

    >>> page = Image.new("RGB", (100, 50), "white")
    >>> strip = cut(page, Line(polygon=((10, 10), (90, 10), (90, 30), (10, 30))))
    >>> strip.image.size, strip.to_page((0, 0, 8, 20))
    ((80, 20), (10, 10, 18, 30))
    """
    outline = outline_of(line, picture.size)
    baseline = _without_repeats(line.baseline)
    width, height = picture.size
    far = any(abs(x) > BEYOND * width or abs(y) > BEYOND * height for x, y in baseline)
    if len(baseline) < 2 or far:
        baseline = _lower_side(outline)
    if _is_level(baseline):
        return _crop(picture, outline)
    return _straightened(picture, outline, np.array(baseline, float))


def _without_repeats(points: Points) -> Points:
    return tuple(p for i, p in enumerate(points) if not i or p != points[i - 1])


def _lower_side(outline: Points) -> Points:
    """What stands in for a baseline: of four corners, the lower one of the long sides."""
    left, _, right, bottom = box_around(outline)
    if len(outline) != 4:
        return (left, bottom), (right, bottom)
    sides = [(outline[i], outline[(i + 1) % 4]) for i in range(4)]
    lengths = [np.hypot(u - x, v - y) for (x, y), (u, v) in sides]
    long = 0 if lengths[0] + lengths[2] >= lengths[1] + lengths[3] else 1
    one, other = sides[long], sides[long + 2]
    lower = max(one, other, key=lambda side: side[0][1] + side[1][1])
    return tuple(sorted(lower))


def _is_level(baseline: Points) -> bool:
    heights = [y for _, y in baseline]
    forwards = baseline[0][0] < baseline[-1][0]
    return forwards and max(heights) - min(heights) <= LEVEL


def _crop(picture: Image.Image, outline: Points) -> Strip:
    """The strip of a level line: its pixels as they are."""
    left, top, right, bottom = box_around(outline)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, picture.width), min(bottom, picture.height)
    image = picture.crop((left, top, right, bottom))
    if set(outline) != set(corners((left, top, right, bottom))):
        image = _masked(image, _mask(outline, (left, top, right, bottom)))
    edges = np.arange(left, right + 1, dtype=float)
    feet = np.stack([edges, np.full_like(edges, bottom)], axis=1)
    normals = np.tile([0.0, -1.0], (len(edges), 1))
    return Strip(image, feet, normals, float(bottom - top), picture.size)


def _mask(outline: Points, box: Box) -> Image.Image:
    """White where a box's pixels are inside an outline."""
    left, top, right, bottom = box
    mask = Image.new("L", (right - left, bottom - top), 0)
    moved = [(x - left, y - top) for x, y in outline]
    ImageDraw.Draw(mask).polygon(moved, fill=255, outline=255)
    return mask


def _masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with the paper's colour, the most usual inside, everywhere outside."""
    known = np.asarray(image)[np.asarray(mask) > 0]
    red, green, blue = np.median(known, axis=0).astype(int).tolist() if len(known) else (255,) * 3
    paper = Image.new("RGB", image.size, (red, green, blue))
    paper.paste(image, mask=mask)
    return paper


# Along a baseline


def _straightened(picture: Image.Image, outline: Points, baseline: Floats) -> Strip:
    border = _densely(np.array([*outline, outline[0]], float))
    for path in (baseline, baseline[::-1]):
        feet, normals = _columns(path, border)
        heights = _heights(border, feet, normals)
        above, below = max(heights.max(), 0.0), max(-heights.min(), 0.0)
        level_backwards = path[0][0] > path[-1][0] and below * REVERSED > above
        if below <= REVERSED * above and not level_backwards:
            break
    size = len(feet) - 1, int(np.ceil(min(above + below, TALLEST))) or 1
    box = _around(feet, normals, above, size[1], picture.size)
    mesh = _mesh(feet - box[:2], normals, above, size)
    image = picture.crop(box).transform(size, *mesh, Image.Resampling.BILINEAR)
    mask = _mask(outline, box).transform(size, *mesh, Image.Resampling.NEAREST)
    return Strip(_masked(image, mask), feet, normals, float(above), picture.size)


def _around(feet: Floats, normals: Floats, above: float, rows: int, page: tuple[int, int]) -> Box:
    """The part of the page that a strip is of."""
    return _box_on(np.concatenate([feet + above * normals, feet + (above - rows) * normals]), page)


def _box_on(corners: Floats, page: tuple[int, int]) -> Box:
    """The box on the page around places, and a pixel more."""
    left, top = np.clip(np.floor(corners.min(axis=0)) - 1, 0, page).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, page).astype(int).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _mesh(
    feet: Floats, normals: Floats, above: float, size: tuple[int, int]
) -> tuple[Image.Transform, list[tuple[Box, tuple[float, ...]]]]:
    """Where on the page each few columns of a strip come from."""
    width, rows = size
    top, bottom = feet + above * normals, feet + (above - rows) * normals
    pieces = []
    for left in range(0, width, COLUMNS):
        right = min(left + COLUMNS, width)
        quad = np.concatenate([top[left], bottom[left], bottom[right], top[right]])
        pieces.append(((left, 0, right, rows), tuple(quad.tolist())))
    return Image.Transform.MESH, pieces


def _densely(path: Floats) -> Floats:
    """A path with a point every few pixels."""
    lengths = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], lengths.cumsum()])
    at = np.linspace(0, along[-1], min(max(int(along[-1] / STEP), 1), MOST_PLACES) + 1)
    return np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], axis=1)


def _columns(path: Floats, border: Floats) -> tuple[Floats, Floats]:
    """Feet and normals of a path that is made longer or shorter so that it spans the border."""
    steps = np.diff(path, axis=0)
    lengths = np.hypot(*steps.T)
    directions = steps / lengths[:, None]
    along = np.concatenate([[0.0], lengths.cumsum()])
    start = float(((border - path[0]) @ directions[0]).min())
    end = along[-1] + float(((border - path[-1]) @ directions[-1]).max())
    if end - start > LONGEST:
        raise LayoutError(
            f"a line is {end - start:.0f} pixels long along its baseline; expected at most "
            f"{LONGEST}; draw it again"
        )
    at = start + np.arange(max(round(end - start), 1) + 1)
    feet = np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], axis=1)
    before, after = np.minimum(at, 0), np.maximum(at - along[-1], 0)
    feet += before[:, None] * directions[0] + after[:, None] * directions[-1]
    piece = np.clip(np.searchsorted(along, at, "right") - 1, 0, len(directions) - 1)
    tangents = _smooth(directions[piece], _height(border, path))
    return feet, np.stack([tangents[:, 1], -tangents[:, 0]], axis=1)


def _height(border: Floats, path: Floats) -> int:
    """About how high a line is: its outline's area by its length."""
    points = [(x, y) for x, y in border.tolist()]
    length = max(float(np.hypot(*np.diff(path, axis=0).T).sum()), 1.0)
    return max(int(area(points) / length), 1)


def _smooth(tangents: Floats, window: int) -> Floats:
    """Directions without jumps, so that letters at a bend are not torn."""
    window = min(window, len(tangents)) | 1
    padded = np.pad(tangents, ((window // 2, window // 2), (0, 0)), "edge")
    sums = np.pad(padded.cumsum(axis=0), ((1, 0), (0, 0)))
    means = sums[window:] - sums[:-window]
    return means / np.maximum(np.hypot(*means.T), 1e-9)[:, None]


def _heights(border: Floats, feet: Floats, normals: Floats) -> Floats:
    """How far above the baseline each place of the border is."""
    feet, normals = feet[::COLUMNS], normals[::COLUMNS]
    apart = border[:, None] - feet[None]
    nearest = (apart**2).sum(axis=2).argmin(axis=1)
    return (apart[np.arange(len(border)), nearest] * normals[nearest]).sum(axis=1)


# A line in the pieces that a checkpoint reads


@dataclass(frozen=True, eq=False)
class Piece:
    """A picture for the model, and how boxes in it are boxes on the page."""

    picture: Image.Image
    to_page: Callable[[Box], Box]


def pieces_of(picture: Image.Image, line: Line, aspect: float | None) -> list[Piece]:
    """A line as the checkpoint reads it: in one piece, or in several on canvases of an aspect.

    A line that was found here is cut where its ink is; any other along its outline and baseline. A
    line without ink has no pieces, where there is an aspect.
    """
    if isinstance(line, FoundLine):
        return _of_found(picture, line, aspect)
    strip = cut(picture, line)
    if aspect is None:
        return [Piece(strip.image, strip.to_page)]
    inked = _inked(strip.image)
    return _on_canvases(strip.image, inked, aspect, strip.to_page) if inked else []


def _of_found(picture: Image.Image, line: FoundLine, aspect: float | None) -> list[Piece]:
    if line.quad:
        strip, inner = _turned(picture, line, "RGB" if aspect is None else "L")
        if aspect is None:
            image = strip.image.crop(inner)
            return [Piece(image, partial(_moved, inner[:2], inner, to_page=strip.to_page))]
        return _on_canvases(strip.image, inner, aspect, strip.to_page)
    if aspect is None or line.ink == (0, 0, *picture.size):
        return [Piece(picture.crop(line.ink), partial(_moved, line.ink[:2], line.ink))]
    return _on_canvases(picture, line.ink, aspect, lambda box: box)


def _turned(picture: Image.Image, line: FoundLine, mode: str) -> tuple[Strip, Box]:
    """A strip with a line that is not level and what is around it, and the box of its ink there.

    mode -- Pillow's, of the strip's image
    """
    quad = np.array(line.quad, float)
    across, down = quad[1] - quad[0], quad[3] - quad[0]
    width, height = (max(round(float(np.hypot(*side))), 1) for side in (across, down))
    margin = height
    along = np.array([-margin, width + margin]) / width
    deep = np.array([-margin, height + margin]) / height
    top, bottom = (quad[i] + along[:, None] * (quad[j] - quad[i]) for i, j in ((0, 1), (3, 2)))
    upper, lower = (top + share * (bottom - top) for share in deep)
    size = width + 2 * margin, height + 2 * margin
    box = _box_on(np.concatenate([upper, lower]), picture.size)
    crop = picture.crop(box).convert(mode)
    places = np.stack([upper[0], lower[0], lower[1], upper[1]]) - box[:2]
    image = crop.transform(
        size,
        Image.Transform.QUAD,
        places.ravel().tolist(),
        Image.Resampling.BICUBIC,
        fillcolor=tuple(ImageStat.Stat(crop).median),
    )
    shares = np.linspace(0, 1, size[0] + 1)[:, None]
    feet = lower[0] + shares * (lower[1] - lower[0])
    normals = (upper[0] - lower[0] + shares * (upper[1] - upper[0] - lower[1] + lower[0])) / size[1]
    strip = Strip(image, feet, normals, float(size[1]), picture.size)
    spare = round(SPARE * height)
    return strip, (margin - spare, margin, margin + width + spare, margin + height)


def _on_canvases(
    picture: Image.Image, box: Box, aspect: float, to_page: Callable[[Box], Box]
) -> list[Piece]:
    line = PrintedLine(picture, box, aspect)
    return [
        Piece(line.canvas(part), partial(_moved, line.origin(part), part, to_page=to_page))
        for part in line.pieces()
    ]


def _moved(
    origin: tuple[int, int], within: Box, box: Box, to_page: Callable[[Box], Box] | None = None
) -> Box:
    """A piece's box as one of what it was cut from, and then of the page."""
    moved = WordBox("", box, 0.0).moved(*origin, within).box
    return to_page(moved) if to_page else moved


def _inked(image: Image.Image) -> Box | None:
    """The box around what is dark, or light on dark; None where nothing is."""
    grey = leveled(dark_on_light(image), max(1, image.height // 4))
    ink = find_ink(grey)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
