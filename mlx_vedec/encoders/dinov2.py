"""DINOv2 (arXiv:2304.07193), its twin with register tokens (arXiv:2309.16588), and TIPSv2.

A ViT that scales each branch channel by channel before adding it (layer scale), has a SwiGLU MLP in
its giant size, and resizes its positions to any image without being asked. TIPSv2's image half
(arXiv:2604.12012) is the twin with registers; its files keep queries, keys and values together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.config import LARGEST
from ..checkpoints.renames import Renames
from ..layers.attention import Attention, FusedAttention
from ..layers.mlp import MLP, Activation, FeedForward
from .encoder import Size
from .patches import Pair, for_each
from .plain import PlainConfig, PlainEncoder, PlainLayer


@dataclass(kw_only=True)
class Dinov2Config(PlainConfig):
    """Fields and defaults of `facebook/dinov2-base`, whose own image_size is 518."""

    model_type: ClassVar[str] = "dinov2"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    fused_qkv: ClassVar[bool] = False  # whether one layer gives queries, keys and values
    mlp_ratio: float = 4
    attention_probs_dropout_prob: float = 0.0
    layer_norm_eps: float = 1e-6
    patch_size: Size = 14
    qkv_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_swiglu_ffn: bool = False

    def check(self) -> None:
        """Raise `ConfigError` as `PatchConfig` does, and for an MLP without a width."""
        super().check()
        expected = f"expected from 1 to {LARGEST // 2}, divided by {self.hidden_size}"
        self.require(0 < self.mlp_dims <= LARGEST // 2, "mlp_ratio", expected)

    @property
    def mlp_dims(self) -> int:
        """Width inside the MLP; two thirds of it, in steps of 8, where there is a gate as well."""
        dims = int(self.hidden_size * self.mlp_ratio)
        return (int(dims * 2 / 3) + 7) // 8 * 8 if self.use_swiglu_ffn else dims


@dataclass(kw_only=True)
class Dinov2WithRegistersConfig(Dinov2Config):
    """`Dinov2Config` for an encoder with register tokens; null means 0 of them."""

    model_type: ClassVar[str] = "dinov2_with_registers"
    resample: ClassVar[str] = "bicubic antialiased"
    patch_size: Size = 16
    num_register_tokens: int | None = 4

    def check(self) -> None:
        """Raise `ConfigError` as `Dinov2Config` does, and for fewer than 0 registers."""
        super().check()
        fits = (self.num_register_tokens or 0) >= 0
        self.require(fits, "num_register_tokens", "expected 0 or more")


@dataclass(kw_only=True)
class Tipsv2VisionConfig(Dinov2WithRegistersConfig):
    """`Dinov2WithRegistersConfig` for the image half of `google/tipsv2-b14`."""

    model_type: ClassVar[str] = "tipsv2_vision_model"
    resample: ClassVar[str] = "bilinear antialiased"
    fused_qkv: ClassVar[bool] = True
    image_size: Size = 448
    patch_size: Size = 14
    num_register_tokens: int | None = 1


class SwiGLU(FeedForward):
    """An MLP with a gate (arXiv:2002.05202); gate and values are one layer, as on disk."""

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__(hidden_dims)
        self.gate_up_proj = nn.Linear(dims, 2 * hidden_dims)
        self.down_proj = nn.Linear(hidden_dims, dims)
        self.act = Activation("silu")

    def through(self, x: mx.array) -> mx.array:
        """(…, D) to (…, D), in one piece."""
        gate, values = mx.split(self.gate_up_proj(x), 2, axis=-1)
        return self.down_proj(self.act(gate) * values)


class Dinov2Model(PlainEncoder[Dinov2Config]):
    """Patches, class token, learned positions, layers, norm; images of any size."""

    config_class = Dinov2Config
    base_model_prefix = "dinov2"

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers, which are all alike."""
        config, dims = self.config, self.config.hidden_size
        attn = (FusedAttention if config.fused_qkv else Attention)(
            dims,
            config.num_attention_heads,
            bias=config.qkv_bias,
            dropout=config.attention_probs_dropout_prob,
        )
        if config.use_swiglu_ffn:
            mlp = SwiGLU(dims, config.mlp_dims)
        else:
            mlp = MLP(dims, config.mlp_dims, config.hidden_act)
        scale, drop = config.layerscale_value, config.drop_path_rate
        eps = config.layer_norm_eps
        return PlainLayer(dims, attn, mlp, eps=eps, scale=scale, drop_path=drop)

    def unread(self) -> dict[str, mx.array]:
        """The token in the place of patches that are hidden in pretraining."""
        if not getattr(self.config, "use_mask_token", True):
            return {}
        return {"embeddings.mask_token": mx.zeros((1, self.config.hidden_size))}


class Dinov2WithRegistersModel(Dinov2Model):
    """`Dinov2Model` with register tokens, which have no position, after the class token."""

    config_class = Dinov2WithRegistersConfig
    base_model_prefix = "dinov2_with_registers"

    def __init__(self, config: Dinov2WithRegistersConfig) -> None:
        super().__init__(config)
        # with no registers it is an empty array, which transformers stores too
        self.register_tokens = mx.zeros((1, config.num_register_tokens or 0, config.hidden_size))

    def tokens(self, pixels: mx.array, interpolate: bool) -> tuple[mx.array, Pair]:
        """The class token, the registers and the patches (B, S, D), and the patches' grid."""
        x, grid = super().tokens(pixels, interpolate)
        registers = for_each(self.register_tokens, x)
        return mx.concatenate([x[:, :1], registers, x[:, 1:]], axis=1), grid


class Tipsv2VisionModel(Dinov2WithRegistersModel):
    """`Dinov2WithRegistersModel` under TIPSv2's names."""

    config_class = Tipsv2VisionConfig
    base_model_prefix = "vision_encoder"

    def unread(self) -> dict[str, mx.array]:
        """The token in the place of patches that are hidden in pretraining."""
        return {"mask_token": mx.zeros((1, self.config.hidden_size))}


Dinov2Model.renames = Renames(
    pairs=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        ("encoder.layer.*.norm1", "layers.*.attn_norm"),
        ("encoder.layer.*.attention.attention.query", "layers.*.attn.q_proj"),
        ("encoder.layer.*.attention.attention.key", "layers.*.attn.k_proj"),
        ("encoder.layer.*.attention.attention.value", "layers.*.attn.v_proj"),
        ("encoder.layer.*.attention.output.dense", "layers.*.attn.o_proj"),
        ("encoder.layer.*.layer_scale1.lambda1", "layers.*.attn_scale"),
        ("encoder.layer.*.norm2", "layers.*.mlp_norm"),
        ("encoder.layer.*.mlp.weights_in", "layers.*.mlp.gate_up_proj"),
        ("encoder.layer.*.mlp.weights_out", "layers.*.mlp.down_proj"),
        ("encoder.layer.*.mlp.fc1", "layers.*.mlp.fc1"),
        ("encoder.layer.*.mlp.fc2", "layers.*.mlp.fc2"),
        ("encoder.layer.*.layer_scale2.lambda1", "layers.*.mlp_scale"),
        ("layernorm", "norm"),
    ),
    aliases=(  # transformers 5's names in memory, found in files that trainers wrote themselves
        ("encoder.layer.*.attention", "layers.*.attn"),
    ),
    carried=("embeddings.mask_token",),
)
Tipsv2VisionModel.renames = Renames(
    pairs=(
        ("cls_token", "cls_token"),
        ("register_tokens", "register_tokens"),
        ("pos_embed", "position_embeddings"),
        ("patch_embed.proj", "patches.projection"),
        ("blocks.*.norm1", "layers.*.attn_norm"),
        ("blocks.*.attn.qkv", "layers.*.attn.qkv_proj"),
        ("blocks.*.attn.proj", "layers.*.attn.o_proj"),
        ("blocks.*.ls1.gamma", "layers.*.attn_scale"),
        ("blocks.*.norm2", "layers.*.mlp_norm"),
        ("blocks.*.mlp.w12", "layers.*.mlp.gate_up_proj"),
        ("blocks.*.mlp.w3", "layers.*.mlp.down_proj"),
        ("blocks.*.mlp.c_fc", "layers.*.mlp.fc1"),
        ("blocks.*.mlp.c_proj", "layers.*.mlp.fc2"),
        ("blocks.*.ls2.gamma", "layers.*.mlp_scale"),
        ("norm", "norm"),
    ),
    carried=("mask_token",),
)
