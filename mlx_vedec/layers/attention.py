"""Multi-head attention (arXiv:1706.03762), over the sequence itself or over an image's features."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .cpu import by_tokens, plain
from .cpu_formulas import attend
from .dropout import Dropout
from .kv_cache import KeysValues, LayerCache, Memory
from .kv_quantization import Held

Mask = mx.array | str | None  # True = attend; "causal"; None = every key. Or additive, in x's type.


class AttentionCore(nn.Module):
    """Attention from queries, keys and values on. Subclasses add the projections to these."""

    q_proj: nn.Linear

    def __init__(self, dims: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dims // num_heads) ** -0.5
        self.o_proj = nn.Linear(dims, dims)
        self.dropout = Dropout(dropout)
        self.drops = dropout > 0

    def remember(self, memory: mx.array) -> KeysValues:
        """Memory (B, S, D) to keys and values (B, H, S, Dh) to be attended many times.

        They are made contiguous, since a transposed view would be copied at every step: by
        flattening, as MLX cannot export `mx.contiguous`. And by one core, since those of all layers
        are there at once, and of shares there would be copies.
        """
        with plain():
            pair = self._keys_values(memory)
        keys, values = (part.flatten().reshape(part.shape) for part in pair)
        return keys, values

    def __call__(
        self,
        x: mx.array,
        memory: Memory | mx.array | None = None,
        *,
        mask: Mask = None,
        cache: LayerCache | None = None,
        keep: list[mx.array] | None = None,
    ) -> mx.array:
        """(B, L, D) to (B, L, D). `keep` receives the attention weights, (B, H, L, T)."""
        if isinstance(memory, tuple):
            queries, held = self._heads(self._apart(self.q_proj, x)), memory
        else:
            queries, keys, values = self._project(x, memory)
            held = (keys, values) if cache is None else cache.update_and_fetch(keys, values)
        out = self._attend(queries, *held, mask, keep)
        return self._apart(self.o_proj, out.swapaxes(1, 2).flatten(2))

    def _project(self, x: mx.array, memory: mx.array | None) -> tuple[mx.array, mx.array, mx.array]:
        queries = self._heads(self._apart(self.q_proj, x))
        return queries, *self._keys_values(x if memory is None else memory)

    def _keys_values(self, x: mx.array) -> KeysValues:
        raise NotImplementedError

    def _attend(
        self,
        queries: mx.array,
        keys: Held,
        values: Held,
        mask: Mask,
        keep: list[mx.array] | None,
    ) -> mx.array:
        rows, images = queries.shape[0], keys.shape[0]
        queries = fold(queries, images)
        explicit = keep is not None or (self.training and self.drops)
        if isinstance(keys, mx.array) and isinstance(values, mx.array) and not explicit:
            own = mx.fast.scaled_dot_product_attention if self.training else attend
            out = own(queries, keys, values, scale=self.scale, mask=mask)
        else:
            weights = attention_weights(queries * self.scale, keys, mask)
            if keep is not None:
                keep.append(unfold(weights, rows))
            out = product(self.dropout(weights), values)
        return unfold(out, rows)

    def _apart(self, layer: nn.Module, x: mx.array) -> mx.array:
        """A layer on tokens (B, L, D) by themselves."""
        return layer(x) if self.training else by_tokens(layer, x)

    def _heads(self, x: mx.array) -> mx.array:
        return mx.unflatten(x, -1, (self.num_heads, -1)).swapaxes(1, 2)


class Attention(AttentionCore):
    """Multi-head attention (arXiv:1706.03762) of a sequence over itself or over a memory.

    bias -- of the three projections in; the one out always has it. key_bias -- of the keys, where
    it differs.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        *,
        memory_dims: int | None = None,
        bias: bool = True,
        key_bias: bool | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dims, num_heads, dropout=dropout)
        self.q_proj = nn.Linear(dims, dims, bias=bias)
        self.k_proj = nn.Linear(
            memory_dims or dims, dims, bias=bias if key_bias is None else key_bias
        )
        self.v_proj = nn.Linear(memory_dims or dims, dims, bias=bias)

    def _keys_values(self, x: mx.array) -> KeysValues:
        keys, values = (self._apart(layer, x) for layer in (self.k_proj, self.v_proj))
        return self._heads(keys), self._heads(values)


class FusedAttention(AttentionCore):
    """Attention of a sequence over itself; one linear layer gives queries, keys and values."""

    def __init__(
        self, dims: int, num_heads: int, *, bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__(dims, num_heads, dropout=dropout)
        self.qkv_proj = nn.Linear(dims, 3 * dims, bias=bias)

    def _project(self, x: mx.array, memory: mx.array | None) -> tuple[mx.array, mx.array, mx.array]:
        queries, keys, values = mx.split(self.qkv_proj(x), 3, axis=-1)
        return self._heads(queries), self._heads(keys), self._heads(values)


def fold(queries: mx.array, images: int) -> mx.array:
    """(B·K, H, L, Dh) to (B, H, K·L, Dh): the rows of one image read one memory, uncopied."""
    if queries.shape[0] == images:
        return queries
    return mx.unflatten(queries, 0, (images, -1)).swapaxes(1, 2).flatten(2, 3)


def unfold(x: mx.array, rows: int) -> mx.array:
    """(B, H, K·L, D) back to (B·K, H, L, D), the inverse of `fold`."""
    if x.shape[0] == rows:
        return x
    return mx.unflatten(x, 2, (rows // x.shape[0], -1)).swapaxes(1, 2).flatten(0, 1)


def product(x: mx.array, held: Held, *, transpose: bool = False) -> mx.array:
    """x times keys or values (…, T, Dh), or times their transpose; they may be quantized."""
    if isinstance(held, mx.array):
        return x @ (held.swapaxes(-1, -2) if transpose else held)
    parts = held.weight, held.scales, held.biases
    return mx.quantized_matmul(x, *parts, transpose, held.group_size, held.bits)


def attention_weights(queries: mx.array, keys: Held, mask: Mask) -> mx.array:
    """Scaled queries (B, H, L, Dh) and keys (B, H, T, Dh) to weights (B, H, L, T)."""
    scores = product(queries, keys, transpose=True)
    if isinstance(mask, str):
        length, total = scores.shape[-2:]
        mask = causal_mask(length, total - length)
    if mask is not None and mask.dtype == mx.bool_:
        scores = mx.where(mask, scores, mx.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    return mx.softmax(scores, axis=-1, precise=True)


def causal_mask(length: int, offset: int) -> mx.array:
    """Mask (L, offset + L): each of L tokens attends to itself and to all before it."""
    return mx.arange(offset + length) <= mx.arange(offset, offset + length)[:, None]
