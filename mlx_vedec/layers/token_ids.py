"""Arrays of token ids: those outside the vocabulary, and the loss of labels."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..errors import TokenError

IGNORED = -100  # the label of a position that does not count, as in torch


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
