"""Where the lines of a page meet that was photographed at an angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images.boxes import Size
from ..images.ink import Floats
from ..images.lines import LevelLine

FEWEST = 6  # lines that say where they meet
LONG = 8  # least width of such a line, in letter heights
ASTRAY = 0.5  # letter heights that lines differ by at their ends, if that is to be seen to
NEAREST = 1.0  # widths of the page from its middle, that lines meet in: nearer is no mild angle


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
