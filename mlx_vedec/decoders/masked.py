"""What BERT and its kin share as decoders: they are masked language models (arXiv:1810.04805).

As in arXiv:1907.12461 they are made to read from left to right, with a cross-attention between
self-attention and MLP. The embedding has a norm, and the head transforms before it scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Pairs
from ..layers.dropout import Dropout
from ..layers.initialisers import initialise
from ..layers.mlp import Activation
from .decoder import Decoder
from .layer import DecoderConfig, DecoderShape
from .positions import LearnedPositions


@dataclass(frozen=True, kw_only=True)
class MaskedShape(DecoderShape):
    """A `DecoderShape` with the ways in which BERT and its kin differ.

    embed_dims  -- width of the embeddings and of the head; a projection follows where it is not
                   that of the layers
    token_types -- rows in the table of token types, of which the first is added; 0 without a table
    head_act    -- activation between the head's linear layer and its norm; None without the three
    """

    embed_dims: int
    token_types: int = 0
    head_act: str | None = None


@dataclass(kw_only=True)
class MaskedConfig(DecoderConfig):
    """Fields that all of BERT's kin have."""

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    initializer_range: float = 0.02
    pad_token_id: int | None = 0

    def check(self) -> None:
        """Raise `ConfigError` for padding without a row, or a cross-attention of another width."""
        super().check()
        self.reads_own_width()
        there = self.pad_token_id is None or 0 <= self.pad_token_id < self.vocab_size
        self.require(there, "pad_token_id", f"expected 0 to {self.vocab_size - 1}, the vocabulary")

    @property
    def shape(self) -> MaskedShape:
        """The fields under the names that the shared parts read."""
        raise NotImplementedError


C = TypeVar("C", bound=MaskedConfig)


class MaskedDecoder(Decoder[C]):
    """Tokens, types and positions added and normed; layers; a head with a bias, maybe tied.

    head_has_bias -- whether the head's bias is stored twice, and tied when its matrix is
    """

    shifts_labels = True
    head_has_bias: ClassVar[bool] = True
    may_lack: ClassVar[tuple[str, ...]] = (*Decoder.may_lack, "head_proj", "head_norm", "head_bias")

    def __init__(self, config: C) -> None:
        super().__init__(config)
        shape, width = config.shape, config.shape.embed_dims
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.embed_positions = self.make_positions()
        if shape.token_types:
            self.embed_types = nn.Embedding(shape.token_types, width)
        self.embed_norm: nn.Module = nn.LayerNorm(width, eps=shape.eps)
        self.dropout = Dropout(shape.dropout)
        if width != shape.dims:
            self.embed_proj = nn.Linear(width, shape.dims)
        self.layers = [self.make_layer() for _ in range(shape.num_layers)]
        if shape.norm_first:
            self.norm = nn.LayerNorm(shape.dims, eps=shape.eps)
        self._make_head(shape)
        initialise(self, config.initializer_range)
        self.padding = config.pad_token_id
        if self.padding is not None:
            self.embed_tokens.weight[self.padding] = 0

    def _make_head(self, shape: MaskedShape) -> None:
        vocabulary, tied = self.config.vocab_size, self.config.tie_word_embeddings
        if shape.head_act:
            self.head_proj = nn.Linear(shape.dims, shape.embed_dims)
            self.head_act = Activation(shape.head_act)
            self.head_norm = nn.LayerNorm(shape.embed_dims, eps=shape.eps)
        if tied or not self.head_has_bias:
            self.head_bias = mx.zeros((vocabulary,))
        if not tied:
            self.lm_head = nn.Linear(shape.embed_dims, vocabulary, bias=self.head_has_bias)

    def make_positions(self) -> LearnedPositions:
        """What turns positions into vectors: a table."""
        rows, width = self.config.max_position_embeddings, self.config.shape.embed_dims
        return LearnedPositions(rows, width, offset=0)

    @property
    def embed_dims(self) -> int:
        """Width of the embeddings, which are given in place of tokens."""
        return self.config.shape.embed_dims

    def embed(self, x: mx.array, places: mx.array, given: bool) -> mx.array:
        """Embeddings, their types and their positions, added and normed, to (B, L, D)."""
        x = self._normed(self._placed(x, places))
        return self.embed_proj(x) if "embed_proj" in self else x

    def _placed(self, x: mx.array, places: mx.array) -> mx.array:
        """Embeddings (B, L, D) plus the row of their type and the vectors of their positions."""
        if "embed_types" in self:
            x = x + self.embed_types(mx.zeros((1, 1), mx.int32))
        return x + places

    def _normed(self, x: mx.array) -> mx.array:
        return self.dropout(self.embed_norm(x))

    def head(self, x: mx.array) -> mx.array:
        """Hidden states (B, L, D) to logits (B, L, V)."""
        if "head_proj" in self:
            x = self.head_norm(self.head_act(self.head_proj(x)))
        x = super().head(x)
        return x + self.head_bias if "head_bias" in self else x

    def untie(self) -> None:
        """Give the head weights of its own, which start as the embedding's."""
        super().untie()
        if self.head_has_bias:
            self.lm_head.bias = self.head_bias
            del self.head_bias


TIED: Pairs = (("lm_head.weight", "embed_tokens.weight"),)
TIED_BIAS: Pairs = (*TIED, ("lm_head.bias", "head_bias"))
