"""Which slot of a key/value cache each token has, and which tokens see which.

Buffers of bounded size keep a window: the first tokens and the latest of the others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..errors import OptionError


@dataclass(frozen=True)
class Window:
    """The slots of a buffer that a row's tokens have, and which tokens see which.

    The first `keep` tokens have a slot each for good. The others go round the rest, each in the
    place of the one `ring` positions before it. A window without end never comes round.
    """

    max_size: int = sys.maxsize
    keep: int = 0

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise OptionError(f"max_size is {self.max_size}; expected at least 1 token")
        if not 0 <= self.keep < self.max_size:
            raise OptionError(
                f"keep is {self.keep}; expected 0 to {self.max_size - 1}, fewer tokens than "
                f"max_size={self.max_size}, so that one slot at least is written anew"
            )

    @property
    def ring(self) -> int:
        """Slots that are written again, which is how far back a token sees."""
        return self.max_size - self.keep

    def slot(self, position: int) -> int:
        """The slot of a position: its own number, as long as there is one of that number."""
        return min(position, self.keep + (position - self.keep) % self.ring)

    def slots(self, positions: np.ndarray) -> np.ndarray:
        """The slot of each of many positions."""
        return np.minimum(positions, self.keep + (positions - self.keep) % self.ring)

    def slots_of(self, positions: mx.array) -> mx.array:
        """The slot of each of many positions that are on the device."""
        if self.max_size == sys.maxsize:
            return positions
        return mx.minimum(positions, self.keep + (positions - self.keep) % self.ring)

    def held(self, lengths: np.ndarray) -> np.ndarray:
        """Positions (B, T) in the slots of rows with these lengths (B,), -1 where there is none."""
        slots = np.arange(min(lengths.max(), self.max_size))
        last = lengths[:, None] - 1
        turns = np.where(slots < self.keep, 0, (last - slots) // self.ring)
        return np.where(slots <= last, slots + turns * self.ring, -1)

    def sees(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Whether queries at positions (B, L) attend to keys at positions (B, T), as (B, L, T)."""
        query, key = queries[:, :, None], keys[:, None, :]
        near = (key < self.keep) | (key > query - self.ring)
        return (key >= 0) & (key <= query) & near
