"""InternVL's image half (arXiv:2312.14238): a ViT that scales each branch before adding it.

Norms may be without a mean, queries and keys may be normed, and positions, where there are any, are
resized to any image without being asked. With mean pooling there is no norm at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.dropout import Dropout
from ..layers.kv_cache import KeysValues
from ..layers.mlp import MLP
from .encoder import Size
from .plain import PlainConfig, PlainEncoder, PlainLayer

NORMS = {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}
QK_EPS = 1e-6  # of the norms of queries and keys, whatever layer_norm_eps is


@dataclass(kw_only=True)
class InternVLVisionConfig(PlainConfig):
    """Fields and defaults of `OpenGVLab/InternVL3-1B-hf`; a size is one number or two, (h, w)."""

    model_type: ClassVar[str] = "internvl_vision"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    zero_embeddings: ClassVar[bool] = True
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    attention_bias: bool = False
    use_qk_norm: bool = False
    attention_dropout: float = 0.0
    projection_dropout: float = 0.0
    norm_type: str = "layer_norm"
    layer_norm_eps: float = 1e-6
    image_size: Size = (448, 448)
    patch_size: Size = (14, 14)
    use_absolute_position_embeddings: bool = True
    layer_scale_init_value: float = 0.1
    use_mean_pooling: bool = True

    def check(self) -> None:
        """Raise `ConfigError` as `PatchConfig` does, and for a norm of another kind."""
        super().check()
        known = self.norm_type in NORMS
        self.require(known, "norm_type", f"expected one of {', '.join(NORMS)}")

    @property
    def position_table(self) -> bool:
        """Whether there are learned positions, which are added to all tokens."""
        return self.use_absolute_position_embeddings

    @property
    def final_norm(self) -> bool:
        """Whether the features are normed."""
        return not self.use_mean_pooling


class InternVLAttention(Attention):
    """Attention whose queries and keys may be normed, over all heads at once."""

    def __init__(self, config: InternVLVisionConfig) -> None:
        dims, heads = config.hidden_size, config.num_attention_heads
        super().__init__(dims, heads, bias=config.attention_bias, dropout=config.attention_dropout)
        if config.use_qk_norm:
            self.q_norm = nn.RMSNorm(dims, eps=QK_EPS)
            self.k_norm = nn.RMSNorm(dims, eps=QK_EPS)

    def _project(self, x: mx.array, memory: mx.array | None) -> tuple[mx.array, mx.array, mx.array]:
        queries = self.q_proj(x)
        queries = self.q_norm(queries) if "q_norm" in self else queries
        return self._heads(queries), *self._keys_values(x)

    def _keys_values(self, x: mx.array) -> KeysValues:
        keys = self.k_proj(x)
        keys = self.k_norm(keys) if "k_norm" in self else keys
        return self._heads(keys), self._heads(self.v_proj(x))


class InternVLVisionModel(PlainEncoder[InternVLVisionConfig]):
    """Patches, class token, learned positions if any, layers, norm if any."""

    config_class = InternVLVisionConfig
    base_model_prefix = "internvl_vision"

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers; its attention's dropout is apart from its MLP's."""
        config, dims = self.config, self.config.hidden_size
        layer = PlainLayer(
            dims,
            InternVLAttention(config),
            MLP(dims, config.intermediate_size, config.hidden_act),
            eps=config.layer_norm_eps,
            norm=NORMS[config.norm_type],
            scale=config.layer_scale_init_value,
            dropout=config.hidden_dropout_prob,
        )
        layer.attn_dropout = Dropout(config.projection_dropout)
        return layer


InternVLVisionModel.renames = Renames(
    pairs=(
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.position_embeddings", "position_embeddings"),
        ("embeddings.patch_embeddings.projection", "patches.projection"),
        ("encoder.layer.*.layernorm_before", "layers.*.attn_norm"),
        ("encoder.layer.*.attention.projection_layer", "layers.*.attn.o_proj"),
        ("encoder.layer.*.attention", "layers.*.attn"),
        ("encoder.layer.*.lambda_1", "layers.*.attn_scale"),
        ("encoder.layer.*.layernorm_after", "layers.*.mlp_norm"),
        ("encoder.layer.*.mlp", "layers.*.mlp"),
        ("encoder.layer.*.lambda_2", "layers.*.mlp_scale"),
        ("layernorm", "norm"),
    ),
    carried=("embeddings.mask_token",),
)
