"""Tables with a row for each token: ids outside them, and tables cut or extended."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from ..errors import TokenError


def check_ids(tokens: mx.array, vocab_size: int, name: str, *, ignored: int | None = None) -> None:
    """Raise `TokenError` for ids outside the vocabulary: MLX would read past the table."""
    inside = (tokens >= 0) & (tokens < vocab_size)
    if ignored is not None:
        inside = inside | (tokens == ignored)
    try:
        fits = inside.all().item()
    except ValueError:  # inside a compiled function there are no values yet
        return
    if not fits:
        wrong = np.unique(np.array(tokens)[~np.array(inside)])
        also = "" if ignored is None else f", or {ignored} for positions to leave out"
        raise TokenError(
            f"{name} have ids outside the vocabulary: {wrong[:8].tolist()}; "
            f"expected 0 to {vocab_size - 1}{also}"
        )


def resize_rows(table: mx.array, rows: int, std: float) -> mx.array:
    """A table (N, …) cut to its first rows, or extended by rows drawn with a deviation."""
    if rows <= len(table):
        return table[:rows]
    drawn = mx.random.normal((rows - len(table), *table.shape[1:]), scale=std)
    return mx.concatenate([table, drawn.astype(table.dtype)])
