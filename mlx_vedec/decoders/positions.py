"""Position embeddings of text decoders: a learned table, or sines and cosines.

Each has `count`, the tokens that have a row (None where there is no end), and takes positions
(B, L), the first being 0, and tokens (B, L), None where embeddings were given.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..checkpoints.config import LARGEST
from ..errors import ConfigError, WeightsError
from ..layers.token_ids import check_ids

MOST_NUMBERS = 2**26  # in a table that is computed: 256 MB


def check_size(count: int, dims: int) -> None:
    """Raise `ConfigError` for a table of sines that would fill the memory."""
    if count * dims > MOST_NUMBERS:
        raise ConfigError(
            f"the table of positions is {count} x {dims}; expected {MOST_NUMBERS} numbers at most"
        )


def are_others(name: str, stored: mx.array, computed: mx.array) -> bool:
    """Whether a stored table of sines has other numbers than the computed one, (positions, D).

    What its type rounds does not count; another shape is a `WeightsError`.
    """
    if stored.shape != computed.shape:
        raise WeightsError(f"{name} is {stored.shape}; expected {computed.shape}")
    near = 1e-5 if stored.dtype == mx.float32 else 1e-2
    return not mx.allclose(stored.astype(mx.float32), computed, rtol=0, atol=near).item()


MOST_SINES = 2**16  # positions of a table that is computed when a model is made


class Numbered(nn.Module):
    """Position embeddings that a call may ask for by `position_ids`, numbered as transformers does.

    Those that have no row are a `TokenError`.
    """

    count: int | None

    def numbered(self, position_ids: mx.array) -> mx.array:
        """Position ids (B, L), 0 for the first position, to (B, L, D)."""
        check_ids(position_ids, self.count or LARGEST, "position_ids")
        return self(position_ids)


class LearnedPositions(Numbered, nn.Embedding):
    """A table with `offset` rows before position 0: fairseq kept two for padding."""

    def __init__(self, count: int, dims: int, offset: int = 2) -> None:
        super().__init__(count + offset, dims)
        self.count, self.offset = count, offset

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L) to (B, L, D)."""
        return super().__call__(positions + self.offset if self.offset else positions)


class SinusoidalTable(Numbered):
    """Sines in the first half of the width, cosines in the second, in a table that ends.

    The frequency of component k is 10000^(-2k/D), as in arXiv:1706.03762.
    """

    def __init__(self, count: int, dims: int) -> None:
        super().__init__()
        self.count = count
        check_size(count, dims)
        frequencies = 10000.0 ** (-np.arange(0, dims, 2) / dims)
        angles = np.arange(count)[:, None] * frequencies
        table = np.concatenate([np.sin(angles), np.cos(angles[:, : dims // 2])], axis=1)
        self._table = mx.array(table.astype(np.float32))

    @property
    def rows(self) -> mx.array:
        """The table (count, D)."""
        return self._table

    def replace(self, table: mx.array) -> None:
        """Take another table, which is not learnt either."""
        self._table = table

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L) to (B, L, D), in float32."""
        return self._table[positions]


class Sinusoids(Numbered):
    """Sines in the first half of the width, cosines in the second, without end.

    The frequency of component k is 10000^(-k/(D/2 - 1)), as in tensor2tensor. Families say which
    row a token has.
    """

    count = None

    def __init__(self, dims: int) -> None:
        super().__init__()
        half = dims // 2
        self.dims = dims
        # float32 as in torch: far positions multiply what is rounded here
        steps = np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / max(half - 1, 1))
        self._frequencies = mx.array(np.exp(steps))

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L) to (B, L, D), in float32."""
        raise NotImplementedError

    def rows(self, numbers: mx.array) -> mx.array:
        """The rows with these numbers (B, L), of a table without end, as (B, L, D)."""
        angles = numbers[..., None].astype(mx.float32) * self._frequencies
        table = mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)
        return mx.pad(table, [(0, 0), (0, 0), (0, 1)]) if self.dims % 2 else table


Positions = LearnedPositions | SinusoidalTable | Sinusoids
