"""Arrays that callers give: of numbers in any form, of token ids; the loss of labels."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..errors import OptionError, TokenError

IGNORED = -100  # the label of a position that does not count, as in torch


def as_array(
    given: Any, name: str, shape: str = "", error: type[ValueError] = OptionError
) -> mx.array:
    """Numbers that MLX, numpy or lists hold, as an array of MLX; an error for anything else.

    shape -- in words: "(batch, length)" has two axes, and "(2, length)" two rows; any without.
    """
    try:
        array = given if isinstance(given, mx.array) else mx.array(np.asarray(given))
    except Exception as problem:  # whatever an object's own conversion raises
        expected = f"{shape or 'an array'} of numbers"
        raise error(f"{name} are {repr(given)[:80]}; expected {expected}") from problem
    axes = [axis.strip() for axis in shape.strip("(,)").split(",")] if shape else [""] * array.ndim
    fits = len(axes) == array.ndim and all(
        not axis.isdigit() or int(axis) == size
        for axis, size in zip(axes, array.shape, strict=True)
    )
    if not fits:
        raise error(f"{name} are {tuple(array.shape)}; expected {shape}")
    if array.dtype == mx.complex64:
        raise error(f"{name} are complex; expected real numbers")
    return array


def as_ids(given: Any, name: str, shape: str = "(batch, length)") -> mx.array:
    """Token ids, which MLX, numpy or lists hold, as an array of MLX of this shape."""
    ids = as_array(given, name, shape, TokenError)
    if not mx.issubdtype(ids.dtype, mx.integer):
        found = str(ids.dtype).removeprefix("mlx.core.")
        raise TokenError(f"{name} are {found}; expected {shape} of whole numbers")
    return ids


def cross_entropy(logits: mx.array, labels: mx.array) -> mx.array:
    """Mean of -log p(label) over the labels that are not -100, in float32.

    logits (B, L, V), labels (B, L); nan where every label is -100, as in torch. A label outside the
    vocabulary is a `TokenError`.
    """
    check_ids(labels, logits.shape[-1], "labels", ignored=IGNORED)
    loss, counted = token_losses(logits, labels)
    return loss / counted


def token_losses(
    logits: mx.array, labels: mx.array, smoothing: float = 0.0
) -> tuple[mx.array, mx.array]:
    """The sum of -log p over the labels that count, in float32, and how many count.

    logits (B, L, V), labels (B, L). smoothing -- the part of a label spread over all tokens.
    """
    counted = labels != IGNORED
    loss = nn.losses.cross_entropy(
        logits.astype(mx.float32),
        mx.where(counted, labels, 0),
        weights=counted,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return loss, counted.sum().astype(mx.float32)


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
