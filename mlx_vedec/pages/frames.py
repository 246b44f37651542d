"""A page as it would lie straight, and where each of its places is in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image

from ..images.boxes import Size
from ..images.ink import Floats

WHITE = 255


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
