"""AIMv2's image half (arXiv:2411.14402): norms without a mean, gated MLPs, no class token.

Its patches are normed before positions are added. Checkpoints for images of any size ("native")
have no position table: sines and cosines of a patch's column come first, then those of its row.
What pools the features is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.initialisers import initialise
from ..layers.outputs import Trace
from .dinov3 import GatedMLP
from .encoder import Encoder, PatchConfig, Size
from .patches import Pair, PatchEmbedding, pair
from .plain import PlainLayer

WAVELENGTH = 10000  # the longest of the sinusoidal positions, over 2π


@dataclass(kw_only=True)
class Aimv2VisionConfig(PatchConfig):
    """Fields and defaults of `apple/aimv2-large-patch14-224`; a size is one number or two, (h, w).

    is_native -- whether positions are computed, for images of any size
    """

    model_type: ClassVar[str] = "aimv2_vision_model"
    square_only: ClassVar[bool] = True
    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    num_attention_heads: int = 8
    patch_size: Size = 14
    hidden_act: str = "silu"
    attention_dropout: float = 0.0
    rms_norm_eps: float = 1e-5
    qkv_bias: bool = False
    mlp_bias: bool = False
    initializer_range: float = 0.02
    is_native: bool = False

    def check(self) -> None:
        """Raise `ConfigError` as `PatchConfig` does, and for a width that has no sinusoids."""
        super().check()
        fits = not (self.is_native and self.hidden_size % 4)
        self.require(fits, "hidden_size", "expected a multiple of 4, as is_native is true")


class Aimv2Attention(Attention):
    """Attention whose projections all have a bias, or none of them."""

    def __init__(self, config: Aimv2VisionConfig) -> None:
        dims, bias = config.hidden_size, config.qkv_bias
        heads, dropout = config.num_attention_heads, config.attention_dropout
        super().__init__(dims, heads, bias=bias, dropout=dropout)
        self.o_proj = nn.Linear(dims, dims, bias=bias)


class Aimv2VisionModel(Encoder[Aimv2VisionConfig]):
    """Patches, their norm, positions, layers, norm."""

    config_class = Aimv2VisionConfig
    base_model_prefix = "vision_model"

    def __init__(self, config: Aimv2VisionConfig) -> None:
        super().__init__(config)
        dims, eps, std = config.hidden_size, config.rms_norm_eps, config.initializer_range
        rows, columns = config.grid
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        self.patch_norm = nn.RMSNorm(dims, eps=eps)
        if not config.is_native:
            self.position_embeddings = mx.random.normal((rows * columns, dims), scale=std)
        self.layers = [self.make_layer() for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(dims, eps=eps)
        initialise(self, std)

    def make_layer(self) -> PlainLayer:
        """A layer with norms that have no mean."""
        config, dims = self.config, self.config.hidden_size
        mlp = GatedMLP(dims, config.intermediate_size, config.hidden_act, bias=config.mlp_bias)
        attn, eps = Aimv2Attention(config), config.rms_norm_eps
        return PlainLayer(dims, attn, mlp, eps=eps, norm=nn.RMSNorm)

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D); of any size where the config is native."""
        return self.norm(self.through_layers(self._embed(pixels, interpolate), trace))

    def unread(self) -> dict[str, mx.array]:
        """The attention that makes one vector of all features, which no decoder reads."""
        if not getattr(self.config, "use_head", True):
            return {}
        dims = self.config.hidden_size
        shapes = {"cls_token": (1, 1, dims), "output_proj.bias": (dims,)}
        shapes |= {f"{name}.weight": (dims, dims) for name in ("k_proj", "v_proj", "output_proj")}
        if self.config.qkv_bias:
            shapes |= {"k_proj.bias": (dims,), "v_proj.bias": (dims,)}
        return {f"head.{name}": mx.zeros(shape) for name, shape in shapes.items()}

    def _embed(self, pixels: mx.array, interpolate: bool) -> mx.array:
        """Patches (B, N, D) with their positions."""
        config = self.config
        patches, grid = self.patches(pixels, self.fixed_size(pixels, interpolate))
        x = self.patch_norm(patches)
        if config.is_native:
            return x + sinusoids(grid, config.hidden_size).astype(x.dtype)
        return x + self.positions_of(grid)

    @property
    def takes_any_size(self) -> bool:
        """Whether images may have any size without `interpolate_pos_encoding`."""
        return self.config.is_native


def sinusoids(grid: Pair, dims: int) -> mx.array:
    """Positions (N, D) of a grid of N patches: sines and cosines of the column, then of the row."""
    quarter = dims // 4
    frequencies = WAVELENGTH ** (-mx.arange(quarter) / quarter)
    rows, columns = mx.meshgrid(*(mx.arange(side) for side in grid), indexing="ij")
    angles = [places.reshape(-1, 1) * frequencies for places in (columns, rows)]
    return mx.concatenate([f(x) for x in angles for f in (mx.sin, mx.cos)], axis=1)


PAIRS = (
    ("embeddings.patch_embed", "patches.projection"),
    ("embeddings.rms_norm", "patch_norm"),
    ("embeddings.position_embedding.weight", "position_embeddings"),
    ("encoder.layers.*.rms_norm1", "layers.*.attn_norm"),
    ("encoder.layers.*.attention.q_proj", "layers.*.attn.q_proj"),
    ("encoder.layers.*.attention.k_proj", "layers.*.attn.k_proj"),
    ("encoder.layers.*.attention.v_proj", "layers.*.attn.v_proj"),
    ("encoder.layers.*.attention.out_proj", "layers.*.attn.o_proj"),
    ("encoder.layers.*.rms_norm2", "layers.*.mlp_norm"),
    ("encoder.layers.*.ffn.gate_proj", "layers.*.mlp.gate_proj"),
    ("encoder.layers.*.ffn.up_proj", "layers.*.mlp.fc1"),
    ("encoder.layers.*.ffn.down_proj", "layers.*.mlp.fc2"),
    ("rms_norm", "norm"),
)
Aimv2VisionModel.renames = Renames(PAIRS, carried=("head",))
