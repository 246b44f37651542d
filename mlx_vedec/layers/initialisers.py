"""Random weights for new models, as Hugging Face draws them, and for new rows of tables."""

from __future__ import annotations

from collections.abc import Sequence

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


def chosen_rows(table: mx.array, sources: Sequence[int | None], std: float) -> mx.array:
    """The rows of a table (N, …) that are named, and normal ones of a deviation where none is."""
    rows = table[mx.array([source or 0 for source in sources], mx.int32)]
    new = [place for place, source in enumerate(sources) if source is None]
    if new:
        drawn = mx.random.normal((len(new), *table.shape[1:]), scale=std)
        rows[mx.array(new, mx.int32)] = drawn.astype(table.dtype)
    return rows
