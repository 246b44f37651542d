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
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .patches import Pair, bilinear, resize_table
from .plain import PlainConfig, PlainEncoder, PlainLayer
from .vit import ViTModel
from .windows import relative_bias, relative_index


@dataclass(kw_only=True)
class BeitConfig(PlainConfig):
    """Fields and defaults of `microsoft/beit-base-patch16-224-pt22k`."""

    model_type: ClassVar[str] = "beit"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    zero_embeddings: ClassVar[bool] = True
    intermediate_size: int = 3072
    attention_probs_dropout_prob: float = 0.0
    use_absolute_position_embeddings: bool = False
    use_relative_position_bias: bool = False
    use_shared_relative_position_bias: bool = False
    layer_scale_init_value: float = 0.1
    drop_path_rate: float = 0.1
    use_mean_pooling: bool = True

    @property
    def position_table(self) -> bool:
        """Whether there are learned positions, besides the biases."""
        return self.use_absolute_position_embeddings

    @property
    def final_norm(self) -> bool:
        """Whether the features are normed."""
        return not self.use_mean_pooling

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


class BeitLayer(PlainLayer):
    """`PlainLayer` with scaled branches, and attention that is biased by relative position."""

    def __init__(self, config: BeitConfig, index: int) -> None:
        dims, heads = config.hidden_size, config.num_attention_heads
        scale = config.layer_scale_init_value
        super().__init__(
            dims,
            Attention(dims, heads, key_bias=False, dropout=config.attention_probs_dropout_prob),
            MLP(dims, config.intermediate_size, config.hidden_act),
            eps=config.layer_norm_eps,
            scale=scale if scale > 0 else None,
            dropout=config.hidden_dropout_prob,
            drop_path=config.drop_path(index),
        )
        if config.use_relative_position_bias:
            self.attn_bias = RelativePositionBias(config.grid, heads)

    def attend(self, x: mx.array, trace: Trace, grid: Pair, shared: mx.array | None) -> mx.array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What attention gives for (B, S, D). shared -- the bias (H, S, S) of all layers."""
        return self.attn(x, mask=self._bias(grid, shared), keep=trace.attentions)

    def _bias(self, grid: Pair, shared: mx.array | None) -> mx.array | None:
        if "attn_bias" not in self:
            return shared
        own = self.attn_bias(grid)
        return own if shared is None else own + shared


class BeitModel(PlainEncoder[BeitConfig]):
    """Patches, class token, positions if any, layers, norm if any; images of any size.

    Positions and biases are resized to any image, whether or not `interpolate_pos_encoding` asks
    for it.
    """

    config_class = BeitConfig
    base_model_prefix = "beit"

    def __init__(self, config: BeitConfig) -> None:
        super().__init__(config)
        if config.use_shared_relative_position_bias:
            self.shared_bias = RelativePositionBias(config.grid, config.num_attention_heads)

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers; the deeper it is, the more often its branches are dropped."""
        return BeitLayer(self.config, index)

    def context(self, grid: Pair) -> tuple[Pair, mx.array | None]:
        """The grid, and the bias (H, S, S) that all layers share, if there is one."""
        return grid, self.shared_bias(grid) if "shared_bias" in self else None

    def unread(self) -> dict[str, mx.array]:
        """The norm of the pooler, where that is what norms."""
        ones, zeros = mx.ones(self.config.hidden_size), mx.zeros(self.config.hidden_size)
        norm = {"pooler.layernorm.weight": ones, "pooler.layernorm.bias": zeros}
        return norm if self.config.use_mean_pooling else {}

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
