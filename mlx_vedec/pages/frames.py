"""A page as it would lie straight, and where each of its places is in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image

from ..images.boxes import Size
from ..images.ink import Floats
from ..images.lines import LevelLine

WHITE = 255
FEWEST = 6  # lines that say where they meet
LONG = 8  # least width of such a line, in letter heights
ASTRAY = 0.5  # letter heights that lines differ by at their ends, if that is to be seen to
NEAREST = 1.0  # widths of the page from its middle, that lines meet in: nearer is no mild angle


@dataclass(frozen=True, eq=False)
class Frame:
    """A straight page and its map (3, 3) to the picture, in homogeneous coordinates of edges.

    >>> frame = Frame.turned((200, 100), 90)
    >>> frame.size, frame.to_picture([(0, 0)]).tolist()
    ((100, 200), [[200.0, 0.0]])
    """

    size: Size
    matrix: Floats

    @classmethod
    def turned(cls, size: Size, angle: float) -> Frame:
        """The frame of a picture whose lines run at an angle, in degrees, clockwise from level."""
        quarters, rest = round(angle / 90), (angle + 45) % 90 - 45
        c, s = cos(radians(rest)), sin(radians(rest))
        c, s = [(c, s), (-s, c), (-c, -s), (s, -c)][quarters % 4]
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        width, height = size
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
        inside = corners @ turn[:2, :2]
        low, high = np.round(inside.min(axis=0), 6), np.round(inside.max(axis=0), 6)
        turn[:2, 2] = turn[:2, :2] @ low
        across, down = (ceil(side) for side in (high - low).tolist())
        return cls((across, down), turn)

    def rectified(self, vanishing: tuple[float, float]) -> Frame:
        """A frame in which lines are level that meet in a place (x, y) of this one."""
        vx, vy = vanishing
        x = self.size[0] / 2
        share = 1 / (x - vx)
        depth = np.array([share, 0, -vx * share])
        matrix = np.stack([np.array([1, 0, -x]) + x * depth, [0, 1, -vy] + vy * depth, depth])
        corners = np.array([(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]) * (*self.size, 1)
        there = corners @ matrix.T
        places = there[:, :2] / there[:, 2:]
        low, high = np.floor(places.min(axis=0)), np.ceil(places.max(axis=0))
        moved = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]]) @ matrix
        width, height = (high - low).astype(int).tolist()
        return Frame((width, height), self.matrix @ np.linalg.inv(moved))

    @property
    def is_whole(self) -> bool:
        """Whether the frame is the picture as it is."""
        return np.array_equal(self.matrix, np.eye(3))

    @property
    def is_upright(self) -> bool:
        """Whether the frame is the picture, or that made smaller."""
        return np.array_equal(self.matrix, np.diag(np.diag(self.matrix)))

    def to_picture(self, places: object) -> Floats:
        """Places (N, 2) of the frame in the picture."""
        places = np.asarray(places, float)
        mapped = np.pad(places, ((0, 0), (0, 1)), constant_values=1) @ self.matrix.T
        return mapped[:, :2] / mapped[:, 2:]

    def image(self, picture: Image.Image) -> Image.Image:
        """The picture as it looks in the frame; white where it does not reach."""
        if self.is_whole:
            return picture
        rows = self.matrix / self.matrix[2, 2]
        return picture.transform(
            self.size,
            Image.Transform.PERSPECTIVE,
            rows.ravel()[:8].tolist(),
            Image.Resampling.BICUBIC,
            fillcolor=WHITE,
        )


# Where the lines of a page meet that was photographed at an angle


def vanishing_point(lines: Sequence[LevelLine], size: Size) -> tuple[float, float] | None:
    """Where lines that are nearly level meet, (x, y); None where they are as good as parallel."""
    long = [line for line in lines if line.width > LONG * line.high]
    if len(long) < FEWEST:
        return None
    centre, scale = np.array(size) / 2, float(max(size))
    slopes = np.array([line.slope for line in long])
    feet = np.array([line.foot for line in long])
    heights = (feet + slopes * centre[0] - centre[1]) / scale
    across = np.array([line.width for line in long], float) / scale
    trend, level = _fitted(heights, slopes, across)
    apart = abs(trend) * np.ptp(heights) * float(np.median(across)) * scale
    if apart < ASTRAY * float(np.median([line.high for line in long])):
        return None
    x = -1 / trend
    if abs(x) * scale < NEAREST * size[0]:
        return None
    return float(centre[0] + x * scale), float(centre[1] + scale * level * x)


def _fitted(heights: Floats, slopes: Floats, weights: Floats) -> tuple[float, float]:
    """How slopes grow with heights, and the slope at height 0, whatever a few lines say."""
    weights = weights.copy()
    trend, level = 0.0, 0.0
    for _ in range(5):
        trend, level = np.polyfit(heights, slopes, 1, w=weights).tolist()
        off = np.abs(slopes - trend * heights - level)
        usual = max(float(np.median(off)), 1e-5)
        weights = np.where(off > 3 * usual, weights * 0.1, weights)
    return trend, level
