"""BART's kin that move or drop its norms, or change its positions.

=============== =========== ================ ================= ==========
                layers norm embedding's norm positions         arXiv
=============== =========== ================ ================= ==========
MBart           before      of the sum       learned, offset 2 2001.08210
Blenderbot      before      none             learned           2004.13637
BlenderbotSmall after       of the tokens    learned           2004.13637
Pegasus         before      none             sines             1912.08777
Marian          after       none             sines             1804.00344
BigBird-Pegasus before      none             learned           2007.14062
XGLM            before      none             sines, offset 2   2112.10668
=============== =========== ================ ================= ==========

The attention of BigBird-Pegasus is full, block-sparse in the encoder alone, which is not built
here, and by default without biases. transformers 5.24 does not tie its head: where a file has none,
as those of version 4, it is left random there, and is the embedding here. XGLM is a language model
without an encoder of its own; its cross-attention is there where the config says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from .bart import BartConfig, BartForCausalLM, bart_renames
from .layer import DecoderLayer, DecoderShape
from .positions import Positions, Sinusoids
from .seq2seq import (
    EMBED_NORM,
    FINAL_NORM,
    LEARNED,
    Normed,
    Seq2SeqConfig,
    Seq2SeqDecoder,
    seq2seq_renames,
)


@dataclass(kw_only=True)
class MBartConfig(BartConfig):
    """Fields and defaults of `facebook/mbart-large-cc25`'s decoder."""

    model_type: ClassVar[str] = "mbart"
    norm_first: ClassVar[bool] = True
    decoder_start_token_id: int | None = None


@dataclass(kw_only=True)
class BlenderbotConfig(BartConfig):
    """Fields and defaults of `facebook/blenderbot-3B`'s decoder."""

    model_type: ClassVar[str] = "blenderbot"
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    offset: ClassVar[int] = 0
    vocab_size: int = 8008
    d_model: int = 2560
    decoder_layers: int = 24
    decoder_attention_heads: int = 32
    decoder_ffn_dim: int = 10240
    max_position_embeddings: int = 128
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    decoder_start_token_id: int | None = 1


@dataclass(kw_only=True)
class BlenderbotSmallConfig(BartConfig):
    """Fields and defaults of `facebook/blenderbot_small-90M`'s decoder."""

    model_type: ClassVar[str] = "blenderbot-small"
    embed_norm: ClassVar[Normed] = "tokens"
    scale_given: ClassVar[bool] = True
    offset: ClassVar[int] = 0
    d_model: int = 512
    decoder_layers: int = 8
    decoder_ffn_dim: int = 2048
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    decoder_start_token_id: int | None = 1


@dataclass(kw_only=True)
class PegasusConfig(BartConfig):
    """Fields and defaults of `google/pegasus-large`'s decoder."""

    model_type: ClassVar[str] = "pegasus"
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    scale_given: ClassVar[bool] = True
    sinusoidal: ClassVar[bool] = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = 0


@dataclass(kw_only=True)
class MarianConfig(BartConfig):
    """Fields and defaults of `Helsinki-NLP/opus-mt-en-de`'s decoder."""

    model_type: ClassVar[str] = "marian"
    aliases: ClassVar[dict[str, str]] = {**BartConfig.aliases, "decoder_vocab_size": "vocab_size"}
    embed_norm: ClassVar[Normed] = None
    scale_given: ClassVar[bool] = True
    sinusoidal: ClassVar[bool] = True
    vocab_size: int = 58101
    pad_token_id: int | None = 58100
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = 0
    decoder_start_token_id: int | None = 58100

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MarianConfig:
        """Build from a parsed `config.json`, whose `vocab_size` may be the encoder's alone."""
        own = {key: value for key, value in values.items() if key != "decoder_vocab_size"}
        if values.get("decoder_vocab_size") is not None:
            own["vocab_size"] = values["decoder_vocab_size"]
        return super().from_dict(own)


@dataclass(kw_only=True)
class BigBirdPegasusConfig(BartConfig):
    """Fields and defaults of `google/bigbird-pegasus-large-arxiv`'s decoder.

    use_bias -- of all projections of the attention
    """

    model_type: ClassVar[str] = "bigbird_pegasus"
    aliases: ClassVar[dict[str, str]] = {
        **BartConfig.aliases,
        "attention_probs_dropout_prob": "attention_dropout",
    }
    norm_first: ClassVar[bool] = True
    embed_norm: ClassVar[Normed] = None
    offset: ClassVar[int] = 0
    vocab_size: int = 96103
    max_position_embeddings: int = 4096
    decoder_layers: int = 16
    activation_function: str = "gelu_new"
    scale_embedding: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = 2
    use_bias: bool = False

    @property
    def shape(self) -> DecoderShape:
        """`BartConfig`'s, perhaps without biases."""
        return replace(super().shape, qkv_bias=self.use_bias)


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


class MBartForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first."""

    config_class = MBartConfig


class BlenderbotForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first, its embedding not at all."""

    config_class = BlenderbotConfig


class BlenderbotSmallForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms tokens before it adds positions."""

    config_class = BlenderbotSmallConfig


class PegasusForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first, with sines for positions."""

    config_class = PegasusConfig


class MarianForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that does not norm its embedding, with sines for positions."""

    config_class = MarianConfig


class BigBirdPegasusForCausalLM(BartForCausalLM):
    """`BartForCausalLM` that norms first and whose attention has no biases."""

    config_class = BigBirdPegasusConfig

    def make_layer(self) -> DecoderLayer:
        """A layer whose attention has no biases, neither of what goes in nor of what comes out."""
        layer, dims = super().make_layer(), self.shape.dims
        if not self.shape.qkv_bias:
            for attention in (layer.self_attn, layer.cross_attn):
                attention.o_proj = nn.Linear(dims, dims, bias=False)
        return layer


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
    counts_from_padding = True

    def make_positions(self) -> Positions:
        """Sines with two rows before the first position."""
        return XGLMPositions(self.config.d_model, self.config.pad_token_id)


STORED = Renames(pairs=(), carried=("model.decoder.embed_positions",))  # sines, computed here
MBartForCausalLM.renames = bart_renames(LEARNED + EMBED_NORM + FINAL_NORM)
BlenderbotForCausalLM.renames = bart_renames(LEARNED + FINAL_NORM)
PegasusForCausalLM.renames = bart_renames(FINAL_NORM) + STORED
MarianForCausalLM.renames = bart_renames(()) + STORED
# their final norm has the name that the embedding's has in BART
BigBirdPegasusForCausalLM.renames = bart_renames(
    (*LEARNED, ("layernorm_embedding", "norm"))
) + Renames(pairs=(), doubled=("lm_head.weight",))
XGLMForCausalLM.renames = seq2seq_renames("model.", "lm_head", FINAL_NORM)
