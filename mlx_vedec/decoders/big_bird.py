"""BigBird (arXiv:2007.14062) as a decoder: BERT with full attention that reads the image twice.

As in transformers, the self-attention of a decoder that reads an image attends to the image, not to
earlier tokens; cross-attention, with weights of its own, follows. So a token is predicted from the
one before it, its position and the image. Without an image it is causal self-attention.

The paper's block-sparse attention looks ahead, so transformers has it in no decoder that reads an
image, whatever the config says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx

from ..errors import TokenError
from ..layers.attention import Mask
from ..layers.kv_cache import KeysValues, LayerCache, Memory
from ..layers.kv_quantization import Held, Quantized
from ..layers.outputs import Trace
from .bert import BertConfig, bert_renames
from .layer import DecoderLayer
from .masked import MaskedDecoder, MaskedShape

FULL, SPARSE = "original_full", "block_sparse"


@dataclass(kw_only=True)
class BigBirdConfig(BertConfig):
    """Fields and defaults of `google/bigbird-roberta-base`.

    attention_type     -- "original_full", or "block_sparse", which is full for short texts too
    block_size, num_random_blocks -- which texts are short, `full_length`
    use_bias           -- of queries, keys and values
    rescale_embeddings -- by the root of their width
    """

    model_type: ClassVar[str] = "big_bird"
    vocab_size: int = 50358
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 4096
    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 2
    attention_type: str = SPARSE
    use_bias: bool = True
    rescale_embeddings: bool = False
    block_size: int = 64
    num_random_blocks: int = 3

    def check(self) -> None:
        """Raise `ConfigError` for an unknown kind of attention."""
        super().check()
        known = self.attention_type in (FULL, SPARSE)
        self.require(known, "attention_type", f"expected {FULL!r} or {SPARSE!r}")

    @property
    def shape(self) -> MaskedShape:
        """BERT's, perhaps without biases."""
        return replace(super().shape, qkv_bias=self.use_bias)

    @property
    def full_length(self) -> int | None:
        """Tokens of the longest text whose attention is full; None where each one's is."""
        if self.attention_type == FULL or self.add_cross_attention:
            return None
        return (5 + 2 * self.num_random_blocks) * self.block_size


class BigBirdLayer(DecoderLayer):
    """The layer of all decoders, whose first attention reads the memory, where there is one."""

    reads = 2

    def remember(self, memory: mx.array) -> KeysValues:
        """Keys and values of both attentions: their heads, one after the other's."""
        keys, values = self.self_attn.remember(memory)
        more_keys, more_values = self.cross_attn.remember(memory)
        return (
            mx.concatenate([keys, more_keys], axis=1),
            mx.concatenate([values, more_values], axis=1),
        )

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
        if memory is None:
            return super().__call__(x, memory, mask, cache, trace)
        heads = self.self_attn.num_heads
        first, second = _heads(memory, 0, heads), _heads(memory, heads, 2 * heads)
        if cache is not None:  # for it to count tokens, of which nothing is remembered
            nothing = mx.zeros((len(x), 1, x.shape[1], x.shape[2] // heads), x.dtype)
            cache.update_and_fetch(nothing, nothing)
        y = self.self_attn(x, first, mask=memory_mask, keep=trace.attentions)
        x = self.self_attn_norm(x + self.dropout(y))
        y = self.cross_attn(x, second, mask=memory_mask, keep=trace.cross_attentions)
        x = self.cross_attn_norm(x + self.dropout(y))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


def _heads(memory: Memory | mx.array, start: int, stop: int) -> Memory | mx.array:
    """Some heads of the keys and values that are remembered; a memory itself as it is."""

    def cut(held: Held) -> Held:
        if isinstance(held, mx.array):
            return held[:, start:stop]
        weight, scales, biases = (
            part[:, start:stop] for part in (held.weight, held.scales, held.biases)
        )
        return Quantized(weight, scales, biases, held.group_size, held.bits)

    return memory if isinstance(memory, mx.array) else (cut(memory[0]), cut(memory[1]))


class BigBirdForCausalLM(MaskedDecoder[BigBirdConfig]):
    """BigBird's decoder; its embedding drops before the norm."""

    config_class = BigBirdConfig
    base_model_prefix = "bert"

    def unread(self) -> dict[str, mx.array]:
        """The pooler, which no head reads."""
        dims = self.config.hidden_size
        return {"bert.pooler.weight": mx.zeros((dims, dims)), "bert.pooler.bias": mx.zeros(dims)}

    def make_layer(self) -> DecoderLayer:
        """A layer that may read the memory twice."""
        return BigBirdLayer(self.shape)

    def _placed(self, x: mx.array, places: mx.array) -> mx.array:
        scale = math.sqrt(self.config.hidden_size) if self.config.rescale_embeddings else 1.0
        return super()._placed(x * scale, places)

    def _normed(self, x: mx.array) -> mx.array:
        return self.embed_norm(self.dropout(x))

    def check_room(self, total: int) -> None:
        """Raise `TokenError` also where attention would be sparse."""
        super().check_room(total)
        full = self.config.full_length
        if full is not None and total > full:
            raise TokenError(
                f"{total} tokens, but BigBird's block-sparse attention, which this library does "
                f"not have, begins after {full}; shorten the text, or set "
                f"attention_type={FULL!r} in the decoder's config"
            )


BigBirdForCausalLM.renames = bert_renames("bert")
