"""BART's decoder (arXiv:1910.13461) and those wired as it is: a norm after each part.

PLBart (arXiv:2103.06333) and MVP (arXiv:2206.12131) are BART with other defaults, MVP without its
prompts. TrOCR (arXiv:2109.10282) can leave out the norm of the embedding and have sines for
positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from ..checkpoints.renames import Pairs, Renames
from .layer import DecoderShape
from .positions import Positions, Sinusoids
from .seq2seq import EMBED_NORM, LEARNED, Normed, Seq2SeqConfig, Seq2SeqDecoder, seq2seq_renames


@dataclass(kw_only=True)
class BartConfig(Seq2SeqConfig):
    """Fields and defaults of `facebook/bart-large`'s decoder."""

    model_type: ClassVar[str] = "bart"
    # Hugging Face's, where two of the short names mean the encoder
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
    }
    width_and_heads: ClassVar[tuple[str, str]] = ("d_model", "decoder_attention_heads")
    vocab_size: int = 50265
    decoder_layers: int = 12
    decoder_attention_heads: int = 16
    decoder_ffn_dim: int = 4096
    decoder_layerdrop: float = 0.0
    decoder_start_token_id: int | None = 2

    @property
    def shape(self) -> DecoderShape:
        """The fields under the names that the shared parts read."""
        return self.shape_of(
            self.decoder_layers,
            self.decoder_attention_heads,
            self.decoder_ffn_dim,
            self.decoder_layerdrop,
        )


@dataclass(kw_only=True)
class PLBartConfig(BartConfig):
    """Fields and defaults of `uclanlp/plbart-base`'s decoder."""

    model_type: ClassVar[str] = "plbart"
    aliases: ClassVar[dict[str, str]] = {**BartConfig.aliases, "initializer_range": "init_std"}
    vocab_size: int = 50005
    d_model: int = 768
    decoder_layers: int = 6
    decoder_attention_heads: int = 12
    decoder_ffn_dim: int = 3072
    attention_dropout: float = 0.1
    scale_embedding: bool = True
    decoder_start_token_id: int | None = None


@dataclass(kw_only=True)
class MvpConfig(BartConfig):
    """Fields and defaults of `RUCAIBox/mvp`'s decoder."""

    model_type: ClassVar[str] = "mvp"
    vocab_size: int = 50267


@dataclass(kw_only=True)
class TrOCRConfig(BartConfig):
    """Fields and defaults of `microsoft/trocr-base-handwritten`'s decoder."""

    model_type: ClassVar[str] = "trocr"
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "decoder_attention_heads",
    }
    max_position_embeddings: int = 512
    use_learned_position_embeddings: bool = True
    layernorm_embedding: bool = True

    @property
    def embed_norm(self) -> Normed:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the embedding's norm reads, if there is one."""
        return "sum" if self.layernorm_embedding else None


class CountedPositions(Sinusoids):
    """Sines of the count of tokens so far that are not padding; padding itself is zero."""

    def __init__(self, dims: int, padding: int) -> None:
        super().__init__(dims)
        self.padding = padding

    def __call__(self, positions: mx.array, tokens: mx.array | None = None) -> mx.array:
        """Positions (B, L), and tokens (B, L) where they were given, to (B, L, D)."""
        if tokens is None:
            return self.rows(positions + self.padding + 1)
        real = tokens != self.padding
        count = positions[:, :1] + mx.cumsum(real.astype(mx.int32), axis=1)
        return self.rows(self.padding + count) * real[..., None]


class BartForCausalLM(Seq2SeqDecoder[BartConfig]):
    """The decoder of a sequence-to-sequence model, under the names it has there."""

    config_class = BartConfig


class PLBartForCausalLM(BartForCausalLM):
    """`BartForCausalLM` with PLBart's defaults."""

    config_class = PLBartConfig


class MvpForCausalLM(BartForCausalLM):
    """`BartForCausalLM` with MVP's defaults, and without prompts, as in transformers."""

    config_class = MvpConfig


class TrOCRForCausalLM(Seq2SeqDecoder[TrOCRConfig]):
    """BART's layers after an embedding that may have no norm, and sines for positions."""

    config_class = TrOCRConfig

    def __init__(self, config: TrOCRConfig) -> None:
        super().__init__(config)
        self.counts_from_padding = not config.use_learned_position_embeddings

    def make_positions(self) -> Positions:
        """A learned table, or sines that count tokens."""
        if self.config.use_learned_position_embeddings:
            return super().make_positions()
        pad = self.config.pad_token_id
        return CountedPositions(self.config.d_model, 1 if pad is None else pad)


def bart_renames(extra: Pairs) -> Renames:
    """The names of the decoder of a sequence-to-sequence model, whose encoder is left out."""
    return seq2seq_renames("model.decoder.", "lm_head", extra) + Renames(
        pairs=(),
        # the embedding, where files store one for encoder and decoder; transformers 5.23 loses it
        aliases=(("shared", "embed_tokens"), ("model.shared", "embed_tokens")),
        ignored=("final_logits_bias", "model.encoder"),
    )


BartForCausalLM.renames = bart_renames(LEARNED + EMBED_NORM)
TrOCRForCausalLM.renames = seq2seq_renames(
    "model.decoder.", "output_projection", LEARNED + EMBED_NORM
)
