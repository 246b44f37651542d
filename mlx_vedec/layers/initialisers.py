"""Random weights for new models, as Hugging Face draws them, and for new rows of tables."""

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


def resize_rows(table: mx.array, rows: int, std: float) -> mx.array:
    """A table (N, …) cut to its first rows, or extended by normal rows of a standard deviation."""
    if rows <= len(table):
        return table[:rows]
    drawn = mx.random.normal((rows - len(table), *table.shape[1:]), scale=std)
    return mx.concatenate([table, drawn.astype(table.dtype)])
