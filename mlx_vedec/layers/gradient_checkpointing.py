"""Layers computed again in the backward pass, so that their activations need not be kept."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from .dropout import drawing_from


def checkpointed(layer: nn.Module) -> Callable[..., mx.array]:
    """The layer, its activations computed again in the backward pass instead of kept.

    `mx.checkpoint` alone would draw other dropouts the second time, and so give the gradient of
    another function.
    """

    def compute(parameters: dict, key: mx.array, *arguments: object) -> mx.array:
        layer.update(parameters)
        with drawing_from(mx.stop_gradient(key)):
            return layer(*arguments)

    compute = mx.checkpoint(compute)

    def run(*arguments: object) -> mx.array:
        key = mx.random.randint(0, 2**31 - 1, (2,)).astype(mx.uint32)
        return compute(layer.trainable_parameters(), key, *arguments)

    return run
