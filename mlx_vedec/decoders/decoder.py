"""What all text decoders share: layers over tokens that read an image's features, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import LARGEST
from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, TokenError, spelt
from ..layers.computing import check_process
from ..layers.decoder_cache import DecoderCache
from ..layers.initialisers import chosen_rows
from ..layers.kv_cache import KVCache
from ..layers.kv_quantization import kv_group_size
from ..layers.lora import Adapted
from ..layers.outputs import CausalLMOutputWithCrossAttentions, Trace, arrays
from ..layers.packed import Quantized
from ..layers.step_cache import StepCache
from ..layers.token_ids import as_ids, cross_entropy
from .calls import (
    check_cache,
    checked_input,
    checked_mask,
    checked_memory,
    checked_positions,
    given_input,
)
from .layer import DecoderConfig, DecoderLayer
from .positions import are_others

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
    head_has_bias: ClassVar[bool] = False  # in its linear layer, where that is its own
    padding: int | None = None  # the id whose embedding is not learnt, torch's `padding_idx`
    counts_from_padding: bool = False  # positions are numbered from the id of padding on
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
        self._stored_sines: dict[str, mx.array] = {}  # by name on disk, if not those computed

    @property
    def ties_head(self) -> bool:
        """Whether the config makes one matrix of the embedding and the head."""
        return self.config.tie_word_embeddings

    def embed(self, x: mx.array, places: mx.array, given: bool) -> mx.array:
        """Embeddings (B, L, D) and their positions' vectors to what the first layer reads.

        given -- whether the call gave the embeddings, instead of tokens
        """
        raise NotImplementedError

    def _looked_up(self, tokens: mx.array, cached: bool) -> mx.array:
        """The embeddings (B, L, D) of tokens; the row of padding gets no gradient from them."""
        x = self.embed_tokens(tokens)
        if self.padding is None or cached:  # what is generated is not learnt from
            return x
        return mx.where((tokens == self.padding)[..., None], mx.stop_gradient(x), x)

    def _places(
        self, positions: mx.array, tokens: mx.array | None, position_ids: mx.array | None
    ) -> mx.array:
        """The vectors of the tokens' own positions (B, L), or of those that a call gives."""
        if position_ids is None:
            return self.embed_positions(positions, tokens)
        return self.embed_positions.numbered(position_ids)

    @property
    def embed_dims(self) -> int:
        """Width of the embeddings, which are given in place of tokens."""
        return self.shape.dims

    def head(self, x: mx.array) -> mx.array:
        """Hidden states (B, L, D) to logits (B, L, V)."""
        return self.lm_head(x) if "lm_head" in self else self.embed_tokens.as_linear(x)

    def get_input_embeddings(self) -> Any:
        """The embedding of tokens."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Take another embedding (V, D) of tokens; a tied head is one with it."""
        self._check_replaces(value, nn.Embedding, "resize_token_embeddings changes the vocabulary")
        self.embed_tokens = value

    def get_output_embeddings(self) -> Any:
        """The layer that scores tokens: the head's own, or the embedding where it is tied."""
        return self.lm_head if "lm_head" in self else self.embed_tokens

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Give the head another linear layer (V, D) of its own, untied from the embedding."""
        self._check_replaces(new_embeddings, nn.Linear, f"its bias is there: {self.head_has_bias}")
        if ("bias" in new_embeddings) != self.head_has_bias:
            raise ConfigError(
                f"the head is a layer with bias={self.head_has_bias}; give such a one"
            )
        if "lm_head" not in self:
            self.untie()
        self.lm_head = new_embeddings

    def _check_replaces(self, layer: Any, kind: type[nn.Module], hint: str) -> None:
        shape = (self.config.vocab_size, self.embed_dims)
        if not isinstance(layer, kind) or layer["weight"].shape != shape:
            found = f"of {layer['weight'].shape}" if isinstance(layer, kind) else spelt(layer)
            raise ConfigError(
                f"the layer is {found}; expected nn.{kind.__name__} of {shape}; {hint}"
            )

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

    def sines(self) -> mx.array | None:
        """The table (positions, width) of sines that is computed where none is stored."""
        return None

    def use_sines(self, table: mx.array) -> None:
        """Read another table of the same shape, in families that have sines."""

    def read_carried(self, carried: dict[str, mx.array]) -> None:
        """Use a stored table of sines if its numbers are others, as transformers does."""
        for name, stored in carried.items():
            computed = self.sines() if name.endswith("embed_positions.weight") else None
            if computed is not None and are_others(name, stored, computed):
                self.use_sines(stored.astype(mx.float32))
                self._stored_sines = {name: stored}

    def unread(self) -> dict[str, mx.array]:
        """A stored table of sines that is not the computed one."""
        return self._stored_sines

    def make_layer(self) -> DecoderLayer:
        """One of the layers, in families whose layers are all alike."""
        return DecoderLayer(self.shape)

    def resize_token_embeddings(self, new_num_tokens: int) -> None:
        """Cut or extend the vocabulary, here and in the config; ties stay.

        New rows are drawn as new weights are; new biases are zero.
        """
        self.take_rows(self.first_rows(new_num_tokens))

    def first_rows(self, count: int) -> list[int | None]:
        """The ids that so many tokens have now, None for those that there are not yet."""
        if type(count) is not int or not 1 <= count <= LARGEST:
            raise ConfigError(f"new_num_tokens is {spelt(count)}; expected at least 1")
        return [id if id < self.config.vocab_size else None for id in range(count)]

    def take_rows(self, sources: Sequence[int | None]) -> None:
        """Give the tables of tokens other rows: the old ones that are named, and new ones for None.

        Only the size in the config follows, not the ids: see `model.vocabulary.replace_tokens`.
        """
        self.check_table("changing")
        std = self.shape.init_std
        self.embed_tokens.weight = chosen_rows(self.embed_tokens.weight, sources, std)
        if "lm_head" in self:
            self.lm_head.weight = chosen_rows(self.lm_head.weight, sources, std)
            if "bias" in self.lm_head:
                self.lm_head.bias = chosen_rows(self.lm_head.bias, sources, 0.0)
        if "head_bias" in self:
            self.head_bias = chosen_rows(self.head_bias, sources, 0.0)
        self.config.vocab_size = len(sources)

    def check_table(self, doing: str) -> None:
        """Raise `ConfigError` unless the tables of tokens, embedding and head, are plain floats."""
        tables = {"embedding": self.embed_tokens, "head": self.get_output_embeddings()}
        for name, table in tables.items():
            if isinstance(table, Adapted):
                raise ConfigError(f"the {name} has an adapter; fuse or remove it before {doing} it")
            if isinstance(table, Quantized):
                raise ConfigError(
                    f"the {name} is quantized; dequantize the model before {doing} it, or give the "
                    "one that it was made from, and quantize what comes of it"
                )

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
        cache: DecoderCache | StepCache | None = None,
        trace: Trace | None = None,
    ) -> mx.array:
        """Tokens (B, L) to hidden states (B, L, D).

        The memory (B, S, D) is in the cache, once there is one. attention_mask (B, T) covers the
        cached tokens and these, memory_mask (B, S) the memory; what is 0 there is not attended.
        position_ids (B, L) are numbered as in transformers: from 0, but in RoBERTa and its kin they
        are rows of the position table, the first token's being `pad_token_id + 1`.
        """
        check_process()
        self._check_reads(memory)
        trace = trace or Trace()
        length = given_input(tokens, inputs_embeds).shape[1]
        self.check_room(length + (cache.length if cache else 0))
        positions = cache.positions(length) if cache else mx.arange(length)[None]
        memories = cache.memories if cache else [memory] * len(self.layers)
        mask = (cache or KVCache()).make_mask(length, attention_mask)
        seen = None if memory_mask is None else (memory_mask != 0)[:, None, None, :]
        x: Any = inputs_embeds if tokens is None else self._looked_up(tokens, cache is not None)
        places = self._places(positions, tokens, position_ids)
        x = self.embed(x, places, given=tokens is None)
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
        given = checked_input(input_ids, inputs_embeds, self.config.vocab_size, self.embed_dims)
        rows, length = given_input(**given).shape[:2]
        self._check_reads(encoder_hidden_states)
        memory = checked_memory(encoder_hidden_states, rows, self.shape.memory_dims)
        seen = "(batch, features)" if memory is None else str(memory.shape[:2])
        cache = past_key_values
        check_cache(cache, rows)
        if cache is None and use_cache:
            cache = self.make_cache(memory, rows)
        trace = Trace.of(output_attentions, output_hidden_states)
        x = self.decode(
            **given,
            memory=memory,
            attention_mask=checked_mask(
                attention_mask, "decoder_attention_mask", f"({rows}, length)"
            ),
            memory_mask=checked_mask(encoder_attention_mask, "encoder_attention_mask", seen),
            position_ids=checked_positions(position_ids, rows, length),
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

    def _loss(self, logits: mx.array, labels: Any) -> mx.array:
        labels = as_ids(labels, "labels", str(logits.shape[:2]))
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

    def check_room(self, total: int) -> None:
        """Raise `TokenError` for a row of more tokens than there are positions."""
        if self.max_positions is not None and total > self.max_positions:
            raise TokenError(
                f"{total} tokens, but the position table ends at {self.max_positions}; "
                "shorten the prompt or the labels"
            )
