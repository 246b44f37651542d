"""Hiera (arXiv:2306.00989): a plain pyramid; early stages attend within units, later ones globally.

Patches are ordered so that what is pooled or attended together is evenly spaced: pooling is a
maximum over the first of some equal parts of the sequence, and a unit is every n-th of its places.
After the last pooling the places are in rows again. The features are not normed at the end.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..errors import ConfigError, ImageError
from ..layers.attention import AttentionCore
from ..layers.dropout import DropPath
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .encoder import Encoder
from .hiera_config import HieraConfig
from .patches import Grid, Pair, PatchEmbedding, check_pixels, grid_of


class HieraPatches(PatchEmbedding):
    """Overlapping patches, one for each stride."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__(config.num_channels, config.embed_dim, config.patch_stride)
        self.projection = nn.Conv2d(
            config.num_channels,
            config.embed_dim,
            kernel_size=config.patch_size,
            stride=config.patch_stride,
            padding=config.patch_padding,
        )


class HieraAttention(AttentionCore):
    """Attention within units or over all places, whose queries may be pooled.

    One linear layer gives queries, keys and values, of the stage's width.
    """

    def __init__(self, config: HieraConfig, stage: int, index: int) -> None:
        dims = config.dims(stage)
        super().__init__(dims, config.num_heads[stage])
        first = index == 0
        self.qkv_proj = nn.Linear(config.dims(stage - 1) if first and stage else dims, 3 * dims)
        self.window = config.window(stage, index)
        pools = first and config.pools(stage)
        self.stride = math.prod(config.query_stride) if pools else 1

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: mx.array, *, keep: list[mx.array] | None = None
    ) -> mx.array:
        """(B, N, D) to (B, N / stride, D'). `keep` receives the weights, (B, H, units, T', T)."""
        images, places, _ = x.shape
        window = self.window or places
        x = self.qkv_proj(x).reshape(images, window, places // window, 3, self.num_heads, -1)
        queries, keys, values = x.transpose(3, 0, 2, 4, 1, 5).flatten(1, 2)  # (B·units, H, T, Dh)
        queries = mx.unflatten(queries, 2, (self.stride, -1)).max(axis=2)
        kept: list[mx.array] | None = None if keep is None else []
        out = self._attend(queries, keys, values, None, kept)
        if keep is not None and kept:
            keep.append(mx.unflatten(kept[0], 0, (images, -1)).swapaxes(1, 2))
        out = mx.unflatten(out, 0, (images, -1)).transpose(0, 3, 1, 2, 4)
        return self.o_proj(out.reshape(images, places // self.stride, -1))


class HieraLayer(nn.Module):
    """Attention and MLP, each normed before and added after, in a first layer to what is pooled."""

    def __init__(self, config: HieraConfig, stage: int, index: int) -> None:
        super().__init__()
        dims, eps = config.dims(stage), config.layer_norm_eps
        before = config.dims(stage - 1) if stage and index == 0 else dims
        self.attn_norm = nn.LayerNorm(before, eps=eps)
        self.attn = HieraAttention(config, stage, index)
        if before != dims:
            self.widen = nn.Linear(before, dims)
        self.mlp_norm = nn.LayerNorm(dims, eps=eps)
        self.mlp = MLP(dims, int(dims * config.mlp_ratio), config.hidden_act)
        last = sum(config.depths) - 1
        number = sum(config.depths[:stage]) + index
        self.drop_path = DropPath(config.drop_path_rate * number / max(last, 1))

    def __call__(self, x: mx.array, keep: list[mx.array] | None) -> mx.array:
        """(B, N, D) to (B, N / stride, D')."""
        normed = self.attn_norm(x)
        if "widen" in self:
            x = mx.unflatten(self.widen(normed), 1, (self.attn.stride, -1)).max(axis=1)
        x = x + self.drop_path(self.attn(normed, keep=keep))
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))


class HieraStage(nn.Module):
    """Layers of one width."""

    def __init__(self, config: HieraConfig, stage: int) -> None:
        super().__init__()
        self.layers = [HieraLayer(config, stage, index) for index in range(config.depths[stage])]

    def __call__(self, x: mx.array, trace: Trace) -> mx.array:
        """(B, N, D) to (B, N / stride, D'); the trace keeps attention of the last layer alone."""
        for layer in self.layers[:-1]:
            x = layer(x, None)
        return self.layers[-1](x, trace.attentions)


class HieraModel(Encoder[HieraConfig]):
    """Patches, learned positions, stages."""

    config_class = HieraConfig
    base_model_prefix = "hiera"

    def __init__(self, config: HieraConfig) -> None:
        super().__init__(config)
        std, (rows, columns) = config.initializer_range, config.grid
        self.patches = HieraPatches(config)
        positions = (1, rows * columns, config.embed_dim)
        self.position_embeddings = mx.random.normal(positions, scale=std)
        self.stages = [HieraStage(config, stage) for stage in range(len(config.depths))]
        self._initialise(config)

    def _initialise(self, config: HieraConfig) -> None:
        """Normal weights, and of norms and biases constants that are not 1 and 0."""
        std = config.initializer_range
        for _, leaf in self.named_modules():
            if isinstance(leaf, nn.Linear | nn.Conv2d):
                leaf.weight = mx.random.normal(leaf.weight.shape, scale=std)
                leaf.bias = mx.full(leaf.bias.shape, std)
            elif isinstance(leaf, nn.LayerNorm):
                leaf.weight = mx.full(leaf.weight.shape, config.layer_norm_init)
                leaf.bias = mx.full(leaf.weight.shape, std)

    def grid(self, height: int, width: int) -> Grid:
        """The places of the last stage, which are in rows where every further stage pools."""
        config = self.config
        pooled, stages = config.num_query_pool, len(config.depths)
        if pooled != stages - 1:
            raise ConfigError(
                f"hiera with num_query_pool {pooled} and {stages} stages has features in another "
                f"order than rows, so their places are not known; expected {stages - 1}"
            )
        (down, across), (high, wide) = config.patch_stride, config.query_stride
        cell = down * high**pooled, across * wide**pooled
        return Grid(0, *grid_of((height, width), cell), cell)

    def count(self, height: int, width: int) -> int:
        """How many features an image of this height and width, in pixels, has."""
        rows, columns = grid_of((height, width), self.config.patch_stride)
        return rows * columns // math.prod(self.config.query_stride) ** self.config.num_query_pool

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D), S places of the last stage.

        Hidden states are those between stages; attentions, of the last layer of each, are
        (B, H, units, T, T).
        """
        x = self._embed(pixels, interpolate)
        trace.keep(x)
        for stage in self.in_turn(self.stages):
            x = stage(x, trace)
            trace.keep(x)
        return x

    def unread(self) -> dict[str, mx.array]:
        """The norm of the mean of all features, which no decoder reads."""
        dims, name = self.config.feature_dims, "pooler.layernorm"
        return {f"{name}.weight": mx.ones(dims), f"{name}.bias": mx.zeros(dims)}

    def _embed(self, pixels: mx.array, interpolate: bool) -> mx.array:
        """Pixels to patches (B, N, D) with their positions, those that are pooled first apart."""
        config = self.config
        check_pixels(pixels, config.num_channels, self.fixed_size(pixels, interpolate))
        size = pixels.shape[1], pixels.shape[2]
        if any(side % unit for side, unit in zip(size, config.image_unit, strict=True)):
            raise ImageError(
                f"image is {size[0]}×{size[1]} but its sides have to be multiples of "
                f"{config.image_unit}, those of masked units; use processor(images=image, size=…)"
            )
        x, grid = self.patches(pixels)
        x = mx.unflatten(x + self.positions_of(grid), 1, grid)
        return unrolled(x, config.query_stride, len(config.depths) - 1)


def unrolled(x: mx.array, stride: Pair, times: int) -> mx.array:
    """A map (B, rows, columns, D) as a sequence (B, N, D) whose equal parts are pooled together.

    At first a place's remainder by the stride says which part it goes to, then what is left of it
    says where in that part, and so on.
    """
    images, rows, columns, _ = x.shape
    x = x[:, None]
    for _ in range(times):
        rows, columns = rows // stride[0], columns // stride[1]
        x = x.reshape(images, -1, rows, stride[0], columns, stride[1], x.shape[-1])
        x = x.transpose(0, 1, 3, 5, 2, 4, 6).flatten(1, 3)
    return x.flatten(1, 3)


LAYER = "encoder.stages.*.layers.*"
HieraModel.renames = Renames(
    pairs=(
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        (f"{LAYER}.layernorm_before", "stages.*.layers.*.attn_norm"),
        (f"{LAYER}.attn.qkv", "stages.*.layers.*.attn.qkv_proj"),
        (f"{LAYER}.attn.proj", "stages.*.layers.*.attn.o_proj"),
        (f"{LAYER}.layernorm_after", "stages.*.layers.*.mlp_norm"),
        (f"{LAYER}.mlp", "stages.*.layers.*.mlp"),
        (f"{LAYER}.proj", "stages.*.layers.*.widen"),
    ),
    carried=("pooler",),
)
