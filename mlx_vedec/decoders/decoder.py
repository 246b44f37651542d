"""What all text decoders share: layers over tokens that read an image's features, and a head."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, TokenError
from ..layers.decoder_cache import DecoderCache
from ..layers.initialisers import resize_rows
from ..layers.kv_cache import KVCache
from ..layers.kv_quantization import kv_group_size
from ..layers.lora import Adapted
from ..layers.outputs import CausalLMOutputWithCrossAttentions, Trace, arrays
from ..layers.token_ids import cross_entropy
from .layer import DecoderConfig, DecoderLayer

C = TypeVar("C", bound=DecoderConfig)


class Decoder(Pretrained, Generic[C]):
    """Base of the families, which add `embed`, their layers, and a `head` that is not plain.

    Here and in the families `memory` is the encoder's features as the decoder reads them.
    """

    config_class: ClassVar[type[DecoderConfig]]
    may_lack: ClassVar[tuple[str, ...]] = (
        *("layers.*.cross_attn", "layers.*.cross_attn_norm"),
        *("head_proj", "head_norm", "head_bias", "lm_head"),
    )
    shifts_labels: ClassVar[bool] = False  # the loss compares logits with the label after theirs
    config: C
    embed_tokens: nn.Embedding
    embed_positions: Any  # of the family's own kind, one of `positions.Positions`
    norm: nn.LayerNorm  # after the last layer, where layers norm first
    lm_head: nn.Linear  # where the head is not the embedding
    head_bias: mx.array  # where a head has one apart from its matrix
    layers: list[DecoderLayer]

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.shape = config.shape

    @property
    def ties_head(self) -> bool:
        """Whether the config makes one matrix of the embedding and the head."""
        return self.config.tie_word_embeddings

    def embed(
        self, tokens: mx.array | None, inputs_embeds: mx.array | None, positions: mx.array
    ) -> mx.array:
        """Tokens (B, L), or their embeddings (B, L, D), at positions (B, L) to (B, L, D)."""
        raise NotImplementedError

    def head(self, x: mx.array) -> mx.array:
        """Hidden states (B, L, D) to logits (B, L, V)."""
        return self.lm_head(x) if "lm_head" in self else self.embed_tokens.as_linear(x)

    def untie(self) -> None:
        """Give the head weights of its own, which start as the embedding's."""
        self.check_table("untying")
        self.config.tie_word_embeddings = False
        vocabulary, width = self.embed_tokens.weight.shape
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.embed_tokens.weight

    @property
    def max_positions(self) -> int | None:
        """How many tokens have a position; None where there is no end, as with some sines."""
        return self.embed_positions.count

    def make_layer(self) -> DecoderLayer:
        """One of the layers, in families whose layers are all alike."""
        return DecoderLayer(self.shape)

    def resize_token_embeddings(self, new_num_tokens: int) -> None:
        """Cut or extend the vocabulary, here and in the config; ties stay.

        New rows are drawn as new weights are; new biases are zero.
        """
        if new_num_tokens < 1:
            raise ConfigError(f"new_num_tokens is {new_num_tokens}; expected at least 1")
        self.check_table("resizing")
        std = self.shape.init_std
        self.embed_tokens.weight = resize_rows(self.embed_tokens.weight, new_num_tokens, std)
        if "lm_head" in self:
            self.lm_head.weight = resize_rows(self.lm_head.weight, new_num_tokens, std)
            if "bias" in self.lm_head:
                self.lm_head.bias = resize_rows(self.lm_head.bias, new_num_tokens, 0.0)
        if "head_bias" in self:
            self.head_bias = resize_rows(self.head_bias, new_num_tokens, 0.0)
        self.config.vocab_size = new_num_tokens

    def check_table(self, doing: str) -> None:
        """Raise `ConfigError` unless the embedding of tokens is plain floats."""
        if isinstance(self.embed_tokens, Adapted):
            raise ConfigError(f"the embedding has an adapter; fuse or remove it before {doing}")
        if isinstance(self.embed_tokens, nn.QuantizedEmbedding):
            raise ConfigError(f"the embedding is quantized; dequantize the model before {doing} it")

    def make_cache(
        self,
        memory: mx.array | None,
        rows: int | None = None,
        *,
        max_size: int | None = None,
        keep: int = 0,
        bits: int | None = None,
        group_size: int | None = None,
    ) -> DecoderCache:
        """An empty cache over a memory (B, S, D), for B rows or several per image.

        The options are `DecoderCache`'s. max_size bounds what is held, not the length of a text,
        which ends with the position table.
        """
        self._check_reads(memory)
        memories = [None if memory is None else layer.remember(memory) for layer in self.layers]
        if bits is not None:
            group_size = kv_group_size(self.shape.dims // self.shape.num_heads, group_size)
        return DecoderCache(
            memories,
            rows or (1 if memory is None else len(memory)),
            self.max_positions,
            max_size=max_size,
            keep=keep,
            bits=bits,
            group_size=group_size,
        )

    def decode(
        self,
        tokens: mx.array | None,
        memory: mx.array | None = None,
        *,
        inputs_embeds: mx.array | None = None,
        attention_mask: mx.array | None = None,
        memory_mask: mx.array | None = None,
        position_ids: mx.array | None = None,
        cache: DecoderCache | None = None,
        trace: Trace | None = None,
    ) -> mx.array:
        """Tokens (B, L) to hidden states (B, L, D).

        The memory (B, S, D) is in the cache, once there is one. attention_mask (B, T) covers the
        cached tokens and these, memory_mask (B, S) the memory; what is 0 there is not attended.
        position_ids (B, L) count from 0, and by default from the end of the cache.
        """
        self._check_reads(memory)
        trace = trace or Trace()
        length = _given(tokens, inputs_embeds).shape[1]
        self._check_room(length + (cache.length if cache else 0))
        positions = cache.positions(length) if cache else mx.arange(length)[None]
        memories = cache.memories if cache else [memory] * len(self.layers)
        mask = (cache or KVCache()).make_mask(length, attention_mask)
        seen = None if memory_mask is None else (memory_mask != 0)[:, None, None, :]
        x = self.embed(tokens, inputs_embeds, positions if position_ids is None else position_ids)
        trace.keep(x)
        for index, layer in enumerate(self.in_turn(self.layers)):
            own = cache.layers[index] if cache else None
            x = self._drop(x, layer(x, memories[index], mask, own, trace, seen))
            if index + 1 < len(self.layers):
                trace.keep(x)
        x = self.norm(x) if "norm" in self else x
        trace.keep(x)
        return x

    def __call__(
        self,
        input_ids: mx.array | None = None,
        attention_mask: mx.array | None = None,
        encoder_hidden_states: mx.array | None = None,
        encoder_attention_mask: mx.array | None = None,
        *,
        past_key_values: DecoderCache | None = None,
        inputs_embeds: mx.array | None = None,
        position_ids: mx.array | None = None,
        labels: mx.array | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> CausalLMOutputWithCrossAttentions:
        """The decoder as a model of its own: token ids (B, L) to logits (B, L, V).

        It reads encoder_hidden_states (B, S, D), or nothing. labels (B, L) are compared with the
        logits of the same place, or of the place before in families whose `shifts_labels` is set.
        """
        given = _given(input_ids, inputs_embeds)
        trace = Trace.of(output_attentions, output_hidden_states)
        cache = past_key_values
        if cache is None and use_cache:
            cache = self.make_cache(encoder_hidden_states, len(given))
        x = self.decode(
            input_ids,
            encoder_hidden_states,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            memory_mask=encoder_attention_mask,
            position_ids=position_ids,
            cache=cache,
            trace=trace,
        )
        logits = self.head(x)
        return CausalLMOutputWithCrossAttentions(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            past_key_values=cache,
            hidden_states=arrays(trace.hidden_states),
            attentions=arrays(trace.attentions),
            cross_attentions=arrays(trace.cross_attentions) or None,
        )

    def _loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        if self.shifts_labels:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return cross_entropy(logits, labels)

    def _drop(self, before: mx.array, after: mx.array) -> mx.array:
        """Skip a layer at random in training, as a choice that a compiled step can make."""
        if not self.training or not self.shape.layerdrop:
            return after
        return mx.where(mx.random.uniform() < self.shape.layerdrop, before, after)

    def _check_reads(self, memory: mx.array | None) -> None:
        if memory is not None and self.shape.memory_dims is None:
            raise ConfigError(
                f"this {self.config.model_type} decoder has no cross-attention to read an image "
                "with; set add_cross_attention=True in its config"
            )

    def _check_room(self, total: int) -> None:
        if self.max_positions is not None and total > self.max_positions:
            raise TokenError(
                f"{total} tokens, but the position table ends at {self.max_positions}; "
                "shorten the prompt or the labels"
            )


def _given(tokens: mx.array | None, inputs_embeds: mx.array | None) -> mx.array:
    """The token ids or the embeddings, whichever a call gave."""
    if tokens is not None and inputs_embeds is None:
        return tokens
    if inputs_embeds is not None and tokens is None:
        return inputs_embeds
    raise TokenError("give exactly one of decoder_input_ids and decoder_inputs_embeds")
