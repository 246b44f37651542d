"""What one self-attention layer remembers of earlier tokens.

Every row has its own length, known without asking the device. A token's slot follows from its
position alone, in plain, rotating and quantized caches alike, so that rows of different length lie
side by side unpadded.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx
import numpy as np

from ..errors import OptionError, TokenError
from .kv_quantization import DENSE, Held, Packing, Parts, Quantization
from .kv_window import Window

KeysValues = tuple[mx.array, mx.array]
Memory = tuple[Held, Held]  # keys and values (B, H, S, Dh) to attend to, perhaps quantized
STEP = 32  # slots of the smallest buffer: it grows rarely, and is small beside a text line


class LayerCache(Protocol):
    """What attention asks of the cache of its layer."""

    @property
    def starts(self) -> int | mx.array:
        """The position of the next token: one for all rows, or one each, (B,)."""
        ...

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Memory:
        """Append keys and values (B, H, L, Dh) and return those to attend to, (B, H, T, Dh)."""
        ...


class KVCache:
    """Keys and values (B, H, T, Dh) of one self-attention layer, in buffers of few sizes.

    >>> cache = KVCache()
    >>> keys, values = cache.update_and_fetch(mx.zeros((2, 4, 3, 8)), mx.zeros((2, 4, 3, 8)))
    >>> cache.lengths, cache.make_mask(1), cache.make_mask(2)
    ((3, 3), None, 'causal')

    limit   -- positions the decoder has, the bound on growth
    rows    -- B, where it is known before the first update
    packing -- how keys and values are kept
    """

    def __init__(
        self, limit: int | None = None, *, rows: int = 0, packing: Packing = DENSE
    ) -> None:
        self.limit = limit
        self.packing = packing
        self.window = Window()
        self.lengths: tuple[int, ...] = (0,) * rows
        self._parts: Parts = ()  # the buffers, (B, H, capacity, ·) each; none before an update

    @property
    def offset(self) -> int:
        """Tokens appended so far, in the longest row."""
        return max(self.lengths) if self.lengths else 0

    @property
    def even(self) -> bool:
        """Whether all rows are of one length."""
        return len(set(self.lengths)) < 2

    @property
    def starts(self) -> int | mx.array:
        """The position of the next token: one for all rows, or one each, (B,)."""
        return self.offset if self.even else mx.array(self.lengths, mx.int32)

    def size(self) -> int:
        """Slots that are filled, in the longest row."""
        return min(self.offset, self.window.max_size)

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, filled or not."""
        return sum(part.nbytes for part in self._parts)

    @property
    def state(self) -> Parts:
        """The arrays that are kept, (B, H, T, ·) each, by slot; none in an empty cache."""
        size = self.size()
        return tuple(part[..., :size, :] for part in self._parts) if size else ()

    @property
    def buffers(self) -> Parts:
        """The buffers that `state` is in, with the slots that are not filled yet."""
        return self._parts

    def reserve(self, count: int) -> None:
        """Make room for the next tokens, which tokens have to be there before."""
        size = min(self.offset + count, self.window.max_size)
        self._parts = self._reserved(self._parts, max(size, self._parts[0].shape[2]))

    def restore(self, state: Parts, lengths: Sequence[int]) -> None:
        """Go on from another cache's `state`, or `buffers`, and lengths."""
        self._parts, self.lengths = state, tuple(lengths)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Memory:
        """Append keys and values (B, H, L, Dh) and return those to attend to, (B, H, T, Dh).

        They come by slot. Tokens that would overwrite what the first of them sees come after the
        slots, and only then take theirs.
        """
        rows, count = keys.shape[0], keys.shape[2]
        self.lengths = self.lengths or (0,) * rows
        self.check_rows(rows, "keys and values")
        new = self.packing.pack(keys, values)
        parts = self._write(new, count) if self._fits(count) else self._turn(new, count)
        self.lengths = tuple([length + count for length in self.lengths])
        return self.packing.unpack(parts)

    def make_mask(
        self, length: int, attention_mask: mx.array | None = None
    ) -> mx.array | str | None:
        """Mask (B, 1, L, T) of what the next L tokens attend to, of what their update will return.

        attention_mask (B, offset + L) -- non-zero for tokens, zero for padding
        """
        if self.even and attention_mask is None and self._fits(length):
            return "causal" if length > 1 else None
        keys, seen = self._sight(length)
        if attention_mask is None:
            return None if seen.all() else mx.array(seen)
        self._check_mask(attention_mask, self.offset + length)
        tokens = mx.take(attention_mask != 0, mx.array(keys[0], mx.int32), axis=1)
        return mx.array(seen) & tokens[:, None, None, :]

    def is_trimmable(self) -> bool:
        """Whether no token has been overwritten."""
        return self.offset <= self.window.max_size

    def trim(self, n: int) -> int:
        """Forget the last n tokens of each row, or as many as the shortest has; return how many."""
        if n < 0:
            raise OptionError(f"n is {n}; expected how many tokens to forget")
        if not self.is_trimmable():
            raise OptionError(
                f"{self.offset} tokens have gone through {self.window.max_size} slots, and those "
                "overwritten cannot come back; trim before that, or make a new cache"
            )
        n = min(n, min(self.lengths, default=0))
        self.lengths = tuple(length - n for length in self.lengths)
        return n

    def reorder(self, parents: mx.array) -> None:
        """Let row i go on from row parents[i], (B,); which has to be as long as row i was."""
        self.check_rows(len(parents), "parents")
        self._parts = tuple(part[parents] for part in self._parts)

    def filter(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        check_chosen(rows, len(self.lengths), "rows")
        self.lengths = tuple(self.lengths[row] for row in rows)
        index = mx.array(list(rows), mx.int32)
        self._parts = tuple(part[index] for part in self._parts)

    def expand(self, times: int) -> None:
        """Put `times` copies of each row in its place."""
        if times < 1:
            raise OptionError(f"times is {times}; expected at least 1")
        self.lengths = tuple(length for length in self.lengths for _ in range(times))
        if times > 1:
            self._parts = tuple(mx.repeat(part, times, axis=0) for part in self._parts)

    def extend(self, other: KVCache) -> None:
        """Append the rows of another cache of this kind."""
        self.check_kind(other)
        like = self._parts or other._parts
        mine = self._parts or tuple(_vacant(part, len(self.lengths)) for part in like)
        theirs = other._parts or tuple(_vacant(part, len(other.lengths)) for part in like)
        capacity = max((part.shape[2] for part in (*mine, *theirs)), default=0)
        self._parts = tuple(
            mx.concatenate([_widened(above, capacity), _widened(below, capacity)])
            for above, below in zip(mine, theirs, strict=True)
        )
        self.lengths = self.lengths + other.lengths

    def to_quantized(self, group_size: int = 64, bits: int = 8) -> KVCache:
        """A cache of the same tokens, their keys and values in `bits` bits a number."""
        if isinstance(self.packing, Quantization):
            raise OptionError(f"the cache is quantized already: {self.packing}")
        other = copy.copy(self)
        other.packing = Quantization(group_size, bits)
        other._parts = other.packing.pack(*self._parts) if self._parts else ()
        return other

    def _fits(self, count: int) -> bool:
        """Whether `count` new tokens overwrite nothing that one of them attends to."""
        return count == 1 or self.offset + count <= self.window.max_size

    def _sight(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions (B, T) that an update will return, and which are seen, (B, 1, L, T).

        One row stands for all where they are even.
        """
        starts = np.array((self.lengths[:1] or (0,)) if self.even else self.lengths)
        new = starts[:, None] + np.arange(length)
        if self._fits(length):
            keys = self.window.held(starts + length)
        else:
            keys = np.concatenate([self.window.held(starts), new], axis=1)
        return keys, self.window.sees(new, keys)[:, None]

    def _write(self, new: Parts, count: int) -> Parts:
        """Put new tokens into their slots and return all slots."""
        offset = self.offset
        size = min(offset + count, self.window.max_size)
        held = self._reserved(new, size)
        if self.even:
            start = self.window.slot(offset)
            for part, x in zip(held, new, strict=True):
                part[..., start : start + count, :] = x
        else:
            slots = self.window.slots(np.array(self.lengths)[:, None] + np.arange(count))
            index = mx.array(slots, mx.int32)[:, None, :, None]
            held = tuple(
                mx.put_along_axis(part, index, x, axis=2) for part, x in zip(held, new, strict=True)
            )
        self._parts = held
        return tuple([part[..., :size, :] for part in held])

    def _turn(self, new: Parts, count: int) -> Parts:
        """Return the slots and then the new tokens, the last of which are put into the slots."""
        size = self.size()
        if size:
            new = tuple(
                mx.concatenate([a, b], axis=2) for a, b in zip(self.state, new, strict=True)
            )
        lengths = np.array(self.lengths)[:, None]
        held = self.window.held(lengths[:, 0] + count)
        source = np.where(held < lengths, self.window.slots(held), size + held - lengths).clip(0)
        index = mx.array(source, mx.int32)[:, None, :, None]
        self._parts = tuple(mx.take_along_axis(part, index, axis=2) for part in new)
        return new

    def _reserved(self, new: Parts, size: int) -> Parts:
        """Buffers with at least `size` slots."""
        held = self._parts or tuple(part[..., :0, :] for part in new)
        bound = min(self.limit or sys.maxsize, self.window.max_size)
        capacity = max(size, min(bucket(size, STEP), bound))
        return tuple(_widened(part, capacity) for part in held)

    def check_rows(self, count: int, name: str) -> None:
        """Raise `OptionError` unless something is of as many rows as there are."""
        if count != len(self.lengths):
            raise OptionError(
                f"{name} have {count} rows, but the cache has {len(self.lengths)}; "
                "make it for as many, or expand it"
            )

    def check_kind(self, other: KVCache) -> None:
        """Raise `OptionError` unless the rows of another cache can be appended to this one."""
        ours, theirs = ((c.window, c.packing, c.limit) for c in (self, other))
        if ours != theirs:
            raise OptionError(
                f"caches differ: {ours} and {theirs}; make both with the same options"
            )
        if self._parts and other._parts:
            check_alike(self._parts, other._parts, axis=3)

    def _check_mask(self, attention_mask: mx.array, expected: int) -> None:
        if not self.even:
            raise TokenError(
                f"decoder_attention_mask with cached rows of lengths {self.lengths}; give the rows "
                "equal lengths, or leave the mask out"
            )
        if attention_mask.shape[-1] != expected:
            raise TokenError(
                f"decoder_attention_mask covers {attention_mask.shape[-1]} tokens; "
                f"expected {expected}, those in the cache included"
            )


class RotatingKVCache(KVCache):
    """The first `keep` tokens and the latest of the others, `max_size` in all.

    >>> cache = RotatingKVCache(max_size=4, keep=1)
    >>> for place in range(9):
    ...     keys, values = cache.update_and_fetch(*[mx.full((1, 1, 1, 1), place)] * 2)
    >>> keys.flatten().tolist()
    [0, 7, 8, 6]
    """

    def __init__(
        self,
        max_size: int,
        keep: int = 0,
        limit: int | None = None,
        *,
        rows: int = 0,
        packing: Packing = DENSE,
    ) -> None:
        super().__init__(limit, rows=rows, packing=packing)
        self.window = Window(max_size, keep)


def bucket(count: int, unit: int = 1) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, … units that holds `count`.

    >>> [bucket(count) for count in (1, 5, 7, 9, 13)]
    [1, 6, 8, 12, 16]
    """
    needed = max(1, -(-count // unit))
    power = 1 << (needed - 1).bit_length()
    return unit * (power * 3 // 4 if power > 2 and needed <= power * 3 // 4 else power)


def check_chosen(chosen: Sequence[int], count: int, name: str) -> None:
    """Raise `OptionError` unless the indices to keep are at least one, and all below the count."""
    wrong = [index for index in chosen if not 0 <= index < count]
    if wrong or not chosen:
        raise OptionError(f"{name} to keep are {list(chosen)}; expected some of 0 to {count - 1}")


def check_alike(parts: Parts, others: Parts, axis: int) -> None:
    """Raise `OptionError` where two caches differ in type, heads, or size from an axis on."""
    ours, theirs = ([(x.dtype, x.shape[1], *x.shape[axis:]) for x in p] for p in (parts, others))
    if ours != theirs:
        raise OptionError(f"the other cache holds {theirs}; expected {ours}, as this one does")


def _vacant(like: mx.array, rows: int) -> mx.array:
    return mx.zeros((rows, like.shape[1], 0, like.shape[3]), like.dtype)


def _widened(part: mx.array, capacity: int) -> mx.array:
    """A buffer (B, H, T, ·) with room for more slots."""
    rows, heads, size, width = part.shape
    if size >= capacity:
        return part
    return mx.concatenate(
        [part, mx.zeros((rows, heads, capacity - size, width), part.dtype)], axis=2
    )
