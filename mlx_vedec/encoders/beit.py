"""BEiT (arXiv:2106.08254): ViT with biases by relative position and a learned scale per branch.

data2vec-vision (arXiv:2202.03555) is its twin. The features are not normed at the end where
`use_mean_pooling` is on, since that norm belongs to the pooler, which no decoder reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.dropout import Dropout, DropPath
from ..layers.initialisers import initialise
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .encoder import Encoder, PatchConfig
from .patches import (
    Pair,
    PatchEmbedding,
    after_prefix,
    bilinear,
    pair,
    resize_positions,
    resize_table,
)
from .vit import ViTModel
from .windows import relative_bias, relative_index


@dataclass(kw_only=True)
class BeitConfig(PatchConfig):
    """Fields and defaults of `microsoft/beit-base-patch16-224-pt22k`."""

    model_type: ClassVar[str] = "beit"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    intermediate_size: int = 3072
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    use_absolute_position_embeddings: bool = False
    use_relative_position_bias: bool = False
    use_shared_relative_position_bias: bool = False
    layer_scale_init_value: float = 0.1
    drop_path_rate: float = 0.1
    use_mean_pooling: bool = True

    def drop_path(self, index: int) -> float:
        """Stochastic depth's rate in one layer; it rises from zero at the first to the last."""
        return self.drop_path_rate * index / max(self.num_hidden_layers - 1, 1)


@dataclass(kw_only=True)
class Data2VecVisionConfig(BeitConfig):
    """`BeitConfig` under the name of `facebook/data2vec-vision-base`."""

    model_type: ClassVar[str] = "data2vec-vision"


class RelativePositionBias(nn.Module):
    """A learned bias for each offset between two patches, and three for the class token."""

    def __init__(self, grid: Pair, num_heads: int) -> None:
        super().__init__()
        self.grid = grid
        rows, columns = offsets(grid)
        self.table = mx.zeros((rows * columns + 3, num_heads))

    def __call__(self, grid: Pair) -> mx.array:
        """Biases (H, S, S) of a grid; for another than the table's they are resized bilinearly."""
        return relative_bias(self.table_of(grid), token_index(grid))

    def table_of(self, grid: Pair) -> mx.array:
        """The table, resized to another grid."""
        if grid == self.grid:
            return self.table
        between = resize_table(self.table[:-3], offsets(self.grid), offsets(grid), bilinear)
        return mx.concatenate([between, self.table[-3:]])


def offsets(grid: Pair) -> Pair:
    """How many offsets down and across there are between the places of a grid."""
    return 2 * grid[0] - 1, 2 * grid[1] - 1


@lru_cache(maxsize=8)
def token_index(grid: Pair) -> np.ndarray:
    """Rows (S, S) of a bias's table: class to patch, patch to class, class to class come last."""
    rows, columns = offsets(grid)
    index = np.pad(relative_index(grid, grid), ((1, 0), (1, 0)))
    index[0] = rows * columns
    index[:, 0] = rows * columns + 1
    index[0, 0] = rows * columns + 2
    return index


class BeitLayer(nn.Module):
    """Attention and MLP, each normed before, scaled and added after."""

    def __init__(self, config: BeitConfig, index: int) -> None:
        super().__init__()
        dims, eps, scale = config.hidden_size, config.layer_norm_eps, config.layer_scale_init_value
        heads = config.num_attention_heads
        self.attn_norm = nn.LayerNorm(dims, eps=eps)
        self.attn = Attention(
            dims, heads, key_bias=False, dropout=config.attention_probs_dropout_prob
        )
        if config.use_relative_position_bias:
            self.attn_bias = RelativePositionBias(config.grid, heads)
        self.mlp_norm = nn.LayerNorm(dims, eps=eps)
        self.mlp = MLP(dims, config.intermediate_size, config.hidden_act)
        if scale > 0:
            self.attn_scale = mx.full((dims,), scale)
            self.mlp_scale = mx.full((dims,), scale)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(config.drop_path(index))

    def __call__(self, x: mx.array, grid: Pair, shared: mx.array | None, trace: Trace) -> mx.array:
        """(B, S, D) to (B, S, D). `shared` -- the bias (H, S, S) of all layers."""
        y = self.attn(self.attn_norm(x), mask=self._bias(grid, shared), keep=trace.attentions)
        x = x + self._branch(y, "attn_scale")
        return x + self._branch(self.mlp(self.mlp_norm(x)), "mlp_scale")

    def _branch(self, x: mx.array, scale: str) -> mx.array:
        x = self.dropout(x)
        return self.drop_path(x * self[scale] if scale in self else x)

    def _bias(self, grid: Pair, shared: mx.array | None) -> mx.array | None:
        if "attn_bias" not in self:
            return shared
        own = self.attn_bias(grid)
        return own if shared is None else own + shared


class BeitModel(Encoder[BeitConfig]):
    """Patches, class token, positions if any, layers, norm if any."""

    config_class = BeitConfig
    base_model_prefix = "beit"

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        dims, (rows, columns) = config.hidden_size, config.grid
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        self.cls_token = mx.zeros((1, 1, dims))
        if config.use_absolute_position_embeddings:
            self.position_embeddings = mx.zeros((1, rows * columns + 1, dims))
        self.dropout = Dropout(config.hidden_dropout_prob)
        if config.use_shared_relative_position_bias:
            self.shared_bias = RelativePositionBias(config.grid, config.num_attention_heads)
        self.layers = [BeitLayer(config, index) for index in range(config.num_hidden_layers)]
        if not config.use_mean_pooling:
            self.norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        initialise(self, config.initializer_range)

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D), the class token's first.

        Positions and biases are resized to any image, whether or not `interpolate_pos_encoding`
        asks for it.
        """
        x, grid = self._embed(pixels)
        shared = self.shared_bias(grid) if "shared_bias" in self else None
        x = self.through_layers(x, trace, grid, shared)
        return self.norm(x) if "norm" in self else x

    def unread(self) -> dict[str, mx.array]:
        """The norm of the pooler, where that is what norms."""
        ones, zeros = mx.ones(self.config.hidden_size), mx.zeros(self.config.hidden_size)
        norm = {"pooler.layernorm.weight": ones, "pooler.layernorm.bias": zeros}
        return norm if self.config.use_mean_pooling else {}

    def _embed(self, pixels: mx.array) -> tuple[mx.array, Pair]:
        patches, grid = self.patches(pixels)
        x = after_prefix(self.cls_token, patches)
        if "position_embeddings" in self:
            x = x + self.positions_of(grid)
        return self.dropout(x), grid

    def positions_of(self, grid: Pair) -> mx.array:
        """Positions (1, 1 + N, D) for another grid of patches."""
        return resize_positions(self.position_embeddings, self.config.grid, grid, prefix=1)

    def resize_images(self, image_size: Pair) -> None:
        """Make images of this (height, width) the encoder's own, in its biases too."""
        grid = self.config.grid_of_images(image_size)
        for module in self.modules():
            if isinstance(module, RelativePositionBias):
                module.table, module.grid = module.table_of(grid), grid
        super().resize_images(image_size)


class Data2VecVisionModel(BeitModel):
    """`BeitModel` under data2vec-vision's name."""

    config_class = Data2VecVisionConfig
    base_model_prefix = "data2vec_vision"

    def unread(self) -> dict[str, mx.array]:
        """Nothing: transformers makes this encoder without a pooler."""
        return {}


BIAS = "relative_position_bias.relative_position_bias_table"
BeitModel.renames = ViTModel.renames + Renames(
    pairs=(
        (f"encoder.{BIAS}", "shared_bias.table"),
        (f"encoder.layer.*.attention.attention.{BIAS}", "layers.*.attn_bias.table"),
        ("encoder.layer.*.lambda_1", "layers.*.attn_scale"),
        ("encoder.layer.*.lambda_2", "layers.*.mlp_scale"),
    ),
    aliases=(  # transformers 5's names in memory
        ("shared_position_bias.relative_position_bias_table", "shared_bias.table"),
        (f"layers.*.{BIAS}", "layers.*.attn_bias.table"),
        ("layers.*.lambda_1", "layers.*.attn_scale"),
        ("layers.*.lambda_2", "layers.*.mlp_scale"),
    ),
    ignored=(
        "encoder.relative_position_bias.relative_position_index",
        "encoder.layer.*.attention.attention.relative_position_bias.relative_position_index",
    ),
)
