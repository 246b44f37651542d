"""The feed-forward part of a transformer's layer."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .activations import activation
from .dropout import Dropout


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, dims: int, hidden_dims: int, act: str, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, dims)
        self.act = activation(act)
        self.dropout = Dropout(dropout)

    def __call__(self, x: mx.array) -> mx.array:
        """(…, dims) to (…, dims)."""
        return self.fc2(self.dropout(self.act(self.fc1(x))))
