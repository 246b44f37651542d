"""What decoders are built from: a shape, the fields of every config, and a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import Config
from ..errors import ConfigError
from ..layers.attention import Attention, AttentionCore, Mask
from ..layers.dropout import Dropout
from ..layers.kv_cache import KeysValues, LayerCache, Memory
from ..layers.mlp import MLP
from ..layers.outputs import Trace


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """What the shared parts of a decoder are built from.

    positions   -- tokens the checkpoint was trained for, the length where none is asked for
    memory_dims -- width of what cross-attention reads; None in a decoder that has none
    norm_first  -- norms before each part and after the last layer (arXiv:2002.04745), instead of
                   after each part
    layerdrop   -- probability of skipping a layer in training (arXiv:1909.11556)
    init_std    -- standard deviation of new weights
    qkv_bias    -- whether queries, keys and values have a bias
    """

    dims: int
    num_layers: int
    num_heads: int
    mlp_dims: int
    act: str
    positions: int
    memory_dims: int | None
    eps: float = 1e-5
    norm_first: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    layerdrop: float = 0.0
    init_std: float = 0.02
    qkv_bias: bool = True


@dataclass(kw_only=True)
class DecoderConfig(Config):
    """The token ids and flags every decoder's config has.

    width_and_heads -- names of the fields that say how wide a layer is, and how many heads share it
    """

    width_and_heads: ClassVar[tuple[str, str]]
    vocab_size: int = 0
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    decoder_start_token_id: int | None = None
    tie_word_embeddings: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False
    cross_attention_hidden_size: int | None = None

    def check(self) -> None:
        """Raise `ConfigError` unless the heads divide the width."""
        super().check()
        self.divisible(*self.width_and_heads)
        read = self.cross_attention_hidden_size
        self.require(read is None or read > 0, "cross_attention_hidden_size", "expected 1 or more")

    @property
    def shape(self) -> DecoderShape:
        """The family's fields under the names that the shared parts read."""
        raise NotImplementedError

    def reads_own_width(self) -> None:
        """Raise `ConfigError` for a cross-attention of another width, where a family has none."""
        width = self.shape.dims
        if self.cross_attention_hidden_size not in (None, width):
            raise ConfigError(
                f"{self.model_type} config: cross_attention_hidden_size is "
                f"{self.cross_attention_hidden_size}, but this family reads its own width, "
                f"{width}; leave it out, and a projection stands between encoder and decoder"
            )


class DecoderLayer(nn.Module):
    """The layer of all text decoders: self-attention, cross-attention to the image, MLP.

    Each is added to its input, and normed before or after.
    """

    reads: ClassVar[int] = 1  # how many of its attentions read the memory

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        dims, heads, eps = shape.dims, shape.num_heads, shape.eps
        bias, drop = shape.qkv_bias, shape.attention_dropout
        self.norm_first = shape.norm_first
        self.self_attn_norm = nn.LayerNorm(dims, eps=eps)
        self.self_attn: AttentionCore = Attention(dims, heads, bias=bias, dropout=drop)
        if shape.memory_dims is not None:
            self.cross_attn_norm = nn.LayerNorm(dims, eps=eps)
            self.cross_attn: AttentionCore = Attention(
                dims, heads, memory_dims=shape.memory_dims, bias=bias, dropout=drop
            )
        self.mlp_norm = nn.LayerNorm(dims, eps=eps)
        self.mlp = MLP(dims, shape.mlp_dims, shape.act, dropout=shape.activation_dropout)
        self.dropout = Dropout(shape.dropout)

    def __call__(
        self,
        x: mx.array,
        memory: Memory | mx.array | None,
        mask: Mask,
        cache: LayerCache | None,
        trace: Trace,
        memory_mask: mx.array | None = None,
    ) -> mx.array:
        """(B, L, D) to (B, L, D), reading a memory (B, S, D), or its keys and values, if given."""
        y = self._before(self.self_attn_norm, x)
        y = self.self_attn(y, mask=mask, cache=cache, keep=trace.attentions)
        x = self._after(self.self_attn_norm, x + self.dropout(y))
        if memory is not None:
            y = self._before(self.cross_attn_norm, x)
            y = self.cross_attn(y, memory, mask=memory_mask, keep=trace.cross_attentions)
            x = self._after(self.cross_attn_norm, x + self.dropout(y))
        y = self.mlp(self._before(self.mlp_norm, x))
        return self._after(self.mlp_norm, x + self.dropout(y))

    def remember(self, memory: mx.array) -> KeysValues:
        """What of a memory (B, S, D) the layer attends to at every step, (B, H, S, Dh)."""
        return self.cross_attn.remember(memory)

    def _before(self, norm: nn.Module, x: mx.array) -> mx.array:
        return norm(x) if self.norm_first else x

    def _after(self, norm: nn.Module, x: mx.array) -> mx.array:
        return x if self.norm_first else norm(x)
