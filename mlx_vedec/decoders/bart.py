"""TrOCR's decoder (arXiv:2109.10282): BART's (arXiv:1910.13461), normed after each part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..layers import initialise
from ..renames import Renames
from .decoder import Decoder, DecoderConfig, DecoderLayer, DecoderShape
from .positions import LearnedPositions, SinusoidalPositions


@dataclass(kw_only=True)
class TrOCRConfig(DecoderConfig):
    """Fields and defaults of `microsoft/trocr-base-handwritten`'s decoder."""

    model_type: ClassVar[str] = "trocr"
    aliases: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "decoder_attention_heads",
    }
    vocab_size: int = 50265
    d_model: int = 1024
    decoder_layers: int = 12
    decoder_attention_heads: int = 16
    decoder_ffn_dim: int = 4096
    activation_function: str = "gelu"
    max_position_embeddings: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    decoder_layerdrop: float = 0.0
    init_std: float = 0.02
    scale_embedding: bool = False
    use_learned_position_embeddings: bool = True
    layernorm_embedding: bool = True
    use_cache: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | tuple[int, ...] | None = 2
    decoder_start_token_id: int | None = 2

    def check(self) -> None:
        """Raise `ConfigError` unless the heads divide the width."""
        super().check()
        self.divisible("d_model", "decoder_attention_heads")

    @property
    def shape(self) -> DecoderShape:
        """The fields under the names that the shared parts read."""
        return DecoderShape(
            dims=self.d_model,
            num_heads=self.decoder_attention_heads,
            mlp_dims=self.decoder_ffn_dim,
            act=self.activation_function,
            positions=self.max_position_embeddings,
            memory_dims=self.cross_attention_hidden_size or self.d_model,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
            layerdrop=self.decoder_layerdrop,
        )


class TrOCRForCausalLM(Decoder[TrOCRConfig]):
    """Scaled embeddings plus positions, a norm, layers, a head without bias that may be tied."""

    config_class = TrOCRConfig
    renames: ClassVar[Renames] = Renames(
        pairs=(
            ("model.decoder.embed_tokens", "embed_tokens"),
            ("model.decoder.embed_positions", "embed_positions"),
            ("model.decoder.layernorm_embedding", "embed_norm"),
            ("model.decoder.layers.*.self_attn.out_proj", "layers.*.self_attn.o_proj"),
            ("model.decoder.layers.*.self_attn_layer_norm", "layers.*.self_attn_norm"),
            ("model.decoder.layers.*.self_attn", "layers.*.self_attn"),
            ("model.decoder.layers.*.encoder_attn.out_proj", "layers.*.cross_attn.o_proj"),
            ("model.decoder.layers.*.encoder_attn_layer_norm", "layers.*.cross_attn_norm"),
            ("model.decoder.layers.*.encoder_attn", "layers.*.cross_attn"),
            ("model.decoder.layers.*.fc1", "layers.*.mlp.fc1"),
            ("model.decoder.layers.*.fc2", "layers.*.mlp.fc2"),
            ("model.decoder.layers.*.final_layer_norm", "layers.*.mlp_norm"),
            ("output_projection", "lm_head"),
        ),
        ignored=("model.decoder.embed_positions._float_tensor", "model.decoder.version"),
        tied=(("lm_head.weight", "embed_tokens.weight"),),
    )

    def __init__(self, config: TrOCRConfig) -> None:
        super().__init__(config)
        dims, pad = config.d_model, config.pad_token_id
        self.embed_scale = math.sqrt(dims) if config.scale_embedding else 1.0
        self.embed_tokens = nn.Embedding(config.vocab_size, dims)
        if config.use_learned_position_embeddings:
            self.embed_positions = LearnedPositions(config.max_position_embeddings, dims)
        else:
            self.embed_positions = SinusoidalPositions(dims, 1 if pad is None else pad)
        if config.layernorm_embedding:
            self.embed_norm = nn.LayerNorm(dims)
        self.layers = [DecoderLayer(config.shape) for _ in range(config.decoder_layers)]
        self.dropout = nn.Dropout(config.dropout)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(dims, config.vocab_size, bias=False)
        initialise(self, config.init_std)
        if pad is not None:
            self.embed_tokens.weight[pad] = 0

    @property
    def max_positions(self) -> int | None:
        """Tokens that have a row in the position table; sines have no end."""
        learned = isinstance(self.embed_positions, LearnedPositions)
        return self.config.max_position_embeddings if learned else None

    def embed(
        self, tokens: mx.array | None, inputs_embeds: mx.array | None, positions: mx.array
    ) -> mx.array:
        """Tokens (B, L), or their embeddings (B, L, D), at positions (B, L) to (B, L, D)."""
        x = self.embed_tokens(tokens) * self.embed_scale if inputs_embeds is None else inputs_embeds
        if isinstance(self.embed_positions, SinusoidalPositions):
            x = x + self.embed_positions(tokens, positions).astype(x.dtype)
        else:
            x = x + self.embed_positions(positions)
        return self.dropout(self.embed_norm(x) if "embed_norm" in self else x)

    def head(self, x: mx.array) -> mx.array:
        """Hidden states (B, L, D) to logits (B, L, V)."""
        return self.lm_head(x) if "lm_head" in self else self.embed_tokens.as_linear(x)

    def untie(self) -> None:
        """Give the head weights of its own, which start as the embedding's."""
        self.config.tie_word_embeddings = False
        self.lm_head = nn.Linear(self.config.d_model, self.config.vocab_size, bias=False)
        self.lm_head.weight = self.embed_tokens.weight
