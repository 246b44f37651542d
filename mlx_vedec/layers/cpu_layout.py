"""The weights of linear layers as OpenBLAS multiplies them fastest: column after column in memory.

A weight (N, K) has the values that it had, with other strides. OpenBLAS has kernels for few rows
of a matrix times such a weight, transposed, and copies less of it on the way. Sums are added in
another order, so a model is laid out for inference alone: training has to give the same bits when
it goes on after a pause.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .cpu import has_openblas, on_cpu

SMALL = 1 << 20  # numbers of a weight whose products gain less than moving it costs
ROWS, COLUMNS = 64, 256  # that are moved at a time, within a core's second cache


def lay_out(model: nn.Module, head: Any) -> bool:
    """Evaluate the float32 weights of linear layers, and of the head, and store them by columns.

    head -- the layer that scores tokens, be it an embedding; None where there is none. Whether
    anything was done: it is not but on a CPU where MLX computes with OpenBLAS. Largest first, one
    at a time: together with what is not read yet, no more is held than in the end.
    """
    if not on_cpu() or not has_openblas():
        return False
    for group in sorted(_worth_it(model, head), key=lambda group: -group[0].weight.size):
        weight = by_columns(group[0].weight)
        for module in group:
            module.weight = weight
    return True


def lay_out_by_rows(model: nn.Module) -> None:
    """The inverse of `lay_out`."""
    for group in _owners(model):
        weight = mx.contiguous(group[0].weight)
        mx.eval(weight)
        for module in group:
            module.weight = weight


def _worth_it(model: nn.Module, head: Any) -> list[list[Any]]:
    """The modules whose weights are to be stored by columns, those that share one together."""
    return [
        group
        for group in _owners(model)
        if any(isinstance(module, nn.Linear) or module is head for module in group)
        and group[0].weight.dtype == mx.float32
        and group[0].weight.size >= SMALL
    ]


def _owners(model: nn.Module) -> list[list[Any]]:
    """The modules that have a weight, those that share one together."""
    owners: dict[int, list[Any]] = defaultdict(list)
    for module in model.modules():
        if isinstance(module.get("weight"), mx.array):
            owners[id(module["weight"])].append(module)
    return [*owners.values()]


def by_columns(weight: mx.array) -> mx.array:
    """A float32 matrix (N, K), evaluated, whose columns lie one after the other.

    numpy copies it in blocks, in a third of the time that MLX takes.
    """
    old = np.array(weight, copy=False)
    if old.T.flags.c_contiguous:
        return weight
    found = mx.zeros(old.shape[::-1], weight.dtype)
    new = np.array(found, copy=False)  # the same memory
    for row in range(0, len(old), ROWS):
        for column in range(0, old.shape[1], COLUMNS):
            block = old[row : row + ROWS, column : column + COLUMNS]
            new[column : column + COLUMNS, row : row + ROWS] = block.T
    return found.T
