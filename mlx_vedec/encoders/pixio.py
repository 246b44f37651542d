"""Pixio (arXiv:2512.15715): a ViT with several class tokens, trained by masked autoencoding.

Positions, which the class tokens have too, are resized to any image without being asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import LARGEST
from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.dropout import Dropout, DropPath
from ..layers.initialisers import initialise
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .encoder import Encoder, PatchConfig, Size
from .patches import Pair, PatchEmbedding, after_prefix, pair, resize_positions


@dataclass(kw_only=True)
class PixioConfig(PatchConfig):
    """Fields and defaults of `facebook/pixio-vith16`; a size is one number or two, (h, w)."""

    model_type: ClassVar[str] = "pixio"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    hidden_size: int = 1280
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    mlp_ratio: int = 4
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: Size = 256
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    n_cls_tokens: int = 8

    def check(self) -> None:
        """Raise `ConfigError` as `PatchConfig` does, and for an MLP that is too wide."""
        super().check()
        fits = self.hidden_size * self.mlp_ratio <= LARGEST
        self.require(fits, "mlp_ratio", f"expected at most {LARGEST} / {self.hidden_size}")


class PixioLayer(nn.Module):
    """Attention and MLP, each normed before and added after."""

    def __init__(self, config: PixioConfig) -> None:
        super().__init__()
        dims, eps = config.hidden_size, config.layer_norm_eps
        self.attn_norm = nn.LayerNorm(dims, eps=eps)
        self.attn = Attention(
            dims,
            config.num_attention_heads,
            bias=config.qkv_bias,
            dropout=config.attention_probs_dropout_prob,
        )
        self.mlp_norm = nn.LayerNorm(dims, eps=eps)
        self.mlp = MLP(dims, dims * config.mlp_ratio, config.hidden_act)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(config.drop_path_rate)

    def __call__(self, x: mx.array, trace: Trace) -> mx.array:
        """(B, S, D) to (B, S, D)."""
        attended = self.attn(self.attn_norm(x), keep=trace.attentions)
        x = x + self.drop_path(self.dropout(attended))
        return x + self.drop_path(self.dropout(self.mlp(self.mlp_norm(x))))


class PixioModel(Encoder[PixioConfig]):
    """Patches, class tokens, learned positions, layers, norm."""

    config_class = PixioConfig
    base_model_prefix = "pixio"

    def __init__(self, config: PixioConfig) -> None:
        super().__init__(config)
        dims, std, tokens = config.hidden_size, config.initializer_range, config.n_cls_tokens
        rows, columns = config.grid
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        self.cls_token = mx.random.normal((1, tokens, dims), scale=std)
        self.position_embeddings = mx.random.normal((1, tokens + rows * columns, dims), scale=std)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.layers = [PixioLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        initialise(self, std)

    @property
    def prefix_tokens(self) -> int:
        """How many features come before those of the patches: the class tokens."""
        return self.config.n_cls_tokens

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D), the class tokens first."""
        patches, grid = self.patches(pixels)
        x = self.dropout(after_prefix(self.cls_token, patches) + self.positions_of(grid))
        return self.norm(self.through_layers(x, trace))

    def positions_of(self, grid: Pair) -> mx.array:
        """Positions (1, P + N, D) for another grid of patches."""
        table, own = self.position_embeddings, self.config.grid
        return resize_positions(table, own, grid, prefix=self.prefix_tokens)


PixioModel.renames = Renames(
    pairs=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        ("encoder.layer.*.norm1", "layers.*.attn_norm"),
        ("encoder.layer.*.attention.attention.query", "layers.*.attn.q_proj"),
        ("encoder.layer.*.attention.attention.key", "layers.*.attn.k_proj"),
        ("encoder.layer.*.attention.attention.value", "layers.*.attn.v_proj"),
        ("encoder.layer.*.attention.output.dense", "layers.*.attn.o_proj"),
        ("encoder.layer.*.norm2", "layers.*.mlp_norm"),
        ("encoder.layer.*.intermediate.dense", "layers.*.mlp.fc1"),
        ("encoder.layer.*.output.dense", "layers.*.mlp.fc2"),
        ("layernorm", "norm"),
    ),
    aliases=(  # transformers 5's names in memory
        ("layers.*.layernorm_before", "layers.*.attn_norm"),
        ("layers.*.attention", "layers.*.attn"),
        ("layers.*.layernorm_after", "layers.*.mlp_norm"),
        ("layers.*.mlp", "layers.*.mlp"),
    ),
    carried=("embeddings.mask_token",),
)
