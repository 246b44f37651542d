"""RemBERT (arXiv:2010.12821): BERT with narrow embeddings and a head that is wider than its layers.

The two are never one matrix, whatever the config says, and a projection always follows the
embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.nn as nn

from ..checkpoints.renames import Pairs, Renames
from ..layers.mlp import Activation
from .bert import TYPED_BODY, BertConfig, body_renames
from .masked import MaskedDecoder, MaskedShape


@dataclass(kw_only=True)
class RemBertConfig(BertConfig):
    """Fields and defaults of `google/rembert`.

    input_embedding_size  -- width of the embeddings
    output_embedding_size -- width of what the head scores tokens by
    """

    model_type: ClassVar[str] = "rembert"
    vocab_size: int = 250300
    hidden_size: int = 1152
    num_hidden_layers: int = 32
    num_attention_heads: int = 18
    input_embedding_size: int = 256
    output_embedding_size: int = 1664
    intermediate_size: int = 4608
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    bos_token_id: int | None = 312
    eos_token_id: int | tuple[int, ...] | None = 313
    tie_word_embeddings: bool = False

    @property
    def shape(self) -> MaskedShape:
        """BERT's, with a width of its own for the embeddings."""
        return replace(super().shape, embed_dims=self.input_embedding_size)


class RemBertForCausalLM(MaskedDecoder[RemBertConfig]):
    """RemBERT's decoder."""

    config_class = RemBertConfig
    base_model_prefix = "rembert"

    def _make_head(self, shape: MaskedShape) -> None:
        config, width = self.config, self.config.output_embedding_size
        self.embed_proj = nn.Linear(shape.embed_dims, shape.dims)  # where widths are equal too
        self.head_proj = nn.Linear(shape.dims, width)
        self.head_act = Activation(config.hidden_act)
        self.head_norm = nn.LayerNorm(width, eps=shape.eps)
        self.lm_head = nn.Linear(width, config.vocab_size)

    @property
    def ties_head(self) -> bool:
        """Never."""
        return False

    def untie(self) -> None:
        """Leave the head as it is, which has weights of its own."""


BODY: Pairs = (*TYPED_BODY, ("encoder.embedding_hidden_mapping_in", "embed_proj"))
RemBertForCausalLM.renames = body_renames("rembert", BODY) + Renames(
    pairs=(
        ("cls.predictions.dense", "head_proj"),
        ("cls.predictions.LayerNorm", "head_norm"),
        ("cls.predictions.decoder", "lm_head"),
    ),
    ignored=("cls.seq_relationship",),
)
