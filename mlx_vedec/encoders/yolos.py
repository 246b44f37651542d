"""YOLOS (arXiv:2106.00666): a ViT with detection tokens after its patches.

Positions are resized to any image without being asked, and may be added anew after each layer but
the last. The detection tokens' features come after those of the patches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx

from ..checkpoints.renames import Renames
from ..layers.outputs import Trace
from .encoder import Size
from .patches import Grid, Pair, after_prefix, for_each, resize_positions
from .vit import ViTConfig, ViTModel


@dataclass(kw_only=True)
class YolosConfig(ViTConfig):
    """Fields and defaults of `hustvl/yolos-base`; a size is one number or two, (h, w)."""

    model_type: ClassVar[str] = "yolos"
    any_size: ClassVar[bool] = True
    zero_embeddings: ClassVar[bool] = True
    image_size: Size = (512, 864)
    num_detection_tokens: int = 100
    use_mid_position_embeddings: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.image_size, int):  # transformers reads two numbers alone
            self.image_size = (self.image_size, self.image_size)


class YolosModel(ViTModel):
    """`ViTModel` with detection tokens, and positions that may come again after each layer."""

    config_class = YolosConfig
    base_model_prefix = "vit"

    def __init__(self, config: YolosConfig) -> None:
        super().__init__(config)
        dims, (rows, columns) = config.hidden_size, config.grid
        count = 1 + rows * columns + config.num_detection_tokens
        self.detection_tokens = mx.zeros((1, config.num_detection_tokens, dims))
        self.position_embeddings = mx.zeros((1, count, dims))
        if config.use_mid_position_embeddings:
            shape = (config.num_hidden_layers - 1, 1, count, dims)
            self.mid_position_embeddings = mx.zeros(shape)

    def grid(self, height: int, width: int) -> Grid:
        """The places of the patches; the detection tokens come after them."""
        return replace(super().grid(height, width), suffix=self.detection_tokens.shape[1])

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D): class, patches, detections.

        Hidden states are what layers give, before positions are added anew.
        """
        patches, grid = self.patches(pixels)
        x = after_prefix(self.cls_token, patches)
        x = mx.concatenate([x, for_each(self.detection_tokens, x)], axis=1)
        x = self.dropout(x + self.positions_of(grid))
        trace.keep(x)
        for index, layer in enumerate(self.in_turn(self.layers)):
            x = layer(x, trace)
            trace.keep(x)
            if "mid_position_embeddings" in self and index < len(self.layers) - 1:
                x = x + self._resized(self.mid_position_embeddings[index], grid)
        return self.norm(x)

    def positions_of(self, grid: Pair) -> mx.array:
        """Positions (1, 1 + N + detections, D) for another grid of patches."""
        return self._resized(self.position_embeddings, grid)

    def resize_images(self, image_size: Pair) -> None:
        """Make images of this (height, width) the encoder's own, after every layer too."""
        grid = self.config.grid_of_images(image_size)
        if "mid_position_embeddings" in self:
            tables = [self._resized(table, grid) for table in self.mid_position_embeddings]
            self.mid_position_embeddings = mx.stack(tables)
        super().resize_images(image_size)

    def _resized(self, table: mx.array, grid: Pair) -> mx.array:
        """Positions (1, S, D) for a grid of patches; those of other tokens stay as they are."""
        end = table.shape[1] - self.detection_tokens.shape[1]
        places = resize_positions(table[:, :end], self.config.grid, grid)
        return mx.concatenate([places, table[:, end:]], axis=1)


MID = "mid_position_embeddings"
YolosModel.renames = ViTModel.renames + Renames(
    pairs=(("embeddings.detection_tokens", "detection_tokens"), (f"encoder.{MID}", MID)),
    aliases=((f"encoder.interpolation.{MID}", MID),),  # transformers 5's name in memory
)
