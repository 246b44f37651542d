"""Rows of tokens that grow: arrays of their very length, or buffers, for a step that is compiled.

A compiled step is made once for a size, so it takes buffers with room at their end and how much of
them is filled, as an array. Rules read both kinds by the same few questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

Count = int | mx.array  # of tokens; in a compiled step an array, of no dimensions


@dataclass(frozen=True)
class Texts:
    """The first `length` of the tokens (N, C) of each row; the others are room.

    >>> texts = Texts(mx.array([[7, 8, 0, 0]]), mx.array(2))
    >>> texts.filled(9).tolist(), texts.last(1).tolist(), texts.last(3).tolist()
    ([[7, 8, 9, 9]], [[8]], [[7, 7, 8]])
    """

    tokens: mx.array
    length: Count

    @classmethod
    def of(cls, tokens: mx.array | Texts) -> Texts:
        """Tokens (N, T) without room, or texts as they are."""
        return tokens if isinstance(tokens, Texts) else cls(tokens, tokens.shape[1])

    @property
    def _full(self) -> bool:
        return isinstance(self.length, int) and self.length == self.tokens.shape[1]

    @property
    def exact(self) -> mx.array:
        """The tokens (N, T) without room, which a compiled step cannot tell."""
        assert isinstance(self.length, int)
        return self.tokens[:, : self.length]

    def filled(self, value: int) -> mx.array:
        """The tokens (N, C), with a value where there is room."""
        if self._full:
            return self.tokens
        return mx.where(mx.arange(self.tokens.shape[1]) < self.length, self.tokens, value)

    def last(self, count: int) -> mx.array:
        """The last tokens (N, count); shorter rows have their first again in front."""
        if isinstance(self.length, int) and count <= self.length:
            return self.tokens[:, self.length - count : self.length]
        return self.tokens[:, mx.maximum(mx.arange(count) + (self.length - count), 0)]


def appended(row: mx.array, new: mx.array, length: Count) -> mx.array:
    """Rows (…, C) with what is new (…) after the first `length`."""
    if isinstance(length, int):
        return mx.concatenate([row[..., :length], new[..., None]], axis=-1)
    return mx.slice_update(row, new[..., None], length[None], axes=(row.ndim - 1,))


def widened(row: mx.array, capacity: int, fill: int = 0) -> mx.array:
    """Rows (…, T) as buffers (…, capacity)."""
    room = max(0, capacity - row.shape[-1])
    return mx.pad(row, [(0, 0)] * (row.ndim - 1) + [(0, room)], constant_values=fill)
