"""What a decoder remembers between steps: its own keys and values, and those of the image."""

from __future__ import annotations

import mlx.core as mx

KeysValues = tuple[mx.array, mx.array]
STEP = 32  # positions a cache grows by: large enough to copy rarely, small beside a text line


class KVCache:
    """Keys and values (B, H, T, Dh) of one self-attention layer, in buffers that grow in steps."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.length = 0
        self._buffers: KeysValues | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> KeysValues:
        """Append keys and values (B, H, L, Dh); all of them so far, (B, H, T, Dh)."""
        end = self.length + keys.shape[2]
        if self._buffers is None or end > self._buffers[0].shape[2]:
            self._grow(keys, values, end)
        assert self._buffers is not None
        held_keys, held_values = self._buffers
        held_keys[..., self.length : end, :] = keys
        held_values[..., self.length : end, :] = values
        self.length = end
        return held_keys[..., :end, :], held_values[..., :end, :]

    def _grow(self, keys: mx.array, values: mx.array, end: int) -> None:
        capacity = -(-end // STEP) * STEP
        if self.limit is not None:
            capacity = max(end, min(capacity, self.limit))
        room = capacity - self.length
        empty = [mx.zeros((*a.shape[:2], room, a.shape[3]), a.dtype) for a in (keys, values)]
        if self._buffers is not None:
            held = (buffer[..., : self.length, :] for buffer in self._buffers)
            empty = [mx.concatenate([a, b], axis=2) for a, b in zip(held, empty, strict=True)]
        self._buffers = (empty[0], empty[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, filled or not."""
        return sum(buffer.nbytes for buffer in self._buffers or ())


class DecoderCache:
    """One `KVCache` per layer, the image's keys and values per layer, and each row's offset.

    memories -- per layer, keys and values (B, H, S, Dh) of the encoder's features, computed once;
                None for a decoder that reads no image
    rows     -- rows of the batch: B, or several per image (their queries are folded together)
    limit    -- positions the decoder has, the bound on growth
    """

    def __init__(
        self, memories: list[KeysValues | None], rows: int, limit: int | None = None
    ) -> None:
        self.layers = [KVCache(limit) for _ in memories]
        self.memories = memories
        self.offsets = mx.zeros((rows, 1), mx.int32)

    @property
    def length(self) -> int:
        """Positions filled, the same in every row."""
        return self.layers[0].length if self.layers else 0

    def advance(self, count: int) -> mx.array:
        """Positions (B, count) of the tokens about to be appended; moves the offsets on."""
        positions = self.offsets + mx.arange(count, dtype=mx.int32)
        self.offsets = self.offsets + count
        return positions

    @property
    def nbytes(self) -> int:
        """Bytes held for the decoder's own tokens and for the image."""
        memory = sum(part.nbytes for pair in self.memories if pair for part in pair)
        return memory + sum(layer.nbytes for layer in self.layers)
