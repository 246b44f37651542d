"""What BART's kin share: scaled tokens plus positions, layers, a head; norms in various places.

They are the decoders of sequence-to-sequence models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import LARGEST
from ..checkpoints.renames import Pairs, Renames
from ..layers.dropout import Dropout
from ..layers.initialisers import initialise
from .decoder import Decoder
from .layer import DecoderConfig, DecoderShape
from .positions import MOST_SINES, LearnedPositions, Positions, SinusoidalTable

Normed = Literal["sum", "tokens"] | None


@dataclass(kw_only=True)
class Seq2SeqConfig(DecoderConfig):
    """Fields that all of BART's kin have; a family sets the class variables it differs in.

    norm_first  -- norms before each part and after the last layer, instead of after each part
    embed_norm  -- what the embedding's norm reads: the "sum" of tokens and positions, the "tokens"
                   before positions are added, or None where there is no such norm
    scale_given -- whether embeddings given instead of tokens are scaled as tokens are
    sinusoidal  -- positions are sines, whose table is computed
    offset      -- rows of a learned table before the first position
    """

    norm_first: ClassVar[bool] = False
    embed_norm: ClassVar[Normed] = "sum"
    scale_given: ClassVar[bool] = False
    sinusoidal: ClassVar[bool] = False
    offset: ClassVar[int] = 2
    d_model: int = 1024
    activation_function: str = "gelu"
    max_position_embeddings: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    init_std: float = 0.02
    scale_embedding: bool = False
    use_cache: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | tuple[int, ...] | None = 2

    def check(self) -> None:
        """Raise `ConfigError` unless padding has a row in the embedding, the one that is zero."""
        super().check()
        most = MOST_SINES if self.sinusoidal else LARGEST // 2
        fits = self.max_position_embeddings <= most
        self.require(fits, "max_position_embeddings", f"expected at most {most}")
        there = self.pad_token_id is None or self.pad_token_id < self.vocab_size
        self.require(there, "pad_token_id", f"expected an id below vocab_size, {self.vocab_size}")

    def shape_of(self, layers: int, heads: int, mlp_dims: int, layerdrop: float) -> DecoderShape:
        """The shape, given the fields that families name differently."""
        return DecoderShape(
            dims=self.d_model,
            num_layers=layers,
            num_heads=heads,
            mlp_dims=mlp_dims,
            act=self.activation_function,
            positions=self.max_position_embeddings,
            memory_dims=self.cross_attention_hidden_size or self.d_model,
            norm_first=self.norm_first,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
            layerdrop=layerdrop,
            init_std=self.init_std,
        )


C = TypeVar("C", bound=Seq2SeqConfig)


class Seq2SeqDecoder(Decoder[C]):
    """Base of the families: they add names on disk, and positions of their own."""

    base_model_prefix = "model"

    def __init__(self, config: C) -> None:
        super().__init__(config)
        shape, dims, pad = config.shape, config.d_model, config.pad_token_id
        self.embed_scale = math.sqrt(dims) if config.scale_embedding else 1.0
        self.embed_tokens = nn.Embedding(config.vocab_size, dims)
        self.embed_positions = self.make_positions()
        if config.embed_norm:
            self.embed_norm = nn.LayerNorm(dims)
        self.layers = [self.make_layer() for _ in range(shape.num_layers)]
        if shape.norm_first:
            self.norm = nn.LayerNorm(dims)
        self.dropout = Dropout(config.dropout)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(dims, config.vocab_size, bias=False)
        initialise(self, config.init_std)
        self.padding = pad
        if pad is not None:
            self.embed_tokens.weight[pad] = 0

    def make_positions(self) -> Positions:
        """What turns positions into vectors."""
        config = self.config
        count, dims = config.max_position_embeddings, config.d_model
        if config.sinusoidal:
            return SinusoidalTable(count, dims)
        return LearnedPositions(count, dims, config.offset)

    def sines(self) -> mx.array | None:
        """The table of positions, where it is computed."""
        return self.embed_positions.rows if self.config.sinusoidal else None

    def use_sines(self, table: mx.array) -> None:
        """Read another table (positions, D)."""
        self.embed_positions.replace(table)

    def embed(self, x: mx.array, places: mx.array, given: bool) -> mx.array:
        """Embeddings (B, L, D), scaled and normed, and their positions, to (B, L, D)."""
        config = self.config
        x = x if given and not config.scale_given else x * self.embed_scale
        x = self.embed_norm(x) if config.embed_norm == "tokens" else x
        x = x + places.astype(x.dtype)
        x = self.embed_norm(x) if config.embed_norm == "sum" else x
        return self.dropout(x)


PARTS: Pairs = (
    ("embed_tokens", "embed_tokens"),
    ("layers.*.self_attn.out_proj", "layers.*.self_attn.o_proj"),
    ("layers.*.self_attn_layer_norm", "layers.*.self_attn_norm"),
    ("layers.*.self_attn", "layers.*.self_attn"),
    ("layers.*.encoder_attn.out_proj", "layers.*.cross_attn.o_proj"),
    ("layers.*.encoder_attn_layer_norm", "layers.*.cross_attn_norm"),
    ("layers.*.encoder_attn", "layers.*.cross_attn"),
    ("layers.*.fc1", "layers.*.mlp.fc1"),
    ("layers.*.fc2", "layers.*.mlp.fc2"),
    ("layers.*.final_layer_norm", "layers.*.mlp_norm"),
)
LEARNED: Pairs = (("embed_positions", "embed_positions"),)
EMBED_NORM: Pairs = (("layernorm_embedding", "embed_norm"),)
FINAL_NORM: Pairs = (("layer_norm", "norm"),)
# sines, which are computed, under their names in several versions, and fairseq's version number
COMPUTED = ("embed_positions._float_tensor", "embed_positions.weights", "version")


def seq2seq_renames(prefix: str, head: str, extra: Pairs) -> Renames:
    """The names of a decoder whose parts have a prefix on disk, and of its head.

    extra -- the names of parts that only some families have
    """
    return Renames(
        pairs=(*((prefix + disk, ours) for disk, ours in PARTS + extra), (head, "lm_head")),
        ignored=tuple(prefix + name for name in COMPUTED),
        tied=(("lm_head.weight", "embed_tokens.weight"),),
    )
