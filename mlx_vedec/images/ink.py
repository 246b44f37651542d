"""From a picture of print to its dark pixels, and from those to connected shapes."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Span = tuple[int, int]
Mask = NDArray[np.bool_]
Array = NDArray[np.int64]
Floats = NDArray[np.float64]

FAINTEST = 24  # grey levels between paper and ink
MOST_RUNS = 5_000_000  # of dark pixels in rows
ROWS = 256  # that are leveled at once


def dark_on_light(image: Image.Image) -> Image.Image:
    """A picture of any mode as greys: transparency is white; light text on dark is inverted."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode[0] in "IF":  # 16 bits and more
        values = np.asarray(image, np.float32)
        values = values / 257 if values.max() > 255 else values
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    grey = image.convert("L")
    counts = np.array(grey.histogram(), float)
    share, levels = counts / counts.sum(), np.arange(256)
    away = levels - share @ levels
    skewed = share @ away**3 > 0.3 * (share @ away**2) ** 1.5  # the text is the smaller part
    return ImageOps.invert(grey) if skewed else grey


def leveled(grey: Image.Image, step: int) -> Image.Image:
    """Greys whose paper is white also in shadow: divided by the lightest within 2 to 3 steps."""
    paper = grey.reduce(step).filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.BoxBlur(2))
    light = np.asarray(paper.resize(grey.size, Image.Resampling.BILINEAR))
    least = np.float32(np.median(np.asarray(paper)) / 2 + 1)
    values, found = np.asarray(grey), np.empty_like(light)
    for top in range(0, len(light), ROWS):  # as floats a page would take much room
        rows = slice(top, top + ROWS)
        found[rows] = np.minimum(values[rows] / np.maximum(light[rows], least) * 255, 255)
    return Image.fromarray(found)


def find_ink(grey: Image.Image) -> Mask:
    """Which pixels (H, W) are ink, the dark ones; none if all pixels are of one kind."""
    return np.asarray(grey) <= ink_level(grey)


def ink_level(grey: Image.Image, clear: float = 4.0) -> int:
    """The lightest grey that is ink; -1 if all pixels are of one kind.

    clear -- how far apart ink and paper are at least, in the spread around them
    """
    counts = np.array(grey.histogram(), float)
    best, apart, noise = two_kinds(counts)
    if apart < max(FAINTEST, clear * noise):
        return -1
    lightest = best + 1 + int(np.argmax(counts[best + 1 :] > 0))  # of what is no ink
    return (best + lightest) // 2  # where none is now, edges will be once the page is turned


def two_kinds(counts: NDArray[np.float64]) -> tuple[int, float, float]:
    """Otsu's split of a histogram: highest low value, distance of the means, spread around them."""
    values = np.arange(len(counts))
    low, low_sum = counts.cumsum(), (counts * values).cumsum()
    high, high_sum = low[-1] - low, low_sum[-1] - low_sum
    apart = high_sum / np.maximum(high, 1) - low_sum / np.maximum(low, 1)
    between = low * high * apart**2
    best = int(between.argmax())
    total = low[-1] * (counts @ values**2) - low_sum[-1] ** 2
    spread = np.sqrt(max(0.0, total - between[best])) / max(1, low[-1])
    return best, float(apart[best]), float(spread)


def may_be_print(ink: Mask) -> bool:
    """Whether the ink has few enough runs for a page of print: those of noise take gigabytes."""
    return bool(np.count_nonzero(ink[:, 1:] & ~ink[:, :-1]) <= MOST_RUNS)


def labeled_runs(ink: Mask) -> tuple[Array, Array]:
    """The runs of ink in rows, and the number of the connected shape that each is in."""
    runs = runs_of(ink)
    return runs, connected(runs)


def connected(runs: Array) -> Array:
    """The number of the connected shape that each of the runs (row, start, end) is in."""
    return joined(runs.shape[1], *_touching(runs, int(runs[2].max(initial=0)) + 2))


def joined(count: int, one: Array, other: Array) -> Array:
    """The number (count,) of the group that each is in, where pairs are in the same."""
    labels = np.arange(count)
    while (labels[one] != labels[other]).any():
        lowest = np.minimum(labels[one], labels[other])
        np.minimum.at(labels, np.concatenate([labels[one], labels[other]]), np.tile(lowest, 2))
        while (labels[labels] != labels).any():
            labels = labels[labels]
    return np.unique(labels, return_inverse=True)[1]


def outlines(runs: Array, index: Array) -> Array:
    """The shapes that the runs (row, start, end) make, where `index` says which run is in which."""
    rows, starts, ends = runs
    shapes = np.zeros((index.max(initial=-1) + 1, 5), np.int64)
    shapes[:, :2] = runs.max(initial=0)
    np.minimum.at(shapes[:, 0], index, starts)
    np.minimum.at(shapes[:, 1], index, rows)
    np.maximum.at(shapes[:, 2], index, ends)
    np.maximum.at(shapes[:, 3], index, rows + 1)
    np.add.at(shapes[:, 4], index, ends - starts)
    return shapes


def runs_of(mask: Mask) -> Array:
    """Row, start and end of each run of True in a row, row by row."""
    rows, width = len(mask), mask.shape[1] + 1  # a False after each row, and one before the first
    framed = np.zeros(rows * width + 1, np.bool_)
    framed[1:].reshape(rows, width)[:, :-1] = mask
    edges = np.flatnonzero(framed[1:] != framed[:-1])
    row, starts = np.divmod(edges[::2], width)
    return np.stack([row, starts, edges[1::2] - row * width])


def painted(runs: Array, shape: tuple[int, ...]) -> Mask:
    """The mask of a shape (H, W) that is True in the runs (row, start, end) alone."""
    mask = np.zeros(shape, np.bool_)
    for row, start, end in runs.T.tolist():
        mask[row, start:end] = True
    return mask


def _touching(runs: Array, stride: int) -> tuple[Array, Array]:
    """The pairs of runs in neighbouring rows that touch, by a side or a corner."""
    rows, starts, ends = runs
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, "left")
    last = np.searchsorted(rows * stride + starts, below + ends, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    return upper, np.arange(len(upper)) + np.repeat(first - counts.cumsum() + counts, counts)


def spans_of(mask: Mask) -> list[Span]:
    """Start and end of each run of True."""
    _, starts, ends = runs_of(mask[None]).tolist()
    return list(zip(starts, ends, strict=True))


def shapes_of(ink: Mask) -> Array:
    """Connected shapes, (N, 5): left, top, right, bottom and the number of dark pixels of each."""
    return outlines(*labeled_runs(ink))
