"""MLCD (arXiv:2407.17331): CLIP's image half with rotary positions in two directions.

There is no position table, so an image may have any size. Half of a head's angles goes with a
patch's row, half with its column; those of the class token are learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import mlx.core as mx

from ..layers.outputs import Trace
from .clip import BEGINNING, CLIPVisionConfig, CLIPVisionModel, clip_names
from .dinov3 import RotaryAttention, Rotation
from .encoder import Size
from .patches import Pair, after_prefix
from .plain import PlainLayer


def _rope_parameters() -> dict[str, Any]:
    return {"rope_theta": 10000.0, "rope_type": "axial"}


@dataclass(kw_only=True)
class MLCDVisionConfig(CLIPVisionConfig):
    """Fields and defaults of `DeepGlint-AI/mlcd-vit-bigG-patch14-336`.

    rope_parameters -- `rope_theta`, of which the frequencies are powers
    """

    model_type: ClassVar[str] = "mlcd_vision_model"
    position_table: ClassVar[bool] = False
    hidden_size: int = 1664
    intermediate_size: int = 8192
    num_hidden_layers: int = 48
    num_attention_heads: int = 16
    num_key_value_groups: int = 1
    hidden_act: str = "gelu"
    image_size: Size = 336
    patch_size: Size = 14
    rope_parameters: dict[str, Any] = field(default_factory=_rope_parameters)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MLCDVisionConfig:
        """Build from a parsed `config.json`, also with the old model type or `rope_theta` alone."""
        if values.get("model_type") == "mlcd":
            values = {**values, "model_type": cls.model_type}
        theta, given = values.get("rope_theta"), values.get("rope_parameters")
        if theta is not None and not isinstance(given, Mapping):
            values = {**values, "rope_parameters": {**_rope_parameters(), "rope_theta": theta}}
        return super().from_dict(values)

    def check(self) -> None:
        """Raise `ConfigError` for a head whose width is no multiple of 4, or other rotations."""
        super().check()
        expected = f"expected a multiple of 4 for each of {self.num_attention_heads} heads"
        self.require(not self.head_dims % 4, "hidden_size", expected)
        self.require(self.num_key_value_groups == 1, "num_key_value_groups", "expected 1")
        theta, kind = self.rope_theta, self.rope_parameters.get("rope_type", "axial")
        fits = kind == "axial" and type(theta) in (int, float) and theta > 0
        expected = "expected rope_type 'axial' and a rope_theta above 0"
        self.require(fits, "rope_parameters", expected)

    @property
    def head_dims(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def rope_theta(self) -> float:
        """The number of which the frequencies are powers."""
        return self.rope_parameters.get("rope_theta", _rope_parameters()["rope_theta"])


class MLCDVisionModel(CLIPVisionModel):
    """Patches, class token, norm, layers that know where each patch is."""

    config_class = MLCDVisionConfig

    def __init__(self, config: MLCDVisionConfig) -> None:
        super().__init__(config)
        half = config.head_dims // 2
        std = config.initializer_factor * half**-0.5
        self.cls_angles = mx.random.normal((1, half), scale=std)
        quarter = half // 2
        self._frequencies = config.rope_theta ** (-mx.arange(quarter) / quarter)

    def make_layer(self) -> PlainLayer:
        """CLIP's layer, with attention whose queries and keys are turned."""
        config, layer = self.config, super().make_layer()
        dims, heads = config.hidden_size, config.num_attention_heads
        layer.attn = RotaryAttention(dims, heads, dropout=config.attention_dropout)
        return layer

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) of any size to features (B, S, D), the class token first."""
        patches, grid = self.patches(pixels)
        x = self.pre_norm(after_prefix(self.cls_token[None, None], patches))
        return self.through_layers(x, trace, self._rotation(grid, x.dtype))

    def _rotation(self, grid: Pair, dtype: mx.Dtype) -> Rotation:
        """Cosines and sines (1 + N, Dh) of the class token and of a grid of N patches."""
        axes = mx.meshgrid(*(mx.arange(side) for side in grid), indexing="ij")
        places = mx.stack(list(axes), axis=-1).reshape(-1, 2)
        angles = (places[..., None] * self._frequencies).flatten(1)
        angles = mx.concatenate([self.cls_angles.astype(mx.float32), angles])
        angles = mx.concatenate([angles, angles], axis=-1)
        return mx.cos(angles).astype(dtype), mx.sin(angles).astype(dtype)


MLCDVisionModel.renames = clip_names(
    (*BEGINNING, ("class_pos_emb", "cls_angles")), unused="post_layernorm"
)
