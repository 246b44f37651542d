"""RoFormer (arXiv:2104.09864): BERT whose self-attention turns queries and keys by their positions.

Its embeddings may be narrower than the layers, as ELECTRA's. Nothing is added to them for their
positions, and values are turned too where the config says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.attention import Attention, Mask
from ..layers.kv_cache import LayerCache, Memory
from .bert import TYPED_BODY, BertConfig, bert_renames
from .layer import DecoderLayer
from .masked import MaskedDecoder, MaskedShape
from .positions import SinusoidalTable


@dataclass(kw_only=True)
class RoFormerConfig(BertConfig):
    """Fields and defaults of `junnyu/roformer_chinese_base`.

    embedding_size -- width of the embeddings, by default that of the layers
    rotary_value   -- turn values too
    """

    model_type: ClassVar[str] = "roformer"
    vocab_size: int = 50000
    embedding_size: int | None = None
    max_position_embeddings: int = 1536
    rotary_value: bool = False

    def __post_init__(self) -> None:
        if self.embedding_size is None:
            self.embedding_size = self.hidden_size

    def check(self) -> None:
        """Raise `ConfigError` unless pairs of a head's numbers can be turned."""
        super().check()
        expected = f"expected an even multiple of num_attention_heads, {self.num_attention_heads}"
        even = not self.hidden_size // self.num_attention_heads % 2
        self.require(even, "hidden_size", expected)
        self.require(self.shape.embed_dims > 0, "embedding_size", "expected 1 or more")

    @property
    def shape(self) -> MaskedShape:
        """BERT's, with a width of its own for the embeddings."""
        width = self.hidden_size if self.embedding_size is None else self.embedding_size
        return replace(super().shape, embed_dims=width)


class NoPositions(nn.Module):
    """In the place of a table: nothing is added to an embedding."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> float:
        """Positions (B, L) to what is added."""
        return 0.0

    def numbered(self, position_ids: mx.array) -> float:
        """Position ids (B, L) to what is added."""
        return 0.0


class RotaryAttention(Attention):
    """Self-attention of which numbers 2i and 2i + 1 of a head are turned by p·10000^(-2i/Dh).

    A token's position p counts from the start of its row, cached tokens included; position ids that
    a caller gives have no effect, as in transformers.
    """

    def __init__(self, dims: int, num_heads: int, *, dropout: float, turns_values: bool) -> None:
        super().__init__(dims, num_heads, dropout=dropout)
        self.turns_values = turns_values
        self._sines: mx.array | None = None  # (positions, Dh), in the place of computed angles

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
        starts = 0 if cache is None else cache.starts
        queries, keys, values = self._project(x, None)
        queries, keys = self._turned(queries, starts), self._turned(keys, starts)
        values = self._turned(values, starts) if self.turns_values else values
        held = (keys, values) if cache is None else cache.update_and_fetch(keys, values)
        out = self._attend(queries, *held, mask, keep)
        return self.o_proj(out.swapaxes(1, 2).flatten(2))

    def _turned(self, x: mx.array, starts: mx.array | int) -> mx.array:
        """x (B, H, L, Dh), whose first position is `starts`, one number or (B,)."""
        length, width = x.shape[-2:]
        if self._sines is None:
            return mx.fast.rope(x, width, traditional=True, base=10000.0, scale=1.0, offset=starts)
        places = mx.array(starts).reshape(-1, 1, 1) + mx.arange(length)
        sines, cosines = mx.split(self._sines[places].astype(x.dtype), 2, axis=-1)
        even, odd = x[..., ::2], x[..., 1::2]
        turned = [even * cosines - odd * sines, odd * cosines + even * sines]
        return mx.stack(turned, axis=-1).flatten(-2)


class RoFormerForCausalLM(MaskedDecoder[RoFormerConfig]):
    """RoFormer's decoder."""

    config_class = RoFormerConfig
    base_model_prefix = "roformer"

    def make_layer(self) -> DecoderLayer:
        """A layer whose self-attention knows positions."""
        config, layer = self.config, super().make_layer()
        layer.self_attn = RotaryAttention(
            config.hidden_size,
            config.num_attention_heads,
            dropout=config.attention_probs_dropout_prob,
            turns_values=config.rotary_value,
        )
        return layer

    def sines(self) -> mx.array:
        """The sines and cosines of every position and angle, (positions, Dh)."""
        config = self.config
        width = config.hidden_size // config.num_attention_heads
        return SinusoidalTable(config.max_position_embeddings, width).rows

    def use_sines(self, table: mx.array) -> None:
        """Turn queries, keys and values by other sines and cosines (positions, Dh)."""
        for layer in self.layers:
            layer.self_attn._sines = table

    def make_positions(self) -> Any:
        """Nothing that is added."""
        return NoPositions(self.config.max_position_embeddings)


BODY: Pairs = (
    *(pair for pair in TYPED_BODY if pair[1] != "embed_positions"),
    ("embeddings_project", "embed_proj"),
)
RoFormerForCausalLM.renames = bert_renames("roformer", BODY) + Renames(
    pairs=(),
    carried=("roformer.encoder.embed_positions",),  # sines, computed here
)
