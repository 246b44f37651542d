"""DistilBERT (arXiv:1910.01108) as a decoder: BERT's without token types.

transformers names it in its documents but has no such class. So the cross-attention, which no
published model has, goes on disk by BERT's names, and dropout is where BERT's decoder has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import numpy as np

from ..checkpoints.renames import Pairs, Renames
from .masked import TIED, MaskedConfig, MaskedDecoder, MaskedShape
from .positions import check_size

EPS = 1e-12  # of every norm; the config has no field for it


@dataclass(kw_only=True)
class DistilBertConfig(MaskedConfig):
    """Fields and defaults of `distilbert/distilbert-base-uncased`.

    sinusoidal_pos_embds -- new position tables start as sines and cosines; files hold them anyway
    """

    model_type: ClassVar[str] = "distilbert"
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }
    width_and_heads: ClassVar[tuple[str, str]] = ("dim", "n_heads")
    dim: int = 768
    n_layers: int = 6
    n_heads: int = 12
    hidden_dim: int = 3072
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    sinusoidal_pos_embds: bool = False

    @property
    def shape(self) -> MaskedShape:
        """The fields under the names that the shared parts read."""
        return MaskedShape(
            dims=self.dim,
            num_layers=self.n_layers,
            num_heads=self.n_heads,
            mlp_dims=self.hidden_dim,
            act=self.activation,
            positions=self.max_position_embeddings,
            memory_dims=self.dim if self.add_cross_attention else None,
            eps=EPS,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            init_std=self.initializer_range,
            embed_dims=self.dim,
            head_act=self.activation,
        )


def sines_and_cosines(count: int, dims: int) -> mx.array:
    """A table (count, dims) of sines in the even columns and cosines in the odd ones."""
    check_size(count, dims)
    columns = np.arange(dims)
    angles = np.arange(count)[:, None] / 10000 ** (2 * (columns // 2) / dims)
    table = np.where(columns % 2 == 0, np.sin(angles), np.cos(angles))
    return mx.array(table.astype(np.float32))


class DistilBertForCausalLM(MaskedDecoder[DistilBertConfig]):
    """DistilBERT's decoder; the head's bias is stored once."""

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"
    head_has_bias = False

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        if config.sinusoidal_pos_embds:
            self.embed_positions.weight = sines_and_cosines(
                config.max_position_embeddings, config.dim
            )


BODY: Pairs = (
    ("embeddings.word_embeddings", "embed_tokens"),
    ("embeddings.position_embeddings", "embed_positions"),
    ("embeddings.LayerNorm", "embed_norm"),
    ("transformer.layer.*.attention.q_lin", "layers.*.self_attn.q_proj"),
    ("transformer.layer.*.attention.k_lin", "layers.*.self_attn.k_proj"),
    ("transformer.layer.*.attention.v_lin", "layers.*.self_attn.v_proj"),
    ("transformer.layer.*.attention.out_lin", "layers.*.self_attn.o_proj"),
    ("transformer.layer.*.sa_layer_norm", "layers.*.self_attn_norm"),
    ("transformer.layer.*.crossattention.self.query", "layers.*.cross_attn.q_proj"),
    ("transformer.layer.*.crossattention.self.key", "layers.*.cross_attn.k_proj"),
    ("transformer.layer.*.crossattention.self.value", "layers.*.cross_attn.v_proj"),
    ("transformer.layer.*.crossattention.output.dense", "layers.*.cross_attn.o_proj"),
    ("transformer.layer.*.crossattention.output.LayerNorm", "layers.*.cross_attn_norm"),
    ("transformer.layer.*.ffn.lin1", "layers.*.mlp.fc1"),
    ("transformer.layer.*.ffn.lin2", "layers.*.mlp.fc2"),
    ("transformer.layer.*.output_layer_norm", "layers.*.mlp_norm"),
)
DistilBertForCausalLM.renames = Renames(
    pairs=(
        *((f"distilbert.{disk}", ours) for disk, ours in BODY),
        ("vocab_transform", "head_proj"),
        ("vocab_layer_norm", "head_norm"),
        ("vocab_projector.bias", "head_bias"),
        ("vocab_projector", "lm_head"),
    ),
    ignored=("distilbert.embeddings.position_ids",),
    tied=TIED,
)
