"""A line of a page as a line-reading checkpoint was trained to see it: in pieces, on a canvas.

A line is cut at word gaps into pieces as equal as they allow. The aspect of an image or a line is
its width divided by its height.
"""

import numpy as np
from PIL import Image, ImageStat

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

# In line heights, measured with the bundled checkpoint's first edition on many typefaces and sizes;
# the second learned from lines with these margins.
MARGIN = 0.15  # above and below a line
SIDE_MARGIN = 0.2  # left and right of a piece
PIECE = 0.92  # widest piece, times the aspect
WORD_GAP = 0.14  # narrowest gap between words
WIDE_GAP = 0.7  # wider gaps count as this

EDGE = 1  # pixels around the ink, which its letters shade

LARGEST_CROP = 2**24  # pixels of a picture that may be of one line
LOW = 100  # pixels: a picture that is no higher, and wider than high, is no page
LIKE_A_LINE = 1.25  # an image has a checkpoint's aspect up to this factor, wider or narrower


class PrintedLine:
    """A line of a picture as a checkpoint trained on an aspect reads it: in pieces, on canvases.

    What is around the line is looked at once, for all of its pieces: they are dark on light, and
    shadow and neighbouring lines are cleared away.

    >>> page = Image.new("L", (330, 40), 255)
    >>> for x in range(10, 330, 40):
    ...     page.paste(0, (x, 10, x + 20, 30))
    >>> line = PrintedLine(page, (10, 10, 310, 30), aspect=12)
    >>> [(piece, line.canvas(piece).size) for piece in line.pieces()]
    [((10, 10, 150, 30), (336, 28)), ((170, 10, 310, 30), (336, 28))]
    """

    def __init__(self, image: Image.Image, box: Box, aspect: float) -> None:
        self.box, self.aspect, self.size = _checked(image, box, aspect), aspect, image.size
        self._grey, self._ink, self._paper = _around(image, box)

    def pieces(self) -> list[Box]:
        """The boxes of the line's pieces, each narrow enough for the aspect.

        Pieces go from left to right, tight around their ink, and keep the top and bottom of the
        line so that all are read at one scale. A word wider than a piece is broken where it is
        thinnest.
        """
        left, top, right, bottom = self.box
        limit = int(PIECE * self.aspect * (bottom - top))
        dark = self._ink.sum(axis=0)
        words = [part for word in _words(self._ink) for part in _broken(word, dark, limit)]
        spans = _evenly(words, limit) or [(0, right - left)]
        return [(left + start, top, left + end, bottom) for start, end in spans]

    def canvas(self, piece: Box) -> Image.Image:
        """A piece at the left of an RGB canvas of the aspect, which has the colour of the paper.

        For a piece too wide for the aspect the canvas grows in height, with the text in the middle,
        so that letters keep their proportions.
        """
        left, top, right, bottom = self._with_edge(piece)
        x, y = self._corner
        crop = self._grey.crop((left - x, top - y, right - x, bottom - y))
        size, place = _canvas(piece, crop.size, self.aspect)
        canvas = Image.new("L", size, self._paper)
        canvas.paste(crop, place)
        return canvas.convert("RGB")

    def origin(self, piece: Box) -> tuple[int, int]:
        """Where on the picture, left and top, the corner of the piece's canvas would stand."""
        left, top, right, bottom = self._with_edge(piece)
        _, (x, y) = _canvas(piece, (right - left, bottom - top), self.aspect)
        return left - x, top - y

    def _with_edge(self, piece: Box) -> Box:
        return grown(piece, EDGE, self.size)

    @property
    def _corner(self) -> tuple[int, int]:
        """Where on the picture the greys begin."""
        return self._with_edge(self.box)[:2]


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
    and so is a page. Else its line comes to stand on a canvas of the aspect, as `PrintedLine` draws
    it: stretched over the canvas, it could not be read. A low picture in which no line is found
    comes to stand there whole.

    >>> on_canvas(Image.new("RGB", (384, 32), "white"), aspect=12)[1]
    (0, 0, 384, 32)
    """
    whole = 0, 0, *image.size
    wide, tall = image.width * LIKE_A_LINE > aspect * image.height, image.height > 20 * image.width
    if wide or tall or image.width * image.height > LARGEST_CROP:
        return image, whole
    lines = find_lines(image)
    if not lines and image.height <= LOW and image.width > image.height:
        return _at_left(image, aspect), whole
    left, top, right, bottom = (tuple(side) for side in zip(*(lines or [whole]), strict=True))
    if not lines or max(top) >= min(bottom):  # none, or one below the other
        return image, whole
    line = PrintedLine(image, (min(left), min(top), max(right), max(bottom)), aspect)
    pieces = line.pieces()
    piece = pieces[0] if len(pieces) == 1 else line.box
    canvas = line.canvas(piece)
    x, y = line.origin(piece)
    return canvas, (x, y, x + canvas.width, y + canvas.height)


def _at_left(image: Image.Image, aspect: float) -> Image.Image:
    """A picture at the left of a canvas of an aspect, which has the colour of most of its edge."""
    image = image.convert("RGB")
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper = np.median(edge, axis=0).astype(int)
    canvas = Image.new("RGB", (round(aspect * image.height), image.height), tuple(paper.tolist()))
    canvas.paste(image)
    return canvas


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

    The greys reach `EDGE` beyond the box, the ink does not. A line height of the picture around the
    box is looked at, too: the box may be all ink.
    """
    left, top, right, bottom = box
    area = x, y, _, _ = grown(box, bottom - top + EDGE, image.size)
    grey = leveled(dark_on_light(image.crop(area)), max(1, (bottom - top + 2 * EDGE) // 4))
    (paper,), ink = ImageStat.Stat(grey).median, find_ink(grey)
    edged = u, v, _, _ = grown(box, EDGE, image.size)
    crop = grey.crop((u - x, v - y, edged[2] - x, edged[3] - y))
    own = ink[top - y : bottom - y, left - x : right - x]
    others = _others(ink, top - y, bottom - y)
    if others is None:
        return crop, own, paper
    reach = slice(v - y, edged[3] - y), slice(u - x, edged[2] - x)
    crop.paste(paper, mask=Image.fromarray(_with_edges(others)[reach]))
    return crop, own & ~others[top - y : bottom - y, left - x : right - x], paper


def _others(ink: Mask, top: int, bottom: int) -> Mask | None:
    """Where between these rows, and close by, shapes of other lines are; None where none can be.

    Those are the shapes whose middle is not between the rows; the mask is as large as the ink.
    """
    above, below = slice(max(top - 2 * EDGE, 0), top), slice(bottom, bottom + 2 * EDGE)
    if not (ink[above].any() or ink[below].any()):
        return None
    runs, index = labeled_runs(ink)
    shapes = outlines(runs, index)
    middle = (shapes[:, 1] + shapes[:, 3]) / 2
    near = (runs[0] >= above.start) & (runs[0] < below.stop)
    return painted(runs[:, near & ((middle < top) | (middle > bottom))[index]], ink.shape)


def _with_edges(mask: Mask) -> Mask:
    """A mask with the pixels that touch it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


# From a line to pieces


def _words(ink: Mask) -> list[Span]:
    """The words from left to right: what stands further apart than letters do in this line."""
    inked = np.zeros(ink.shape[1], np.bool_)
    shapes = shapes_of(ink)
    for left, right in shapes[shapes[:, 4] >= SPECK / 2 * len(ink) ** 2][:, [0, 2]].tolist():
        inked[left:right] = True
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
