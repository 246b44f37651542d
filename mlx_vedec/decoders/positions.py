"""Position embeddings of text decoders: a learned table, or sines and cosines."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn


class LearnedPositions(nn.Embedding):
    """A table with two rows before position 0: fairseq kept them for padding."""

    offset = 2

    def __init__(self, count: int, dims: int) -> None:
        super().__init__(count + self.offset, dims)

    def __call__(self, positions: mx.array) -> mx.array:
        """Positions (B, L), the first being 0, to (B, L, D)."""
        return super().__call__(positions + self.offset)


class SinusoidalPositions(nn.Module):
    """Sines in the first half of the width, cosines in the second (tensor2tensor's order).

    A token's position counts the tokens before it that are not padding; padding itself is zero.
    """

    def __init__(self, dims: int, padding: int) -> None:
        super().__init__()
        half = dims // 2
        self.dims, self.padding = dims, padding
        self._frequencies = mx.exp(mx.arange(half) * (-math.log(10000) / (half - 1)))

    def __call__(self, tokens: mx.array | None, positions: mx.array) -> mx.array:
        """Tokens (B, L), or None where embeddings were given, at positions (B, L), to (B, L, D)."""
        if tokens is None:
            return self._table(positions + self.padding + 1)
        real = tokens != self.padding
        count = positions[:, :1] + mx.cumsum(real.astype(mx.int32), axis=1)
        return self._table(self.padding + count) * real[..., None]

    def _table(self, rows: mx.array) -> mx.array:
        angles = rows[..., None].astype(mx.float32) * self._frequencies
        table = mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)
        return mx.pad(table, [(0, 0), (0, 0), (0, self.dims % 2)]) if self.dims % 2 else table
