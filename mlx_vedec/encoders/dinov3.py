"""DINOv3's ViT (arXiv:2508.10104): rotary positions in two directions, registers, layer scale.

The patches' queries and keys are turned by angles that go with their place in the image; class and
register tokens are not. There is no position table, so an image may have any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.initialisers import initialise
from ..layers.mlp import Activation, FeedForward
from ..layers.outputs import Trace
from .encoder import Encoder, PatchConfig
from .patches import Pair, PatchEmbedding, after_prefix, pair
from .plain import PlainLayer

SMALLEST = {
    "rope_theta": 1,
    "num_register_tokens": 0,
    "pos_embed_shift": 0,
    "pos_embed_jitter": 1,
    "pos_embed_rescale": 1,
}
Rotation = tuple[mx.array, mx.array]  # cosines and sines (N, Dh) of the N patches


@dataclass(kw_only=True)
class DINOv3ViTConfig(PatchConfig):
    """Fields and defaults of a DINOv3 ViT-S/16; null means 0 registers.

    pos_embed_… -- in training alone, how far the patches' coordinates are moved at random: by up to
    `shift`, by factors up to `jitter` for each axis and up to `rescale` for both. None: not at all.
    """

    model_type: ClassVar[str] = "dinov3_vit"
    any_size: ClassVar[bool] = True
    hidden_size: int = 384
    num_attention_heads: int = 6
    intermediate_size: int = 1536
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    rope_theta: float = 100.0
    query_bias: bool = True
    key_bias: bool = False
    value_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_gated_mlp: bool = False
    num_register_tokens: int | None = 0
    pos_embed_shift: float | None = None
    pos_embed_jitter: float | None = None
    pos_embed_rescale: float | None = 2.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DINOv3ViTConfig:
        """Build from a parsed `config.json`, where a null for the rescaling switches it off."""
        config = super().from_dict(values)
        if "pos_embed_rescale" in values and values["pos_embed_rescale"] is None:
            config.pos_embed_rescale = None
        return config

    def check(self) -> None:
        """Raise `ConfigError` unless a head's width is a multiple of 4; for numbers too small."""
        super().check()
        expected = f"expected a multiple of 4 for each of {self.num_attention_heads} heads"
        self.require(not self.head_dims % 4, "hidden_size", expected)
        for name, smallest in SMALLEST.items():
            value = getattr(self, name)
            self.require(value is None or value >= smallest, name, f"expected {smallest} or more")

    @property
    def head_dims(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads


class RotaryPositions(nn.Module):
    """Angles of the patches: their centres, -1 to 1 down and across, times some frequencies."""

    def __init__(self, config: DINOv3ViTConfig) -> None:
        super().__init__()
        self.shift = config.pos_embed_shift
        self.jitter = config.pos_embed_jitter
        self.rescale = config.pos_embed_rescale
        quarter = config.head_dims // 4
        self._frequencies = 2 * math.pi / config.rope_theta ** (mx.arange(quarter) / quarter)

    def __call__(self, grid: Pair, dtype: mx.Dtype) -> Rotation:
        """Cosines and sines (N, Dh) of the angles of a grid of N patches."""
        axes = [(mx.arange(count) + 0.5) * (2 / count) - 1 for count in grid]
        centres = mx.stack(list(mx.meshgrid(*axes, indexing="ij")), axis=-1).reshape(-1, 2)
        if self.training:
            centres = self._moved(centres)
        angles = (centres[..., None] * self._frequencies).flatten(1)
        angles = mx.concatenate([angles, angles], axis=-1)
        return mx.cos(angles).astype(dtype), mx.sin(angles).astype(dtype)

    def _moved(self, centres: mx.array) -> mx.array:
        """Centres (N, 2), moved and stretched at random, alike for all images of a batch."""
        if self.shift is not None:
            centres = centres + mx.random.uniform(-self.shift, self.shift, (2,))
        if self.jitter is not None:
            centres = centres * _factors(self.jitter, 2)
        return centres if self.rescale is None else centres * _factors(self.rescale, 1)


def _factors(largest: float, count: int) -> mx.array:
    """Random factors (count,) between 1 / largest and largest, as likely below 1 as above."""
    return mx.exp(mx.random.uniform(-math.log(largest), math.log(largest), (count,)))


def rotate(x: mx.array, rotation: Rotation) -> mx.array:
    """Queries or keys (B, H, S, Dh) with the last N of S turned, halves of the width as pairs."""
    cosines, sines = rotation
    prefix, patches = mx.split(x, [x.shape[2] - len(cosines)], axis=2)
    left, right = mx.split(patches, 2, axis=-1)
    turned = patches * cosines + mx.concatenate([-right, left], axis=-1) * sines
    return mx.concatenate([prefix, turned], axis=2)


class RotaryAttention(Attention):
    """Attention whose queries and keys are turned."""

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: mx.array, rotation: Rotation, *, keep: list[mx.array] | None = None
    ) -> mx.array:
        """(B, S, D) to (B, S, D). `keep` receives the attention weights, (B, H, S, S)."""
        queries = rotate(self._heads(self.q_proj(x)), rotation)
        keys, values = self._keys_values(x)
        out = self._attend(queries, rotate(keys, rotation), values, None, keep)
        return self.o_proj(out.swapaxes(1, 2).flatten(2))


class DINOv3Attention(RotaryAttention):
    """`RotaryAttention` with a bias of its own for each projection."""

    def __init__(self, config: DINOv3ViTConfig) -> None:
        dims = config.hidden_size
        super().__init__(
            dims,
            config.num_attention_heads,
            bias=config.query_bias,
            key_bias=config.key_bias,
            dropout=config.attention_dropout,
        )
        self.v_proj = nn.Linear(dims, dims, bias=config.value_bias)
        self.o_proj = nn.Linear(dims, dims, bias=config.proj_bias)


class GatedMLP(FeedForward):
    """Two linear layers and an activation, of a gate (arXiv:2002.05202) if `gated`."""

    def __init__(
        self, dims: int, hidden_dims: int, act: str, *, bias: bool, gated: bool = True
    ) -> None:
        super().__init__(hidden_dims)
        if gated:
            self.gate_proj = nn.Linear(dims, hidden_dims, bias=bias)
        self.fc1 = nn.Linear(dims, hidden_dims, bias=bias)
        self.fc2 = nn.Linear(hidden_dims, dims, bias=bias)
        self.act = Activation(act)

    def through(self, x: mx.array) -> mx.array:
        """(…, D) to (…, D), in one piece."""
        if "gate_proj" in self:
            return self.fc2(self.act(self.gate_proj(x)) * self.fc1(x))
        return self.fc2(self.act(self.fc1(x)))


class DINOv3ViTModel(Encoder[DINOv3ViTConfig]):
    """Patches, class and register tokens, layers that know where each patch is, norm."""

    config_class = DINOv3ViTConfig
    base_model_prefix = "model"

    def __init__(self, config: DINOv3ViTConfig) -> None:
        super().__init__(config)
        dims, std = config.hidden_size, config.initializer_range
        registers = (1, config.num_register_tokens or 0, dims)
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        self.positions = RotaryPositions(config)
        self.cls_token = mx.random.normal((1, 1, dims), scale=std)
        # with no registers it is an empty array, which transformers stores too
        self.register_tokens = mx.random.normal(registers, scale=std)
        self.layers = [self.make_layer() for _ in range(config.num_hidden_layers)]
        self.norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        initialise(self, std)

    def make_layer(self) -> PlainLayer:
        """One of the layers, which are all alike."""
        config, dims = self.config, self.config.hidden_size
        act, bias, gated = config.hidden_act, config.mlp_bias, config.use_gated_mlp
        return PlainLayer(
            dims,
            DINOv3Attention(config),
            GatedMLP(dims, config.intermediate_size, act, bias=bias, gated=gated),
            eps=config.layer_norm_eps,
            scale=config.layerscale_value,
            drop_path=config.drop_path_rate,
        )

    def unread(self) -> dict[str, mx.array]:
        """The token in the place of patches that are hidden in pretraining."""
        return {"embeddings.mask_token": mx.zeros((1, 1, self.config.hidden_size))}

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D): class, registers, patches."""
        patches, grid = self.patches(pixels)
        prefix = mx.concatenate([self.cls_token, self.register_tokens], axis=1)
        x = after_prefix(prefix, patches)
        rotation = self.positions(grid, x.dtype)
        return self.norm(self.through_layers(x, trace, rotation))


LAYERS = (
    ("layer.*.norm1", "layers.*.attn_norm"),
    ("layer.*.attention", "layers.*.attn"),
    ("layer.*.layer_scale1.lambda1", "layers.*.attn_scale"),
    ("layer.*.norm2", "layers.*.mlp_norm"),
    ("layer.*.mlp.gate_proj", "layers.*.mlp.gate_proj"),
    ("layer.*.mlp.up_proj", "layers.*.mlp.fc1"),
    ("layer.*.mlp.down_proj", "layers.*.mlp.fc2"),
    ("layer.*.layer_scale2.lambda1", "layers.*.mlp_scale"),
)
DINOv3ViTModel.renames = Renames(
    pairs=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.patch_embeddings", "patches.projection"),
        *LAYERS,
        ("norm", "norm"),
    ),
    # transformers 5's names in memory
    aliases=tuple((f"model.{disk}", ours) for disk, ours in LAYERS),
    carried=("embeddings.mask_token",),
)
