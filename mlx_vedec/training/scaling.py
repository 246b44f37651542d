"""Loss scaling (arXiv:1710.03740), by which gradients in float16 are neither lost nor infinite.

Float16 has no number below 6e-8, and none above 65,504. The loss is multiplied by a power of two
before the backward pass, and the gradients, which are float32 by then, are divided by it. An update
whose gradients overflowed is left out and the scale halved; after a while without, it doubles.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.weights import parameters

GROWTH = 200  # updates in a row without overflow, after which the scale doubles
LEAST, MOST = 1.0, 2.0**24


def needs_scaling(model: nn.Module) -> bool:
    """Whether a model computes in float16, in part at least."""
    return any(x.dtype == mx.float16 for x in parameters(model).values())


def rescaled(scale: float, fitted: int, finite: bool) -> tuple[float, int]:
    """The scale after an update, and how many updates in a row have fitted it so far.

    fitted -- the same before that update. finite -- whether its gradients were

    >>> rescaled(8.0, 5, finite=False), rescaled(8.0, 5, finite=True)
    ((4.0, 0), (8.0, 6))
    """
    if not finite:
        return max(LEAST, scale / 2), 0
    if fitted + 1 < GROWTH:
        return scale, fitted + 1
    return min(MOST, 2 * scale), 0
