"""A line of a page as a line-reading checkpoint was trained to see it: in pieces, on a canvas.

`cut_line` cuts a line at word gaps into pieces as equal as they allow; `line_image` draws what the
checkpoint reads. The aspect of an image or a line is its width divided by its height.
"""

import numpy as np
from PIL import Image, ImageFilter

from ..errors import ImageError
from .boxes import Box, Size, grown
from .ink import (
    Array,
    Mask,
    Span,
    dark_on_light,
    find_ink,
    labeled_runs,
    leveled,
    outlines,
    painted,
    shapes_of,
    spans_of,
    two_kinds,
)
from .lines import SPECK, find_lines

# In line heights, measured with the bundled checkpoint on many typefaces and sizes.
MARGIN = 0.15  # above and below a line
SIDE_MARGIN = 0.2  # left and right of a piece
PIECE = 0.92  # widest piece, times the aspect
WORD_GAP = 0.14  # narrowest gap between words
WIDE_GAP = 0.7  # wider gaps count as this

LARGEST_CROP = 2**24  # pixels of a picture that may be of one line
LIKE_A_LINE = 1.25  # an image has a checkpoint's aspect up to this factor, wider or narrower


def cut_line(image: Image.Image, box: Box, aspect: float) -> list[Box]:
    """The boxes of a line's pieces, each narrow enough for a checkpoint trained on an aspect.

    Pieces go from left to right, tight around their ink, and keep the top and bottom of the line so
    that all are read at one scale. A word wider than a piece is broken where it is thinnest.

    >>> page = Image.new("L", (330, 40), 255)
    >>> for x in range(10, 330, 40):
    ...     page.paste(0, (x, 10, x + 20, 30))
    >>> cut_line(page, (10, 10, 310, 30), aspect=12)
    [(10, 10, 150, 30), (170, 10, 310, 30)]
    """
    left, top, right, bottom = _checked(image, box, aspect)
    _, ink, _ = _around(image, box)
    limit = int(PIECE * aspect * (bottom - top))
    words = [part for word in _words(ink) for part in _broken(word, ink.sum(axis=0), limit)]
    pieces = _evenly(words, limit) or [(0, right - left)]
    return [(left + start, top, left + end, bottom) for start, end in pieces]


def is_line_shaped(size: Size, aspect: float) -> bool:
    """Whether a (width, height) has about the proportions of the lines a checkpoint was trained on.

    >>> is_line_shaped((384, 32), aspect=12), is_line_shaped((640, 480), aspect=12)
    (True, False)
    """
    width, height = size
    return 1 / LIKE_A_LINE < width / height / aspect < LIKE_A_LINE


def is_too_wide(size: Size, aspect: float) -> bool:
    """Whether a (width, height) is wider than a checkpoint of lines reads in one piece.

    >>> is_too_wide((384, 32), aspect=12), is_too_wide((800, 32), aspect=12)
    (False, True)
    """
    width, height = size
    return width > LIKE_A_LINE * aspect * height and width * height <= LARGEST_CROP


def on_canvas(image: Image.Image, aspect: float) -> tuple[Image.Image, Box]:
    """A picture of one line as a checkpoint sees it, and where that lies in the picture.

    A picture that has about the aspect of the checkpoint's lines, or is wider, is taken as it is,
    and so is one in which not exactly one line is found. Else the line comes to stand on a canvas
    of the aspect, as `line_image` draws it: stretched over the canvas, it could not be read.

    >>> on_canvas(Image.new("RGB", (384, 32), "white"), aspect=12)[1]
    (0, 0, 384, 32)
    """
    whole = 0, 0, *image.size
    wide, tall = image.width * LIKE_A_LINE > aspect * image.height, image.height > 20 * image.width
    if wide or tall or image.width * image.height > LARGEST_CROP:
        return image, whole
    lines = find_lines(image)
    pieces = cut_line(image, lines[0], aspect) if len(lines) == 1 else []
    if len(pieces) != 1:
        return image, whole
    canvas = line_image(image, pieces[0], aspect)
    left, top = line_origin(image, pieces[0], aspect)
    return canvas, (left, top, left + canvas.width, top + canvas.height)


def line_image(image: Image.Image, box: Box, aspect: float) -> Image.Image:
    """What a box of the image holds, dark on light, at the left of an RGB canvas of an aspect.

    Shadow and neighbouring lines are cleared away; the canvas has the colour of the paper. For a
    box too wide for the aspect it grows in height, with the text in the middle, so that letters
    keep their proportions.

    >>> line_image(Image.new("L", (300, 40), 255), (10, 10, 150, 30), aspect=12).size
    (336, 28)
    """
    crop, _, paper = _around(image, grown(_checked(image, box, aspect), 1, image.size))
    size, place = _canvas(box, crop.size, aspect)
    canvas = Image.new("L", size, paper)
    canvas.paste(crop, place)
    return canvas.convert("RGB")


def line_origin(image: Image.Image, box: Box, aspect: float) -> tuple[int, int]:
    """Where on the page, left and top, the corner of `line_image`'s canvas would stand."""
    left, top, right, bottom = grown(_checked(image, box, aspect), 1, image.size)
    _, (x, y) = _canvas(box, (right - left, bottom - top), aspect)
    return left - x, top - y


def _canvas(box: Box, crop: Size, aspect: float) -> tuple[Size, tuple[int, int]]:
    """The canvas's size, and the place on it of the box's crop, which has the ink's grey edge."""
    lines = box[3] - box[1]
    side, above = round(SIDE_MARGIN * lines), round(MARGIN * lines)
    width = crop[0] + 2 * side
    height = max(crop[1] + 2 * above, round(width / aspect))
    return (max(width, round(height * aspect)), height), (side, (height - crop[1]) // 2)


def _checked(image: Image.Image, box: Box, aspect: float) -> Box:
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ImageError(
            f"box {box} is empty or leaves the image of {image.width}x{image.height} pixels; "
            "expected (left, top, right, bottom), as find_lines returns them"
        )
    if not aspect > 0:
        raise ImageError(f"aspect is {aspect}; expected the width / height of a line, such as 12")
    return box


# The surroundings of a box


def _around(image: Image.Image, box: Box) -> tuple[Image.Image, Mask, int]:
    """A box's greys without shadow and other lines, where its ink is, and the grey of the paper.

    A line height of the page around it is looked at, too: the box may be all ink.
    """
    left, top, right, bottom = box
    height = bottom - top
    area = x, y, _, _ = grown(box, height, image.size)
    grey = leveled(dark_on_light(image.crop(area)), max(1, height // 4))
    paper = int(np.median(np.asarray(grey)))
    ink = find_ink(grey)
    others = _others(ink, top - y, bottom - y)
    with_edges = Image.fromarray(others).convert("L").filter(ImageFilter.MaxFilter(3))
    grey.paste(paper, mask=with_edges)
    inside = left - x, top - y, right - x, bottom - y
    own = (ink & ~others)[inside[1] : inside[3], inside[0] : inside[2]]
    return grey.crop(inside), own, paper


def _others(ink: Mask, top: int, bottom: int) -> Mask:
    """The shapes of other lines: those whose middle is not between these rows."""
    runs, index = labeled_runs(ink)
    shapes = outlines(runs, index)
    middle = (shapes[:, 1] + shapes[:, 3]) / 2
    return painted(runs[:, ((middle < top) | (middle > bottom))[index]], ink.shape)


# From a line to pieces


def _words(ink: Mask) -> list[Span]:
    """The words from left to right: what stands further apart than letters do in this line."""
    inked = np.zeros(ink.shape[1], np.bool_)
    for left, _, right, _, dark in shapes_of(ink):
        inked[left:right] |= dark >= SPECK / 2 * len(ink) ** 2
    spans = spans_of(inked)
    gaps = [after[0] - before[1] for before, after in zip(spans, spans[1:], strict=False)]
    kinds = np.bincount(np.minimum([0, *gaps], int(WIDE_GAP * len(ink)))).astype(float)
    narrowest = max(two_kinds(kinds)[0], WORD_GAP * len(ink))
    words = spans[:1]
    for span, gap in zip(spans[1:], gaps, strict=True):
        words = [*words, span] if gap > narrowest else [*words[:-1], (words[-1][0], span[1])]
    return words


def _broken(word: Span, dark: Array, limit: int) -> list[Span]:
    """A word wider than the limit in parts that are not, cut at the thinnest columns."""
    start, end = word
    count = -(-(end - start) * 10 // (limit * 9)) if end - start > limit else 1
    edges = [start]
    for cut in range(1, count):
        ideal, reach = start + (end - start) * cut // count, limit // 20
        edges.append(ideal - reach + int(dark[ideal - reach : ideal + reach + 1].argmin()))
    return list(zip(edges, [*edges[1:], end], strict=True))


def _evenly(words: list[Span], limit: int) -> list[Span]:
    """Neighbouring words put together: as few pieces as the limit allows, as equal as can be."""
    best: list[tuple[int, int, list[Span]]] = [(0, 0, [])]
    for last, (_, end) in enumerate(words):
        options = []
        for first in range(last + 1):
            start, (count, squares, pieces) = words[first][0], best[first]
            if end - start <= limit or first == last:
                options.append((count + 1, squares + (end - start) ** 2, [*pieces, (start, end)]))
        best.append(min(options))
    return best[-1][2]
