"""XGLM (arXiv:2112.10668): a language model of BART's kin, normed first, with sines for positions.

It has no encoder of its own. Cross-attention is there where the config says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx

from .layer import DecoderShape
from .positions import Positions, Sinusoids
from .seq2seq import FINAL_NORM, Normed, Seq2SeqConfig, Seq2SeqDecoder, seq2seq_renames


@dataclass(kw_only=True)
class XGLMConfig(Seq2SeqConfig):
    """Fields and defaults of `facebook/xglm-564M`."""

    model_type: ClassVar[str] = "xglm"
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "attention_heads",
    }
    width_and_heads: ClassVar[tuple[str, str]] = ("d_model", "attention_heads")
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    vocab_size: int = 256008
    max_position_embeddings: int = 2048
    ffn_dim: int = 4096
    num_layers: int = 24
    attention_heads: int = 16
    attention_dropout: float = 0.1
    layerdrop: float = 0.0
    scale_embedding: bool = True
    decoder_start_token_id: int | None = 2

    @property
    def shape(self) -> DecoderShape:
        """The fields under the names that the shared parts read."""
        shape = self.shape_of(self.num_layers, self.attention_heads, self.ffn_dim, self.layerdrop)
        return shape if self.add_cross_attention else replace(shape, memory_dims=None)


class XGLMPositions(Sinusoids):
    """Sines of a token's place, padding or not; the row whose number is padding's id is zero.

    fairseq kept rows for padding before the first position; with an id of two or more it is the
    row of a real position that is lost.
    """

    offset = 2

    def __init__(self, dims: int, padding: int | None) -> None:
        super().__init__(dims)
        self.padding = padding

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L) to (B, L, D)."""
        numbers = positions + self.offset
        rows = self.rows(numbers)
        return rows if self.padding is None else rows * (numbers != self.padding)[..., None]


class XGLMForCausalLM(Seq2SeqDecoder[XGLMConfig]):
    """The language model, with cross-attention to an image."""

    config_class = XGLMConfig
    shifts_labels = True

    def make_positions(self) -> Positions:
        """Sines with two rows before the first position."""
        return XGLMPositions(self.config.d_model, self.config.pad_token_id)

    @property
    def counts_from_padding(self) -> bool:
        """Whether the id of padding is that from which positions are numbered."""
        return True


XGLMForCausalLM.renames = seq2seq_renames("model.", "lm_head", FINAL_NORM)
