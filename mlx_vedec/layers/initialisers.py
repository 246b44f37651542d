"""Random weights for new models, as Hugging Face draws them."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


def initialise(module: nn.Module, std: float) -> None:
    """Hugging Face's initialisers: normal weights of one deviation, zero biases, norms of one.

    Source: `PreTrainedModel._init_weights` of transformers 5.23.
    """
    for _, leaf in module.named_modules():
        if isinstance(leaf, nn.Linear | nn.Conv2d | nn.Embedding):
            leaf.weight = mx.random.normal(leaf.weight.shape, scale=std)
        if isinstance(leaf, nn.Linear | nn.Conv2d) and "bias" in leaf:
            leaf.bias = mx.zeros_like(leaf.bias)
