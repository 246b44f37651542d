"""Pixio (arXiv:2512.15715): a ViT with several class tokens, trained by masked autoencoding.

Positions, which the class tokens have too, are resized to any image without being asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..checkpoints.config import LARGEST
from ..checkpoints.renames import Renames
from ..layers.attention import Attention
from ..layers.mlp import MLP
from .encoder import Size
from .plain import PlainConfig, PlainEncoder, PlainLayer
from .vit import ViTModel


@dataclass(kw_only=True)
class PixioConfig(PlainConfig):
    """Fields and defaults of `facebook/pixio-vith16`; a size is one number or two, (h, w)."""

    model_type: ClassVar[str] = "pixio"
    any_size: ClassVar[bool] = True
    square_only: ClassVar[bool] = True
    hidden_size: int = 1280
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    mlp_ratio: int = 4
    attention_probs_dropout_prob: float = 0.0
    layer_norm_eps: float = 1e-6
    image_size: Size = 256
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    n_cls_tokens: int = 8

    def check(self) -> None:
        """Raise `ConfigError` as `PatchConfig` does, and for an MLP that is too wide."""
        super().check()
        fits = self.hidden_size * self.mlp_ratio <= LARGEST
        self.require(fits, "mlp_ratio", f"expected at most {LARGEST} / {self.hidden_size}")

    @property
    def class_tokens(self) -> int:
        """How many class tokens come before the patches."""
        return self.n_cls_tokens


class PixioModel(PlainEncoder[PixioConfig]):
    """Patches, class tokens, learned positions, layers, norm; images of any size."""

    config_class = PixioConfig
    base_model_prefix = "pixio"

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers, which are all alike."""
        config, dims = self.config, self.config.hidden_size
        bias, drop = config.qkv_bias, config.attention_probs_dropout_prob
        return PlainLayer(
            dims,
            Attention(dims, config.num_attention_heads, bias=bias, dropout=drop),
            MLP(dims, dims * config.mlp_ratio, config.hidden_act),
            eps=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob,
            drop_path=config.drop_path_rate,
        )


NORMS = {
    "encoder.layer.*.layernorm_before": "encoder.layer.*.norm1",
    "encoder.layer.*.layernorm_after": "encoder.layer.*.norm2",
}
PixioModel.renames = Renames(  # ViT's, but for those of the norms
    pairs=tuple((NORMS.get(disk, disk), ours) for disk, ours in ViTModel.renames.pairs),
    aliases=ViTModel.renames.aliases,
    carried=("embeddings.mask_token",),
)
