"""Checks and shifts on arrays of token ids, and the loss over them."""

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


def shift_tokens_right(labels: mx.array, pad: int, start: int) -> mx.array:
    """Labels (B, L) moved one to the right behind the start token, -100 made padding."""
    first = mx.full((labels.shape[0], 1), start, labels.dtype)
    shifted = mx.concatenate([first, labels[:, :-1]], axis=1)
    return mx.where(shifted == -100, pad, shifted)


def cross_entropy(logits: mx.array, labels: mx.array) -> mx.array:
    """Mean of -log p(label) over the labels that are not -100, in float32.

    logits (B, L, V), labels (B, L); nan where every label is -100, as in torch.
    """
    logits = logits.astype(mx.float32)
    counted = labels != -100
    chosen = mx.where(counted, labels, 0)
    picked = mx.take_along_axis(logits, chosen[..., None], axis=-1).squeeze(-1)
    losses = (mx.logsumexp(logits, axis=-1) - picked) * counted
    return losses.sum() / counted.sum()
