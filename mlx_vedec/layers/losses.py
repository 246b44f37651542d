"""The loss that decoders are trained with."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .embeddings import check_ids

IGNORED = -100  # the label of a position that does not count, as in torch


def cross_entropy(logits: mx.array, labels: mx.array) -> mx.array:
    """Mean of -log p(label) over the labels that are not -100, in float32.

    logits (B, L, V), labels (B, L); nan where every label is -100, as in torch. A label outside the
    vocabulary is a `TokenError`.
    """
    check_ids(labels, logits.shape[-1], "labels", ignored=IGNORED)
    counted = labels != IGNORED
    losses = nn.losses.cross_entropy(
        logits.astype(mx.float32), mx.where(counted, labels, 0), weights=counted, reduction="sum"
    )
    return losses / counted.sum()
