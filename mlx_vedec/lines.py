"""Text lines of a printed page, cut to the width a line-reading checkpoint was trained for.

`find_lines` looks at connected shapes: the middles of letters pile up into one band per line,
smaller shapes (dots, accents, commas, quotes) go to the letter they stand by, and what stands by
none is a speck. `cut_line` cuts at word gaps into pieces as equal as they allow; `line_image` draws
what the checkpoint reads.

Made for clean print: one column, level, lines apart or just touching, dark on light or the reverse.
Columns side by side come out as one line, a picture may come out as one, and a page turned by more
than about a degree or written by hand is not for this module.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from .errors import ImageError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

Array = NDArray[np.int64]
Mask = NDArray[np.bool_]
Span = tuple[int, int]

# In line heights, measured with the bundled checkpoint on print in many typefaces and sizes.
MARGIN = 0.15  # above and below a line
SIDE_MARGIN = 0.2  # left and right of a piece
PIECE = 0.92  # widest piece, times the aspect
WORD_GAP = 0.14  # narrowest gap between words
WIDE_GAP = 0.7  # wider gaps count no more

# In letter heights.
SPECK = 0.01  # fewest pixels of a dot, per square
SMALL = 0.6  # lower shapes are no letters
NEAR = 0.4  # between a letter and its dot
BESIDE = 10  # between a line and its bullet or dash, in widths of that

SMALLEST = 4  # pixels; lower print cannot be read
FAINTEST = 24  # grey levels between paper and ink
VALLEY = 0.5  # a band this much thinner in the middle is two lines


def find_lines(image: Image.Image) -> list[Box]:
    """The text lines of a page from top to bottom, each tight around its ink; none if blank.

    >>> find_lines(Image.new("L", (640, 480), 255))
    []
    """
    grey = _dark_on_light(image)
    ink = _ink(_leveled(grey, max(1, max(grey.size) // 64)))
    shapes = _untouched(ink, _shapes(ink))
    smallest = max(SMALLEST, 0.3 * _letter_height(shapes))
    lines: list[Box] = []
    while (size := _letter_height(shapes)) >= smallest:
        found, shapes = _lines_of_size(shapes, size)
        lines += found
    return sorted(lines, key=lambda box: (box[1], box[0]))


def cut_line(image: Image.Image, box: Box, aspect: float) -> list[Box]:
    """The line in pieces that a checkpoint trained on `aspect` (width / height) reads well.

    Pieces go from left to right, tight around their ink, and keep the top and bottom of the line so
    that all are read at one scale. A word wider than a piece is broken where it is thinnest.
    """
    left, top, right, bottom = _checked(image, box, aspect)
    ink = _ink(_around(image, box))
    limit = int(PIECE * aspect * (bottom - top))
    words = [part for word in _words(ink) for part in _broken(word, ink.sum(axis=0), limit)]
    pieces = _evenly(words, limit) or [(0, right - left)]
    return [(left + start, top, left + end, bottom) for start, end in pieces]


def line_image(image: Image.Image, box: Box, aspect: float) -> Image.Image:
    """The box, dark on light, with a margin at the left of an RGB canvas of `aspect` (width/height).

    The canvas has the colour of the paper around the text. For a box too wide for the aspect it
    grows in height, with the text in the middle, rather than squeeze the letters.
    """
    left, top, right, bottom = _checked(image, box, aspect)
    seen = (
        max(left - 1, 0),
        max(top - 1, 0),
        min(right + 1, image.width),
        min(bottom + 1, image.height),
    )
    crop = _around(image, seen)
    side, above = round(SIDE_MARGIN * (bottom - top)), round(MARGIN * (bottom - top))
    width, height = crop.width + 2 * side, crop.height + 2 * above
    height = max(height, round(width / aspect))
    paper = int(np.median(np.asarray(crop)))
    canvas = Image.new("L", (max(width, round(height * aspect)), height), paper)
    canvas.paste(crop, (side, (height - crop.height) // 2))
    return canvas.convert("RGB")


def _checked(image: Image.Image, box: Box, aspect: float) -> Box:
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        size = f"{image.width}x{image.height}"
        raise ImageError(
            f"box {box} is empty or leaves the image, which is {size}; "
            "expected (left, top, right, bottom) in pixels, as find_lines returns"
        )
    if not aspect > 0:
        raise ImageError(f"aspect is {aspect}; expected width / height of a line, such as 12")
    return box


# From image to ink


def _dark_on_light(image: Image.Image) -> Image.Image:
    """Any mode to L, transparent parts white, inverted if the page is dark and the text light."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    grey = image.convert("L")
    counts, levels = np.array(grey.histogram(), float), np.arange(256)
    tail = counts @ (levels - counts @ levels / max(1, counts.sum())) ** 3
    return ImageOps.invert(grey) if tail > 0 else grey  # the text is the smaller part


def _leveled(grey: Image.Image, step: int) -> Image.Image:
    """Paper to white also where it lies in shadow: divided by the lightest within 2 to 3 steps."""
    paper = grey.reduce(step).filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.BoxBlur(2))
    light = np.asarray(paper.resize(grey.size, Image.Resampling.BILINEAR), np.float32)
    light = np.maximum(light, np.median(light) / 2 + 1)
    return Image.fromarray(np.minimum(np.asarray(grey) / light * 255, 255).astype(np.uint8))


def _around(image: Image.Image, box: Box) -> Image.Image:
    """The box, dark on light and leveled with the help of what surrounds it."""
    left, top, right, bottom = box
    height = bottom - top
    area = (
        max(left - height, 0),
        max(top - height, 0),
        min(right + height, image.width),
        min(bottom + height, image.height),
    )
    grey = _leveled(_dark_on_light(image).crop(area), max(1, height // 8))
    grey = _alone(grey, top - area[1], bottom - area[1])
    return grey.crop((left - area[0], top - area[1], right - area[0], bottom - area[1]))


def _alone(grey: Image.Image, top: int, bottom: int) -> Image.Image:
    """Paper over the shapes of other lines: those whose middle is not between these rows."""
    runs, index = _labeled(_ink(grey))
    shapes = _outlines(runs, index)
    middle = (shapes[:, 1] + shapes[:, 3]) / 2
    others = np.zeros((grey.height, grey.width), np.uint8)
    for row, start, end in runs[:, ((middle < top) | (middle > bottom))[index]].T:
        others[row, start:end] = 255
    edges = Image.fromarray(others).filter(ImageFilter.MaxFilter(3))
    return Image.composite(Image.new("L", grey.size, int(np.median(np.asarray(grey)))), grey, edges)


def _ink(grey: Image.Image) -> Mask:
    """True where dark; nowhere where the pixels are of one kind."""
    best, apart, noise = _two_kinds(np.array(grey.histogram(), float))
    blank = apart < max(FAINTEST, 4 * noise)
    return np.asarray(grey) <= (-1 if blank else best)


def _two_kinds(counts: NDArray[np.float64]) -> tuple[int, float, float]:
    """Otsu: the highest value of the lower kind, how far the means are apart, the spread in each."""
    values = np.arange(len(counts))
    low, low_sum = counts.cumsum(), (counts * values).cumsum()
    high, high_sum = low[-1] - low, low_sum[-1] - low_sum
    apart = high_sum / np.maximum(high, 1) - low_sum / np.maximum(low, 1)
    between = low * high * apart**2
    best = int(between.argmax())
    total = low[-1] * (counts @ values**2) - low_sum[-1] ** 2
    spread = np.sqrt(max(0.0, total - between[best])) / max(1, low[-1])
    return best, float(apart[best]), float(spread)


# From ink to shapes: rows (left, top, right, bottom, dark pixels)


def _shapes(ink: Mask) -> Array:
    """The connected shapes: rows (left, top, right, bottom, dark pixels)."""
    return _outlines(*_labeled(ink))


def _outlines(runs: Array, index: Array) -> Array:
    shapes = np.zeros((index.max(initial=-1) + 1, 5), np.int64)
    shapes[:, :2] = runs.max(initial=0)
    for column, reduce, values in (
        (0, np.minimum, runs[1]),
        (1, np.minimum, runs[0]),
        (2, np.maximum, runs[2]),
        (3, np.maximum, runs[0] + 1),
        (4, np.add, runs[2] - runs[1]),
    ):
        reduce.at(shapes[:, column], index, values)
    return shapes


def _labeled(ink: Mask) -> tuple[Array, Array]:
    """The runs of dark pixels (row, start, end) and for each the number of the shape it is in."""
    runs = _runs(ink)
    labels = _connected(runs.shape[1], *_touching(runs, ink.shape[1] + 2))
    return runs, np.unique(labels, return_inverse=True)[1]


def _runs(mask: Mask) -> Array:
    """Row, start and end of each run of True in a row."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    return np.stack([rows, starts, np.nonzero(edges == -1)[1]])


def _touching(runs: Array, stride: int) -> tuple[Array, Array]:
    """The pairs of runs in neighbouring rows that touch, by a side or a corner."""
    rows, starts, ends = runs
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, "left")
    last = np.searchsorted(rows * stride + starts, below + ends, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    return upper, np.arange(len(upper)) + np.repeat(first - counts.cumsum() + counts, counts)


def _connected(count: int, one: Array, other: Array) -> Array:
    """For each of `count` nodes the lowest that the edges (one, other) connect it to."""
    labels = np.arange(count)
    while (labels[one] != labels[other]).any():
        lowest = np.minimum(labels[one], labels[other])
        np.minimum.at(labels, np.concatenate([labels[one], labels[other]]), np.tile(lowest, 2))
        while (labels[labels] != labels).any():
            labels = labels[labels]
    return labels


def _heights(shapes: Array) -> Array:
    return shapes[:, 3] - shapes[:, 1]


def _letter_height(shapes: Array) -> int:
    """The usual height of what is not a speck."""
    heights = _heights(shapes)
    heights = heights[heights >= SMALLEST]
    return int(np.median(heights)) if len(heights) else 0


def _print(shapes: Array, size: int) -> Array:
    """The shapes that may be print: no specks, rules or frames."""
    left, top, right, bottom, area = shapes.T
    long, short = np.maximum(right - left, bottom - top), np.minimum(right - left, bottom - top)
    speck = area < SPECK * size**2
    rule = (long > 12 * short) & (long > 3 * size)
    frame = (short > 2 * size) & (area < 0.12 * long * short)
    return shapes[~(speck | rule | frame | (bottom - top > 10 * size))]


# From shapes to lines


def _untouched(ink: Mask, shapes: Array) -> Array:
    """The shapes after a cut through those that reach from one line into the next."""
    shapes = _print(shapes, size := _letter_height(shapes))
    letters = shapes[_heights(shapes) >= SMALL * size]
    starts = np.array([start for start, _ in _bands(letters)])
    quarter = _heights(letters) // 4
    cut = ink.copy()
    for row in starts:
        across = (letters[:, 1] + quarter < row) & (row < letters[:, 3] - quarter)
        for left, _, right, _, _ in letters[across]:
            cut[row, left:right] = False
    return _print(_shapes(cut), size)


def _lines_of_size(shapes: Array, size: int) -> tuple[list[Box], Array]:
    """The lines with letters of about this height, and the shapes that belong to none."""
    tall = _heights(shapes) >= SMALL * size
    letters, small = shapes[tall], shapes[~tall]
    home = _joined(letters, _home_bands(letters))
    lines = {line: _hull(letters[home == line]) for line in np.unique(home)}
    owner = np.array([_owner(shape, letters, home, lines, size) for shape in small], np.int64)
    boxes = [_hull(np.concatenate([letters[home == line], small[owner == line]])) for line in lines]
    return boxes, small[owner < 0]


def _home_bands(letters: Array) -> Array:
    """For each letter the number of the band that its middle lies in."""
    starts = [start for start, _ in _bands(letters)]
    return np.searchsorted(starts, (letters[:, 1] + letters[:, 3]) // 2, "right") - 1


def _bands(letters: Array) -> list[Span]:
    """The rows where the middle halves of letters pile up, cut at the valleys of the pile."""
    left, top, right, bottom, _ = letters.T
    quarter = _heights(letters) // 4
    steps = np.zeros(bottom.max(initial=0) + 1, np.int64)
    np.add.at(steps, top + quarter, right - left)
    np.add.at(steps, bottom - quarter, left - right)
    pile = steps.cumsum()
    return [band for span in _spans(pile > 0) for band in _between_valleys(pile, span)]


def _between_valleys(pile: Array, band: Span) -> list[Span]:
    rows = pile[slice(*band)]
    above, below = np.maximum.accumulate(rows), np.maximum.accumulate(rows[::-1])[::-1]
    depth = rows / np.minimum(above, below)
    if depth.min() > VALLEY:
        return [band]
    valley = np.flatnonzero(depth == depth.min())
    row = band[0] + int(valley[len(valley) // 2])
    return _between_valleys(pile, (band[0], row)) + _between_valleys(pile, (row, band[1]))


def _joined(letters: Array, home: Array) -> Array:
    """Bands that are one line (the dots over a heading are as high as letters) under one number."""
    home = home.copy()
    for line in range(1, home.max(initial=0) + 1):
        one, other = letters[home == line - 1], letters[home == line]
        if _same_line(one, other) or _same_line(other, one):
            home[home == line - 1] = line
    return home


def _same_line(part: Array, line: Array) -> bool:
    """Whether the shapes of `part` lie mostly within the rows of the line, or are its dots."""
    left, top, right, bottom = _hull(part)
    line_left, line_top, line_right, line_bottom = _hull(line)
    height, line_height = bottom - top, line_bottom - line_top
    overlap = min(bottom, line_bottom) - max(top, line_top)
    dots = part[:, 4].sum() < 0.2 * line[:, 4].sum()
    dots = dots and line_left - line_height < left < right < line_right + line_height
    return 2 * overlap > height or (
        dots and 2 * height < line_height and -overlap < 0.25 * line_height
    )


def _hull(shapes: Array) -> Box:
    left, top = (int(x) for x in shapes[:, :2].min(axis=0))
    right, bottom = (int(x) for x in shapes[:, 2:4].max(axis=0))
    return left, top, right, bottom


def _owner(shape: Array, letters: Array, home: Array, lines: dict[int, Box], size: int) -> int:
    """The line of the letter next to a small shape, or the only line at its height, or -1."""
    aside = np.maximum(np.maximum(letters[:, 0] - shape[2], shape[0] - letters[:, 2]), 0)
    gap = np.maximum(np.maximum(letters[:, 1] - shape[3], shape[1] - letters[:, 3]), 0)
    nearest = np.hypot(aside, gap).argmin()
    if np.hypot(aside[nearest] / 2, gap[nearest]) <= NEAR * size:
        return int(home[nearest])
    middle = (shape[1] + shape[3]) / 2
    reach = BESIDE * (shape[2] - shape[0])
    beside = [
        line
        for line, (left, top, right, bottom) in lines.items()
        if top <= middle <= bottom and max(left - shape[2], shape[0] - right) <= reach
    ]
    return beside[0] if len(beside) == 1 else -1


# From a line to pieces


def _spans(mask: Mask) -> list[Span]:
    """Start and end of each run of True."""
    _, starts, ends = _runs(mask[None]).tolist()
    return list(zip(starts, ends, strict=True))


def _words(ink: Mask) -> list[Span]:
    """From left to right, what stands further apart than letters do."""
    shapes = _shapes(ink)
    inked = np.zeros(ink.shape[1], np.bool_)
    for left, _, right, _, area in shapes:
        inked[left:right] |= area >= 0.005 * len(ink) ** 2
    spans = _spans(inked)
    gaps = [after[0] - before[1] for before, after in zip(spans, spans[1:], strict=False)]
    widest = int(WIDE_GAP * len(ink))  # a gap between columns is one kind of gap more
    kinds = _two_kinds(np.bincount(np.minimum([0, *gaps], widest)).astype(float))
    narrowest = max(kinds[0], WORD_GAP * len(ink))
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
        ideal, reach = start + (end - start) * cut // count, max(1, limit // 20)
        window = dark[ideal - reach : ideal + reach + 1]
        edges.append(ideal - reach + int(window.argmin()))
    return list(zip(edges, [*edges[1:], end], strict=True))


def _evenly(words: list[Span], limit: int) -> list[Span]:
    """Neighbouring words put together: as few pieces as the limit allows, as equal as can be."""
    best: list[tuple[int, int, list[Span]]] = [(0, 0, [])]
    for last, (_, end) in enumerate(words):
        options = []
        for first in range(last + 1):
            width = end - words[first][0]
            count, squares, pieces = best[first]
            if width <= limit or first == last:
                options.append((count + 1, squares + width**2, [*pieces, (words[first][0], end)]))
        best.append(min(options))
    return best[-1][2]
