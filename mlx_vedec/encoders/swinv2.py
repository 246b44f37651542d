"""Swin V2 (arXiv:2111.09883): Swin with cosine attention, a bias from a small network over the
logarithms of offsets, and norms after attention, MLP and merging.

The windows of a stage follow from the configured image size, not from the image at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..checkpoints.renames import Renames
from ..layers.attention import Attention, Mask
from ..layers.kv_quantization import Held
from .patches import Pair
from .swin import BLOCK, COMMON, INDEX, LAYER, NORM, PatchMerging, SwinConfig, SwinLayer, SwinModel
from .windows import Cut, in_pieces, relative_bias, relative_index

BIAS_DIMS = 512  # width of the network behind the bias, the same in all sizes of Swin V2
SHARPEST = 100  # largest factor of a cosine


@dataclass(kw_only=True)
class Swinv2Config(SwinConfig):
    """Fields and defaults of `microsoft/swinv2-tiny-patch4-window8-256`."""

    model_type: ClassVar[str] = "swinv2"
    output_dropout: ClassVar[str] = "attention_probs_dropout_prob"
    pretrained_window_sizes: tuple[int, ...] = (0, 0, 0, 0)

    def check(self) -> None:
        """Raise `ConfigError` unless every stage has a pretrained window: 0, or 2 and more."""
        super().check()
        sizes = self.pretrained_window_sizes
        fits = len(sizes) >= self.num_layers and all(size == 0 or size > 1 for size in sizes)
        expected = f"expected 0 or a window's size for each of the {self.num_layers} stages"
        self.require(fits, "pretrained_window_sizes", expected)


class CosineAttention(Attention):
    """Attention by the cosine of queries and keys, times a learned factor per head."""

    def __init__(self, dims: int, num_heads: int, *, bias: bool, dropout: float) -> None:
        super().__init__(dims, num_heads, bias=bias, key_bias=False, dropout=dropout)
        self.scale = 1.0
        self.logit_scale = mx.full((num_heads, 1, 1), math.log(10))

    def _attend(
        self, queries: mx.array, keys: Held, values: Held, mask: Mask, keep: list[mx.array] | None
    ) -> mx.array:
        assert isinstance(keys, mx.array)  # an encoder has no cache that would quantize them
        factor = mx.exp(mx.minimum(self.logit_scale, math.log(SHARPEST)))
        return super()._attend(unit(queries) * factor, unit(keys), values, mask, keep)


def unit(x: mx.array) -> mx.array:
    """Vectors (…, D) divided by their length in float32; zeros, as padding has, stay zeros."""
    return mx.fast.rms_norm(x, None, 1e-24) * x.shape[-1] ** -0.5


class ContinuousBias(nn.Module):
    """A bias for the offsets of any window, from a network of two layers."""

    def __init__(self, pretrained: int, num_heads: int) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.widen = nn.Linear(2, BIAS_DIMS)
        self.narrow = nn.Linear(BIAS_DIMS, num_heads, bias=False)

    def __call__(self, window: int) -> mx.array:
        """The biases (H, w², w²) of a window, between 0 and 16."""
        offsets = mx.array(log_offsets(window, self.pretrained or window))
        hidden = mx.maximum(self.widen(offsets.astype(self.widen.weight.dtype)), 0)
        table = 16 * mx.sigmoid(self.narrow(hidden))
        return relative_bias(table, relative_index((window, window), (window, window)))


@lru_cache
def log_offsets(window: int, pretrained: int) -> np.ndarray:
    """Offsets ((2·w - 1)², 2) in a window as signed logarithms, ±1 at 7/8 of the pretrained one."""
    offsets = 8 * np.arange(1 - window, window) / max(pretrained - 1, 1)
    logs = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / 3
    return np.stack(np.meshgrid(logs, logs, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


class Swinv2Layer(SwinLayer):
    """Attention within windows and MLP, each normed and then added."""

    def __init__(self, config: Swinv2Config, stage: int, index: int) -> None:
        super().__init__(config, stage, index)
        self.fit(config, stage, index)
        self.attn = CosineAttention(
            config.dims(stage),
            config.num_heads[stage],
            bias=config.qkv_bias,
            dropout=config.attention_probs_dropout_prob,
        )
        self.attn_bias = ContinuousBias(
            config.pretrained_window_sizes[stage], config.num_heads[stage]
        )

    def __call__(self, x: mx.array, keep: list[mx.array] | None) -> mx.array:
        """A map (B, rows, columns, D) to the same."""
        x = x + self.drop_path(self.attn_norm(self.attend(x, keep)))
        return self.think(x) if self.training else in_pieces(self.think, x)

    def fit(self, config: Swinv2Config, stage: int, index: int) -> None:
        """Take a window no larger than the map of an image of the config's size."""
        side, window = max(config.grid[0] // 2**stage, 1), config.window_size
        self.window = min(side, window)
        self.shift = window // 2 if index % 2 and side > window else 0

    def think(self, x: mx.array) -> mx.array:
        """Any rows of a map, with what the MLP adds to them."""
        return x + self.drop_path(self.mlp_norm(self.mlp_dropout(self.mlp(x))))

    def cut(self, rows: int, columns: int) -> Cut:
        """How a map is cut, whatever its size; transformers adds the usual -100 twice."""
        return Cut(self.window, self.shift, masked=-200.0)


class Swinv2PatchMerging(PatchMerging):
    """Four neighbours to one place of twice the width, normed last."""

    def __init__(self, dims: int) -> None:
        super().__init__(dims)
        self.norm = nn.LayerNorm(2 * dims)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, rows, columns, D) to (B, rows/2, columns/2, 2·D), an odd side rounded up."""
        return self.norm(self.reduction(self.neighbours(x)))


class Swinv2Model(SwinModel):
    """`SwinModel` of `Swinv2Layer`s."""

    config_class = Swinv2Config
    base_model_prefix = "swinv2"
    layer_class = Swinv2Layer
    merge_class = Swinv2PatchMerging

    def resize_images(self, image_size: Pair) -> None:
        """Make images of this (height, width) the encoder's own; its windows fit their maps."""
        super().resize_images(image_size)
        for number, stage in enumerate(self.stages):
            for index, layer in enumerate(stage.layers):
                layer.fit(self.config, number, index)  # pyright: ignore[reportOptionalCall]


Swinv2Model.renames = (
    COMMON
    + NORM
    + Renames(
        pairs=(
            (f"{BLOCK}.attention.self.logit_scale", f"{LAYER}.attn.logit_scale"),
            (f"{BLOCK}.attention.self.continuous_position_bias_mlp.0", f"{LAYER}.attn_bias.widen"),
            (f"{BLOCK}.attention.self.continuous_position_bias_mlp.2", f"{LAYER}.attn_bias.narrow"),
        ),
        ignored=(INDEX, f"{BLOCK}.attention.self.relative_coords_table"),
    )
)
