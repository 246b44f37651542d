"""A decoder's cache for a step that is a function of arrays, to be compiled or exported.

Buffers come in and go out; nothing is known of the rows but arrays: which position each is at. A
token's slot follows from its position, as in `KVCache`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from .kv_cache import Memory
from .kv_quantization import DENSE, Packing, Parts
from .kv_window import Window


@dataclass(frozen=True)
class Storage:
    """How a cache keeps its tokens: how they are packed, and in which slots."""

    packing: Packing = DENSE
    window: Window = Window()


class StepLayer:
    """One layer's keys and values while each row (B,) appends the token at its position."""

    def __init__(
        self, parts: Parts, positions: mx.array, slots: mx.array, packing: Packing
    ) -> None:
        self.parts = parts
        self.starts = positions
        self.packing = packing
        self._index = slots[:, None, None, None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Memory:
        """Write keys and values (B, H, 1, Dh) into their slots; returns all slots."""
        new = self.packing.pack(keys, values)
        self.parts = tuple(
            mx.put_along_axis(part, self._index, x, axis=2)
            for part, x in zip(self.parts, new, strict=True)
        )
        return self.packing.unpack(self.parts)


class StepCache:
    """What a decoder reads and writes in one step, in the place of a `DecoderCache`.

    buffers   -- of each layer, (B, H, capacity, ·) each
    images    -- of each layer, the image's keys and values as they are kept; () without an image
    positions -- (B,), where each row's token comes
    """

    length = 0  # tokens that are known without looking at arrays

    def __init__(
        self,
        buffers: Sequence[Parts],
        images: Sequence[Parts],
        positions: mx.array,
        storage: Storage,
    ) -> None:
        slots, packing = storage.window.slots_of(positions), storage.packing
        self.layers = [StepLayer(tuple(p), positions, slots, packing) for p in buffers]
        self.memories: list[Memory | None] = [
            packing.unpack(tuple(parts)) if parts else None for parts in images
        ]
        self._positions = positions
        self.capacity = buffers[0][0].shape[2]

    @property
    def buffers(self) -> list[Parts]:
        """The buffers of all layers, the tokens of this step included."""
        return [layer.parts for layer in self.layers]

    def positions(self, count: int) -> mx.array:
        """The position (B, 1) of each row's token; there is one."""
        return self._positions[:, None]

    def make_mask(self, length: int, attention_mask: mx.array | None = None) -> mx.array:
        """Mask (B, 1, 1, capacity) of what each row's token attends to: the slots that are filled.

        attention_mask (B, capacity) -- non-zero for tokens, zero for padding, by slot
        """
        filled = mx.arange(self.capacity) <= self._positions[:, None]
        if attention_mask is not None:
            filled = filled & (attention_mask != 0)
        return filled[:, None, None, :]
