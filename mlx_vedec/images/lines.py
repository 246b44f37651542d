"""The text lines of a level page, of any sizes, in any columns.

Shapes that may be letters make rows (`rows`). What stands in pictures is no print, nor are rows
whose letters do not stand on a line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .boxes import Box
from .chains import MARK, heights, members, widths
from .graphics import Pictures, is_rule, sides_of
from .ink import Array, Mask, dark_on_light, find_ink, labeled_runs, leveled, may_be_print, outlines
from .rows import LARGEST, SMALLEST, cut_between, rows_of, usual_height, with_marks

# In letter heights.
WEAK = 0.2  # of how dark ink is against the lightest ink, from which a shape is no shadow
SPECK = 0.01  # fewest dark pixels of a dot, per square
OTHER = 0.25  # that a line sinks by more or less than others, to have a slope of its own
ON_FOOT = 0.15  # that letters stand above or below the foot of their line, and yet on it
ALIGNED = 0.5  # least share of a line's letters that stand on its foot
FEW = 4  # letters, that may stand anyhow
SHORTEST, TALLEST = 0.5, 10.0  # of what stands alone, in the usual height of the page's letters
NOISE = 10  # times more shapes in all rows than in those of print
THIN, FLAT = 0.12, 4  # in heights: as narrow or as wide is no letter
THIN_ALONE = 0.2  # likewise where it is the only one

MOST_SHAPES = 200_000


@dataclass(frozen=True, eq=False)
class LevelLine:
    """A line of print that is level, or nearly.

    letters -- its shapes (N, 5). high -- their usual height, in pixels
    foot    -- the baseline's y at x = 0. slope -- pixels that it sinks by in one to the right
    """

    letters: Array
    high: float
    foot: float
    slope: float

    @property
    def box(self) -> Box:
        """The box that is tight around its ink."""
        left, top = self.letters[:, :2].min(axis=0).tolist()
        right, bottom = self.letters[:, 2:4].max(axis=0).tolist()
        return left, top, right, bottom

    @property
    def width(self) -> int:
        """Pixels from its start to its end."""
        return self.box[2] - self.box[0]

    @property
    def reach(self) -> tuple[float, float]:
        """How far its ink is above the baseline, and below it."""
        feet = self.foot + self.slope * (self.letters[:, 0] + self.letters[:, 2]) / 2
        above, below = feet - self.letters[:, 1], self.letters[:, 3] - feet
        return float(above.max()), float(below.max())

    @property
    def tall(self) -> Array:
        """Its letters without its marks."""
        return self.letters[heights(self.letters) >= MARK * self.high]

    @property
    def is_print(self) -> bool:
        """Whether its letters are enough, and stand on it."""
        tall = self.tall
        off = np.abs(tall[:, 3] - self.foot - self.slope * (tall[:, 0] + tall[:, 2]) / 2)
        aligned = np.mean(off <= max(1.0, ON_FOOT * self.high))
        return len(tall) >= FEW and bool(aligned >= ALIGNED)

    def around(self, above: float, below: float) -> list[tuple[float, float]]:
        """The corners, from the upper left on, of what is between two heights over the baseline."""
        left, _, right, _ = self.box
        start, end = (self.foot + self.slope * x for x in (left, right))
        return [
            (left, start - above),
            (right, end - above),
            (right, end + below),
            (left, start + below),
        ]


def find_lines(image: Image.Image) -> list[Box]:
    """The text lines of a level page from top to bottom, each tight around its ink; none if blank.

    >>> find_lines(Image.new("L", (640, 480), 255))
    []
    """
    if min(image.size) < SMALLEST:
        return []
    grey = dark_on_light(image)
    light = leveled(grey, max(1, max(grey.size) // 64))
    boxes = [line.box for line in lines_of(find_ink(light), light)[0]]
    return sorted(boxes, key=lambda box: (box[1], box[0]))


def lines_of(ink: Mask, light: Image.Image) -> tuple[list[LevelLine], Array]:
    """The lines that the dark pixels (H, W) of a level page make, in no order, and its rules.

    light -- the page's greys, leveled. The rules are boxes (N, 4) of long thin shapes. No lines are
    found in what is noise, nor in pictures
    """
    none = np.zeros((0, 4), np.int64)
    if not may_be_print(ink):
        return [], none
    runs, index = labeled_runs(ink)
    shapes = outlines(runs, index)
    strong = _strong(ink, runs, index, shapes, np.asarray(light))
    runs, index, shapes = _some_of(runs, index, shapes, strong)
    usual = usual_height(shapes, max(ink.shape))
    rule, frame = is_rule(shapes, usual), _is_frame(shapes, usual)
    letters = _may_be_letters(shapes, usual, len(ink)) & ~(rule | frame)
    if not 0 < np.count_nonzero(letters) <= MOST_SHAPES:
        return [], none
    rules = np.concatenate([shapes[rule], sides_of(ink, shapes[frame], usual)])
    lines = _lines(runs, index, shapes, letters, rules)
    print_ = [line.box for line in lines if line.is_print]
    hidden = Pictures(light, usual, print_).around(shapes)
    if (hidden & letters).any():
        lines = _lines(runs, index, shapes, letters & ~hidden, rules)
    return _without_specks(lines, int(shapes[:, 4].sum() - rules[:, 4].sum())), rules[:, :4]


def _strong(ink: Mask, runs: Array, index: Array, shapes: Array, light: Array) -> Mask:
    """Which shapes are clearly dark: those of shadows and edges are hardly darker than the paper.

    That is told by their darkest pixel, against the usual one of what is as high as letters.
    """
    edges = (runs[0] * light.shape[1] + runs[1:]).T.ravel()
    darkest = np.full(len(shapes), 255)
    values = np.append(light.ravel(), 255)
    np.minimum.at(darkest, index, np.minimum.reduceat(values, edges)[::2] if len(edges) else [])
    lightest = int(light[ink].max(initial=0))
    high = usual_height(shapes, max(light.shape))
    like = (heights(shapes) >= 0.5 * high) & (heights(shapes) <= 2 * high)
    order = np.argsort(darkest[like], kind="stable")
    weights = shapes[like, 4][order].cumsum()
    if not len(order):
        return np.ones(len(shapes), bool)
    usual = darkest[like][order][np.searchsorted(weights, weights[-1] / 2)]
    return darkest <= lightest - WEAK * (lightest - usual)


def _some_of(runs: Array, index: Array, shapes: Array, some: Mask) -> tuple[Array, Array, Array]:
    """The runs and shapes of some of the shapes, numbered anew."""
    kept = some[index]
    return runs[:, kept], (some.cumsum() - 1)[index[kept]], shapes[some]


def _may_be_letters(shapes: Array, usual: float, page: int) -> Mask:
    """Which shapes may be letters or marks, if no rules or frames: no pictures or specks."""
    high, dark = heights(shapes), shapes[:, 4]
    huge = (high > LARGEST * page) & (high > 4 * usual)
    speck = dark < max(2, SPECK * usual**2)
    return ~(huge | speck)


def _is_frame(shapes: Array, usual: float) -> Mask:
    high, wide = heights(shapes), widths(shapes)
    return (np.minimum(high, wide) > 2 * usual) & (shapes[:, 4] < 0.12 * high * wide)


def _lines(
    runs: Array, index: Array, shapes: Array, letters: Mask, rules: Array
) -> list[LevelLine]:
    """The lines of some of the shapes that the runs make."""
    numbers = np.flatnonzero(letters)
    upright = heights(rules) > widths(rules)
    home = rows_of(shapes[letters], rules[~upright], rules[upright])
    whole, home = cut_between(shapes[letters], home, runs, index, numbers)
    return [_line(whole[group]) for group in members(with_marks(whole, home))]


# Lines


def _line(letters: Array) -> LevelLine:
    high = heights(letters)
    size = float(np.median(high[high >= MARK * np.sort(high)[int(0.75 * len(high))]]))
    slope, foot = _foot(letters[high >= MARK * size], size)
    return LevelLine(letters, size, foot, slope)


def _without_specks(lines: list[LevelLine], dark: int) -> list[LevelLine]:
    """The lines without rows that do not stand on a line, and without large or small things.

    dark -- pixels of all shapes. Where no line is long, the lines have most of them, or are noise
    """
    sure = [line for line in lines if line.is_print]
    if not sure and 2 * sum(int(line.letters[:, 4].sum()) for line in lines) < dark:
        return []
    printed, every = (sum(len(line.letters) for line in some) for some in (sure, lines))
    if sure and NOISE * printed < every:
        return []
    high = float(np.median([line.high for line in sure])) if sure else 0.0
    few = [line for line in lines if len(line.tall) < FEW]
    return sure + [line for line in few if _may_stand_alone(line, high)]


def _may_stand_alone(line: LevelLine, usual: float) -> bool:
    """Whether a line of a few letters may be one: it has about the usual height, and no rules."""
    wide = np.median(widths(line.tall))
    thin = THIN if len(line.letters) > 1 else THIN_ALONE
    letters = thin * line.high < wide < FLAT * line.high
    return letters and (not usual or SHORTEST * usual < line.high < TALLEST * usual)


def alike(lines: list[LevelLine]) -> list[LevelLine]:
    """Lines with the page's usual slope where their own is not clearly another one."""
    wide = [line.width for line in lines]
    known = [(line.slope, width) for line, width in zip(lines, wide, strict=True) if line.slope]
    if not known:
        return lines
    slopes, weights = np.array(sorted(known)).T
    usual = float(slopes[np.searchsorted(weights.cumsum(), weights.sum() / 2)])
    usual = usual if abs(usual) * max(wide) > 0.1 * min(line.high for line in lines) else 0.0
    found = []
    for line, width in zip(lines, wide, strict=True):
        if line.slope == 0 or abs(line.slope - usual) * width < OTHER * line.high:
            middle = (line.box[0] + line.box[2]) / 2
            line = replace(line, slope=usual, foot=line.foot + (line.slope - usual) * middle)
        found.append(line)
    return found


def _foot(letters: Array, size: float) -> tuple[float, float]:
    """Slope and height at x = 0 of what the letters stand on."""
    x, y = (letters[:, 0] + letters[:, 2]) / 2, letters[:, 3].astype(float)
    slope, foot = 0.0, float(np.median(y))
    if np.ptp(x) < 8 * size:
        return slope, foot
    third = len(x) // 3
    order = np.argsort(x)
    ends = order[:third], order[-third:]
    if third > 3:
        one, other = ((np.median(x[end]), np.median(y[end])) for end in ends)
        slope = (other[1] - one[1]) / (other[0] - one[0])
        foot = float(np.median(y - slope * x))
    for tolerance in (0.3, 0.15, 0.15):
        near = np.abs(y - slope * x - foot) <= max(1.0, tolerance * size)
        if np.count_nonzero(near) < 4 or np.ptp(x[near]) < 8 * size:
            break
        slope, foot = np.polyfit(x[near], y[near], 1).tolist()
    return slope, foot
