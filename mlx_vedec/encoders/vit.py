"""ViT (arXiv:2010.11929) and its twins.

DeiT (arXiv:2012.12877) has a distillation token as well; MSN (arXiv:2204.07141) is ViT's
architecture, trained without labels; I-JEPA (arXiv:2301.08243) has no class token. DPT's encoder
(arXiv:2103.13413) is a ViT whose positions are resized to any image, bilinearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from ..checkpoints.renames import Renames
from ..errors import ConfigError
from ..layers.attention import Attention
from ..layers.mlp import MLP
from .encoder import Size
from .patches import pair
from .plain import PlainConfig, PlainEncoder, PlainLayer


@dataclass(kw_only=True)
class ViTConfig(PlainConfig):
    """Fields and defaults of `google/vit-base-patch16-224`; a size is one number or two, (h, w)."""

    model_type: ClassVar[str] = "vit"
    intermediate_size: int = 3072
    attention_probs_dropout_prob: float = 0.0
    qkv_bias: bool = True


@dataclass(kw_only=True)
class DeiTConfig(ViTConfig):
    """`ViTConfig` for `facebook/deit-base-distilled-patch16-224`."""

    model_type: ClassVar[str] = "deit"
    distilled: ClassVar[bool] = True
    zero_embeddings: ClassVar[bool] = True


@dataclass(kw_only=True)
class ViTMSNConfig(ViTConfig):
    """`ViTConfig` for `facebook/vit-msn-base`."""

    model_type: ClassVar[str] = "vit_msn"
    zero_embeddings: ClassVar[bool] = True
    layer_norm_eps: float = 1e-6


@dataclass(kw_only=True)
class IJepaConfig(ViTConfig):
    """`ViTConfig` for `facebook/ijepa_vith14_1k`."""

    model_type: ClassVar[str] = "ijepa"

    @property
    def class_tokens(self) -> int:
        """None."""
        return 0


@dataclass(kw_only=True)
class DPTConfig(ViTConfig):
    """`ViTConfig` for the encoder of `Intel/dpt-large`."""

    model_type: ClassVar[str] = "dpt"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    resample: ClassVar[str] = "bilinear"
    zero_embeddings: ClassVar[bool] = True
    image_size: Size = 384
    is_hybrid: bool = False

    def check(self) -> None:
        """Raise `ConfigError` as `ViTConfig` does, and where another network makes the patches."""
        super().check()
        backbone = self.extra.get("backbone_config") or self.extra.get("backbone")
        if self.is_hybrid or backbone:
            name, value = ("is_hybrid", True) if self.is_hybrid else ("backbone", backbone)
            value = value.get("model_type") if isinstance(value, dict) else value
            expected = (
                "expected a DPT that is a ViT: one with a backbone of its own, as "
                "Intel/dpt-hybrid-midas has, is not supported; transformers reads it"
            )
            raise ConfigError(self._message(name, value, expected))


class ViTModel(PlainEncoder[ViTConfig]):
    """Patches, class token, learned positions, layers, norm."""

    config_class = ViTConfig
    base_model_prefix = "vit"

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers, which are all alike."""
        config, dims = self.config, self.config.hidden_size
        bias, drop = config.qkv_bias, config.attention_probs_dropout_prob
        return PlainLayer(
            dims,
            Attention(dims, config.num_attention_heads, bias=bias, dropout=drop),
            MLP(dims, config.intermediate_size, config.hidden_act),
            eps=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob,
        )

    def is_narrow(self, size: tuple[int, ...]) -> bool:
        """Whether the config says `narrow_images`, and images of this size are such."""
        height, width = pair(self.config.image_size)
        taken = self.config.extra.get("narrow_images") is True and self.processor_size is None
        if not taken or len(size) != 2 or size[0] != height:
            return False
        return size[1] < width and size[1] % self.config.image_unit[1] == 0

    def unread(self) -> dict[str, mx.array]:
        """The pooler, of which no decoder reads what it gives."""
        dims = self.config.hidden_size
        rows = getattr(self.config, "pooler_output_size", None) or dims
        return {"pooler.dense.weight": mx.zeros((rows, dims)), "pooler.dense.bias": mx.zeros(rows)}


class DeiTModel(ViTModel):
    """`ViTModel` with a distillation token after the class token."""

    config_class = DeiTConfig
    base_model_prefix = "deit"


class ViTMSNModel(ViTModel):
    """`ViTModel` under MSN's model type."""

    config_class = ViTMSNConfig
    base_model_prefix = "vit"

    def unread(self) -> dict[str, mx.array]:
        """Nothing: MSN has no pooler."""
        return {}


class IJepaModel(ViTModel):
    """`ViTModel` without a class token."""

    config_class = IJepaConfig
    base_model_prefix = "ijepa"

    def unread(self) -> dict[str, mx.array]:
        """Nothing: transformers builds it without a pooler."""
        return {}


class DPTModel(ViTModel):
    """`ViTModel` for images of any size; what makes depths of its features is not used."""

    config_class = DPTConfig
    base_model_prefix = "dpt"


ViTModel.renames = Renames(
    pairs=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        ("encoder.layer.*.layernorm_before", "layers.*.attn_norm"),
        ("encoder.layer.*.attention.attention.query", "layers.*.attn.q_proj"),
        ("encoder.layer.*.attention.attention.key", "layers.*.attn.k_proj"),
        ("encoder.layer.*.attention.attention.value", "layers.*.attn.v_proj"),
        ("encoder.layer.*.attention.output.dense", "layers.*.attn.o_proj"),
        ("encoder.layer.*.layernorm_after", "layers.*.mlp_norm"),
        ("encoder.layer.*.intermediate.dense", "layers.*.mlp.fc1"),
        ("encoder.layer.*.output.dense", "layers.*.mlp.fc2"),
        ("layernorm", "norm"),
    ),
    aliases=(  # transformers 5's names in memory, found in files that trainers wrote themselves
        ("layers.*.layernorm_before", "layers.*.attn_norm"),
        ("layers.*.attention", "layers.*.attn"),
        ("layers.*.layernorm_after", "layers.*.mlp_norm"),
        ("layers.*.mlp", "layers.*.mlp"),
    ),
    carried=("pooler", "embeddings.mask_token"),
    ignored=("embeddings.position_ids",),
)
DeiTModel.renames = ViTModel.renames + Renames(
    pairs=(("embeddings.distillation_token", "distillation_token"),)
)
