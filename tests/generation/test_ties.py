"""Of equal scores those are the highest that torch's `topk` takes."""

import numpy as np

from mlx_vedec.generation.ties import highest


def test_the_order_of_equals():
    never, banned = -1e9, -np.inf
    merged = np.array([never] * 3 + [0.0, never, never] + [banned] * 3, np.float32)
    assert highest(merged, 3) == [3, 4, 1]
    assert highest(np.zeros(5, np.float32), 5) == [2, 4, 3, 0, 1]
    assert highest(np.array([1, 3, 2], np.float32), 2) == [1, 2]
    assert min(highest(np.repeat(np.float32([0, 1]), 200), 3)) >= 200  # kept in a heap
