"""Swin (arXiv:2103.14030): attention within windows of a map that halves from stage to stage.

Every second layer shifts its windows by half their size. Donut-Swin (arXiv:2111.15664) is its twin
without the norm at the end. A map that does not divide into windows is padded with zeros, which are
attended to; a map smaller than a window is one window, for that call alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import LARGEST
from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.dropout import Dropout, DropPath
from ..layers.initialisers import initialise
from ..layers.mlp import MLP
from ..layers.outputs import Trace
from .encoder import Encoder, EncoderConfig, Size
from .patches import Grid, Pair, PatchEmbedding, check_pixels, grid_of, pair
from .windows import Cut, OffsetBias, attend_in_windows, in_pieces, pad_to


@dataclass(kw_only=True)
class SwinConfig(EncoderConfig):
    """Fields and defaults of `microsoft/swin-tiny-patch4-window7-224`; `depths` has the stages."""

    model_type: ClassVar[str] = "swin"
    aliases: ClassVar[dict[str, str]] = {"num_attention_heads": "num_heads"}
    final_norm: ClassVar[bool] = True
    output_dropout: ClassVar[str] = "hidden_dropout_prob"  # the field: of what attention adds
    image_size: Size = 224
    patch_size: Size = 4
    num_channels: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    drop_path_rate: float = 0.1
    hidden_act: str = "gelu"
    use_absolute_embeddings: bool = False
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5

    def check(self) -> None:
        """Raise `ConfigError` unless every stage has layers, and heads that divide its width."""
        super().check()
        grid_of(pair(self.image_size, "image_size"), pair(self.patch_size, "patch_size"))
        deep = self.depths and min(self.depths) > 0
        self.require(deep, "depths", "expected layers in each stage")
        expected = f"expected one number for each of the {len(self.depths)} stages"
        self.require(len(self.num_heads) == len(self.depths), "num_heads", expected)
        wide = 1 <= int(self.hidden_size * self.mlp_ratio) <= LARGEST
        wide = wide and int(self.embed_dim * self.mlp_ratio) > 0
        self.require(
            wide,
            "mlp_ratio",
            f"expected 1 / {self.embed_dim} or more, and no more than "
            f"{LARGEST} / {self.hidden_size}",
        )
        fits = (2 * self.window_size) ** 2 <= LARGEST
        self.require(fits, "window_size", f"expected at most {int(LARGEST**0.5) // 2}")
        for stage, heads in enumerate(self.num_heads):
            expected = f"expected a divisor of {self.dims(stage)}, the width of stage {stage}"
            self.require(heads > 0 and not self.dims(stage) % heads, "num_heads", expected)

    def to_dict(self) -> dict[str, Any]:
        """Every field, and the `hidden_size` and `num_layers` that Hugging Face stores as well."""
        derived = {"hidden_size": self.hidden_size, "num_layers": self.num_layers}
        return {**super().to_dict(), **derived}

    def dims(self, stage: int) -> int:
        """Width of a stage, counted from 0."""
        return self.embed_dim * 2**stage

    @property
    def num_layers(self) -> int:
        """Number of stages, by Hugging Face's name."""
        return len(self.depths)

    @property
    def hidden_size(self) -> int:
        """Width of the last stage, by Hugging Face's name."""
        return self.dims(self.num_layers - 1)

    @property
    def feature_dims(self) -> int:
        """Width of the features."""
        return self.hidden_size

    @property
    def image_unit(self) -> Pair:
        """A window of patches."""
        down, across = pair(self.patch_size)
        return down * self.window_size, across * self.window_size

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across of an image of the configured size, if they fit it."""
        return grid_of(pair(self.image_size), pair(self.patch_size))

    def drop_path(self, stage: int, index: int) -> float:
        """Stochastic depth's rate in one layer; it rises from zero at the first to the last."""
        last = sum(self.depths) - 1
        return self.drop_path_rate * (sum(self.depths[:stage]) + index) / max(last, 1)


@dataclass(kw_only=True)
class DonutSwinConfig(SwinConfig):
    """`SwinConfig` for an encoder without the norm at the end."""

    model_type: ClassVar[str] = "donut-swin"
    final_norm: ClassVar[bool] = False
    output_dropout: ClassVar[str] = "attention_probs_dropout_prob"
    prompts_are_whole: ClassVar[bool] = True


class SwinLayer(nn.Module):
    """Attention within windows and MLP, each normed before and added after."""

    def __init__(self, config: SwinConfig, stage: int, index: int) -> None:
        super().__init__()
        dims, heads = config.dims(stage), config.num_heads[stage]
        self.window = config.window_size
        self.shift = config.window_size // 2 if index % 2 else 0
        self.attn_norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        self.attn = Attention(
            dims, heads, bias=config.qkv_bias, dropout=config.attention_probs_dropout_prob
        )
        self.attn_bias: nn.Module = OffsetBias(config.window_size, heads)
        self.attn_dropout = Dropout(getattr(config, config.output_dropout))
        self.mlp_norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        self.mlp = MLP(dims, int(dims * config.mlp_ratio), config.hidden_act)
        self.mlp_dropout = Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(config.drop_path(stage, index))

    def __call__(self, x: mx.array, keep: list[mx.array] | None) -> mx.array:
        """A map (B, rows, columns, D) to the same; only attention's branch has a drop path."""
        x = x + self.drop_path(self.attend(self.attn_norm(x), keep))
        return self.think(x) if self.training else in_pieces(self.think, x)

    def think(self, x: mx.array) -> mx.array:
        """Any rows of a map, with what the MLP adds to them."""
        return x + self.mlp_dropout(self.mlp(self.mlp_norm(x)))

    def attend(self, x: mx.array, keep: list[mx.array] | None) -> mx.array:
        """What attention adds to a map (B, rows, columns, D)."""
        cut = self.cut(x.shape[1], x.shape[2])
        return self.attn_dropout(
            attend_in_windows(self.attn, x, self.attn_bias(cut.window), cut, keep)
        )

    def cut(self, rows: int, columns: int) -> Cut:
        """How a map is cut: a side no longer than the window is the window, unshifted."""
        side = min(rows, columns)
        return Cut(side, 0) if side <= self.window else Cut(self.window, self.shift)


class PatchMerging(nn.Module):
    """Four neighbours to one place of twice the width."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dims)
        self.reduction = nn.Linear(4 * dims, 2 * dims, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, rows, columns, D) to (B, rows/2, columns/2, 2·D), an odd side rounded up."""
        return self.reduction(self.norm(self.neighbours(x)))

    def neighbours(self, x: mx.array) -> mx.array:
        """(B, rows, columns, D) to (B, rows/2, columns/2, 4·D), the left two of four first."""
        x = pad_to(x, (2, 2))
        x = mx.unflatten(mx.unflatten(x, 2, (-1, 2)), 1, (-1, 2))  # (B, R, row, C, column, D)
        return x.transpose(0, 1, 3, 4, 2, 5).flatten(3)


class SwinStage(nn.Module):
    """Layers on maps of one size, and the merging into the next unless it is the last."""

    def __init__(self, layers: list[SwinLayer], merge: PatchMerging | None) -> None:
        super().__init__()
        self.layers = layers
        if merge is not None:
            self.merge = merge

    def __call__(self, x: mx.array, trace: Trace) -> mx.array:
        """A map to the next stage's; the trace keeps attention of the last layer alone."""
        for layer in self.layers[:-1]:
            x = layer(x, None)
        x = self.layers[-1](x, trace.attentions)
        return self.merge(x) if "merge" in self else x


class SwinModel(Encoder[SwinConfig]):
    """Patches, their norm, stages, norm."""

    config_class = SwinConfig
    base_model_prefix = "swin"
    layer_class: ClassVar[type[SwinLayer]] = SwinLayer
    merge_class: ClassVar[type[PatchMerging]] = PatchMerging

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        dims, (rows, columns) = config.embed_dim, config.grid
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        self.patch_norm = nn.LayerNorm(dims)
        if config.use_absolute_embeddings:
            self.position_embeddings = mx.zeros((1, rows * columns, dims))
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.stages = [self._stage(stage) for stage in range(config.num_layers)]
        if config.final_norm:
            self.norm = nn.LayerNorm(config.feature_dims, eps=config.layer_norm_eps)
        initialise(self, config.initializer_range)

    def _stage(self, stage: int) -> SwinStage:
        config = self.config
        layers = [self.layer_class(config, stage, index) for index in range(config.depths[stage])]
        last = stage == config.num_layers - 1
        return SwinStage(layers, None if last else self.merge_class(config.dims(stage)))

    def grid(self, height: int, width: int) -> Grid:
        """The places of the last stage's map; the last of them may reach out of the image."""
        high, wide = (side * 2 ** (self.config.num_layers - 1) for side in self.patches.patch)
        return Grid(self.prefix_tokens, -(-height // high), -(-width // wide), (high, wide))

    @property
    def takes_any_size(self) -> bool:
        """Whether images may have any size without `interpolate_pos_encoding`."""
        return "position_embeddings" not in self

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D), S places of the last stage's map.

        With `use_absolute_embeddings` another size than the config's needs
        `interpolate_pos_encoding`. Hidden states are those between stages; attentions, of the last
        layer of each, are (B·windows, H, w², w²).
        """
        x = self._embed(pixels, interpolate)
        trace.keep(x.flatten(1, 2))
        for stage in self.in_turn(self.stages):
            x = stage(x, trace)
            trace.keep(x.flatten(1, 2))
        x = x.flatten(1, 2)
        return self.norm(x) if "norm" in self else x

    def _embed(self, pixels: mx.array, interpolate: bool) -> mx.array:
        """Pixels to a map (B, rows, columns, D) of patches."""
        config = self.config
        free = interpolate or not config.use_absolute_embeddings
        check_pixels(pixels, config.num_channels, self.fixed_size(pixels, free))
        patches, grid = self.patches(pad_to(pixels, pair(config.patch_size)))
        x = self.patch_norm(patches)
        if "position_embeddings" in self:
            x = x + self.positions_of(grid)
        return mx.unflatten(self.dropout(x), 1, grid)


class DonutSwinModel(SwinModel):
    """`SwinModel` whose features are those of its last stage as they are."""

    config_class = DonutSwinConfig
    base_model_prefix = "donut"


BLOCK, LAYER = "encoder.layers.*.blocks.*", "stages.*.layers.*"
COMMON = Renames(
    pairs=(
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        ("embeddings.norm", "patch_norm"),
        ("embeddings.position_embeddings", "position_embeddings"),
        (f"{BLOCK}.layernorm_before", f"{LAYER}.attn_norm"),
        (f"{BLOCK}.attention.self.query", f"{LAYER}.attn.q_proj"),
        (f"{BLOCK}.attention.self.key", f"{LAYER}.attn.k_proj"),
        (f"{BLOCK}.attention.self.value", f"{LAYER}.attn.v_proj"),
        (f"{BLOCK}.attention.output.dense", f"{LAYER}.attn.o_proj"),
        (f"{BLOCK}.layernorm_after", f"{LAYER}.mlp_norm"),
        (f"{BLOCK}.intermediate.dense", f"{LAYER}.mlp.fc1"),
        (f"{BLOCK}.output.dense", f"{LAYER}.mlp.fc2"),
        ("encoder.layers.*.downsample.norm", "stages.*.merge.norm"),
        ("encoder.layers.*.downsample.reduction", "stages.*.merge.reduction"),
    ),
    ignored=("embeddings.mask_token",),  # of pretraining, which no encoder of transformers loads
)
NORM = Renames(pairs=(("layernorm", "norm"),))
BIAS_TABLE = Renames(
    pairs=((f"{BLOCK}.attention.self.relative_position_bias_table", f"{LAYER}.attn_bias.table"),)
)
INDEX = f"{BLOCK}.attention.self.relative_position_index"

SwinModel.renames = (
    COMMON
    + NORM
    + BIAS_TABLE
    + Renames(
        pairs=(),
        aliases=(  # transformers 5's names in memory
            (
                f"{BLOCK}.attention.relative_position_bias.relative_position_bias_table",
                f"{LAYER}.attn_bias.table",
            ),
            (f"{BLOCK}.attention", f"{LAYER}.attn"),
            (f"{BLOCK}.mlp", f"{LAYER}.mlp"),
        ),
        ignored=(INDEX, f"{BLOCK}.attention.relative_position_bias.relative_position_index"),
    )
)
DonutSwinModel.renames = (
    COMMON + BIAS_TABLE + Renames(pairs=(), carried=(INDEX,), ignored=("layernorm",))
)
