"""GPT-2 (OpenAI, 2019): normed before each part and after the last layer, no bias in the head.

GPT-SW3 (arXiv:2305.12987) is GPT-2 under another model type. Queries, keys and values are one
linear layer, as are keys and values of the cross-attention. All but the head are stored with their
axes the other way round, (in, out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.attention import AttentionCore, FusedAttention
from ..layers.dropout import Dropout
from ..layers.initialisers import initialise
from ..layers.kv_cache import KeysValues
from .decoder import Decoder
from .layer import DecoderConfig, DecoderLayer, DecoderShape
from .positions import LearnedPositions


@dataclass(kw_only=True)
class GPT2Config(DecoderConfig):
    """Fields and defaults of `openai-community/gpt2`.

    `reorder_and_upcast_attn` is kept in `extra`: scores and softmax are in float32 anyway.

    scale_attn_weights -- divide scores by the root of a head's width
    scale_attn_by_inverse_layer_idx -- and by the number of the layer, from 1
    """

    model_type: ClassVar[str] = "gpt2"
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }
    width_and_heads: ClassVar[tuple[str, str]] = ("n_embd", "n_head")
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    bos_token_id: int | None = 50256
    eos_token_id: int | tuple[int, ...] | None = 50256

    def check(self) -> None:
        """Raise `ConfigError` for an MLP without a width, or a cross-attention of another width."""
        super().check()
        self.reads_own_width()
        wide = self.n_inner is None or self.n_inner > 0
        self.require(wide, "n_inner", "expected 1 or more, or none")

    def attention_scale(self, layer: int) -> float:
        """What scores are multiplied with in a layer, self- and cross-attention alike."""
        scale = (self.n_embd // self.n_head) ** -0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    @property
    def shape(self) -> DecoderShape:
        """The fields under the names that the shared parts read."""
        return DecoderShape(
            dims=self.n_embd,
            num_layers=self.n_layer,
            num_heads=self.n_head,
            mlp_dims=self.n_inner or 4 * self.n_embd,
            act=self.activation_function,
            positions=self.n_positions,
            memory_dims=self.n_embd if self.add_cross_attention else None,
            eps=self.layer_norm_epsilon,
            norm_first=True,
            dropout=self.resid_pdrop,
            attention_dropout=self.attn_pdrop,
            init_std=self.initializer_range,
        )


@dataclass(kw_only=True)
class GPTSw3Config(GPT2Config):
    """Fields and defaults of GPT-2, as in transformers, which reads this model type as GPT-2's."""

    model_type: ClassVar[str] = "gpt-sw3"


class CrossAttention(AttentionCore):
    """Attention over a memory; one linear layer gives keys and values."""

    def __init__(self, dims: int, num_heads: int, *, dropout: float) -> None:
        super().__init__(dims, num_heads, dropout=dropout)
        self.q_proj = nn.Linear(dims, dims)
        self.kv_proj = nn.Linear(dims, 2 * dims)

    def _keys_values(self, x: mx.array) -> KeysValues:
        keys, values = mx.split(self.kv_proj(x), 2, axis=-1)
        return self._heads(keys), self._heads(values)


class GPT2Layer(DecoderLayer):
    """The layer of all decoders with attention of its own."""

    def __init__(self, config: GPT2Config, index: int) -> None:
        shape = config.shape
        super().__init__(shape)
        dims, heads, drop = shape.dims, shape.num_heads, shape.attention_dropout
        self.self_attn = FusedAttention(dims, heads, dropout=drop)
        self.self_attn.scale = config.attention_scale(index)
        if "cross_attn" in self:
            self.cross_attn = CrossAttention(dims, heads, dropout=drop)
            self.cross_attn.scale = self.self_attn.scale


def shrink_residuals(layer: DecoderLayer, std: float) -> None:
    """Draw anew, with this deviation, the weights whose output is added to the layer's input.

    Source: `GPT2PreTrainedModel._init_weights` of transformers 5.23.
    """
    ends = [layer.self_attn.o_proj, layer.mlp.fc2]
    ends += [layer.cross_attn.o_proj] if "cross_attn" in layer else []
    for linear in ends:
        initialise(linear, std)


class GPT2LMHeadModel(Decoder[GPT2Config]):
    """Tokens and positions added, layers, a norm, and a head without bias that may be tied."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    shifts_labels = True

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        dims, std = config.n_embd, config.initializer_range
        self.embed_tokens = nn.Embedding(config.vocab_size, dims)
        self.embed_positions = LearnedPositions(config.n_positions, dims, offset=0)
        self.dropout = Dropout(config.embd_pdrop)
        self.layers = [*(GPT2Layer(config, index) for index in range(config.n_layer))]
        self.norm = nn.LayerNorm(dims, eps=config.layer_norm_epsilon)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(dims, config.vocab_size, bias=False)
        initialise(self, std)
        for layer in self.layers:
            shrink_residuals(layer, std / math.sqrt(2 * config.n_layer))

    def embed(self, x: mx.array, places: mx.array, given: bool) -> mx.array:
        """Embeddings and their positions added, (B, L, D)."""
        return self.dropout(x + places)


class GPTSw3LMHeadModel(GPT2LMHeadModel):
    """GPT-SW3's decoder, under GPT-2's names."""

    config_class = GPTSw3Config


BODY: Pairs = (
    ("wte", "embed_tokens"),
    ("wpe", "embed_positions"),
    ("h.*.ln_1", "layers.*.self_attn_norm"),
    ("h.*.attn.c_attn", "layers.*.self_attn.qkv_proj"),
    ("h.*.attn.c_proj", "layers.*.self_attn.o_proj"),
    ("h.*.ln_cross_attn", "layers.*.cross_attn_norm"),
    ("h.*.crossattention.q_attn", "layers.*.cross_attn.q_proj"),
    ("h.*.crossattention.c_attn", "layers.*.cross_attn.kv_proj"),
    ("h.*.crossattention.c_proj", "layers.*.cross_attn.o_proj"),
    ("h.*.ln_2", "layers.*.mlp_norm"),
    ("h.*.mlp.c_fc", "layers.*.mlp.fc1"),
    ("h.*.mlp.c_proj", "layers.*.mlp.fc2"),
    ("ln_f", "norm"),
)
BUFFERS = (  # the causal mask and what fills it, which older versions stored
    "transformer.h.*.attn.bias",
    "transformer.h.*.attn.masked_bias",
    "transformer.h.*.crossattention.bias",
    "transformer.h.*.crossattention.masked_bias",
)
GPT2LMHeadModel.renames = Renames(
    pairs=(*((f"transformer.{disk}", ours) for disk, ours in BODY), ("lm_head", "lm_head")),
    ignored=BUFFERS,
    tied=(("lm_head.weight", "embed_tokens.weight"),),
    transposed=("layers.*.self_attn", "layers.*.cross_attn", "layers.*.mlp"),
)
