"""Hiera's config: stages, what they pool and attend to, sides that have to fit each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..checkpoints.config import LARGEST
from .encoder import EncoderConfig
from .patches import Pair, grid_of, pair

PAIRS = ("image_size", "patch_size", "patch_stride", "query_stride", "masked_unit_size")


@dataclass(kw_only=True)
class HieraConfig(EncoderConfig):
    """Fields and defaults of `facebook/hiera-base-224-hf`; `depths` has the stages.

    num_query_pool -- how many stages, after the first, begin by pooling `query_stride` places;
    masked_unit_attention -- by stage, whether places attend within their units alone
    """

    model_type: ClassVar[str] = "hiera"
    embed_dim: int = 96
    image_size: Pair = (224, 224)
    patch_size: Pair = (7, 7)
    patch_stride: Pair = (4, 4)
    patch_padding: Pair = (3, 3)
    num_channels: int = 3
    depths: tuple[int, ...] = (2, 3, 16, 3)
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    embed_dim_multiplier: float = 2.0
    mlp_ratio: float = 4.0
    num_query_pool: int = 3
    query_stride: Pair = (2, 2)
    masked_unit_size: Pair = (8, 8)
    masked_unit_attention: tuple[bool, ...] = (True, True, False, False)
    drop_path_rate: float = 0.0
    hidden_act: str = "gelu"
    initializer_range: float = 0.02
    layer_norm_init: float = 1.0
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in (*PAIRS, "patch_padding"):
            if isinstance(value := getattr(self, name), int):
                setattr(self, name, (value, value))

    def check(self) -> None:
        """Raise `ConfigError` where stages, widths, units and the image do not fit each other."""
        super().check()
        for name in PAIRS:
            pair(getattr(self, name), name)
        stages = len(self.depths)
        for name in ("num_heads", "masked_unit_attention"):
            expected = f"expected one value for each of the {stages} stages"
            self.require(len(getattr(self, name)) == stages, name, expected)
        deep = stages and min(self.depths) > 0
        self.require(deep, "depths", "expected layers in each stage")
        fewer = self.num_query_pool < stages
        self.require(fewer, "num_query_pool", f"expected fewer than the {stages} stages")
        self._check_widths()
        self._check_sides()

    def _check_widths(self) -> None:
        for stage, heads in enumerate(self.num_heads):
            wide, inner = self.dims(stage), int(self.dims(stage) * self.mlp_ratio)
            pools = stage and self.pools(stage)
            fits = 1 <= wide <= LARGEST // 3 and not (pools and wide == self.dims(stage - 1))
            expected = "expected one that makes a width, another of each stage that pools"
            self.require(fits, "embed_dim_multiplier", expected)
            expected = f"expected 1 / {wide} or more, and no more than {LARGEST} / {wide}"
            self.require(1 <= inner <= LARGEST, "mlp_ratio", expected)
            expected = f"expected a divisor of {wide}, the width of stage {stage}"
            self.require(heads > 0 and not wide % heads, "num_heads", expected)

    def _check_sides(self) -> None:
        further, units = len(self.depths) - 1, self.masked_unit_size
        expected = f"expected multiples of query_stride, once for each of {further} stages"
        pairs = zip(units, self.query_stride, strict=True)
        fits = not any(unit % step**further for unit, step in pairs)
        self.require(fits, "masked_unit_size", expected)
        for side, step, pad in zip(
            self.patch_size, self.patch_stride, self.patch_padding, strict=True
        ):
            expected = "expected patch_size less twice the padding above 0, at most the stride"
            fits = pad >= 0 and 0 < side - 2 * pad <= step
            self.require(fits, "patch_padding", expected)
        expected = f"expected multiples of {self.image_unit}, the sides of a masked unit"
        pairs = zip(self.image_size, self.image_unit, strict=True)
        self.require(not any(side % unit for side, unit in pairs), "image_size", expected)

    def to_dict(self) -> dict[str, Any]:
        """Every field, and the `hidden_size` that Hugging Face stores as well."""
        return {**super().to_dict(), "hidden_size": self.feature_dims}

    def dims(self, stage: int) -> int:
        """Width of a stage, counted from 0."""
        return int(self.embed_dim * self.embed_dim_multiplier**stage)

    def pools(self, stage: int) -> bool:
        """Whether a stage begins by pooling."""
        return 0 < stage <= self.num_query_pool

    def window(self, stage: int, index: int) -> int | None:
        """How many places of a layer's input attend to each other; None: all."""
        lagging = index == 0 and self.masked_unit_attention[max(stage - 1, 0)]
        if not (self.masked_unit_attention[stage] or lagging):
            return None
        area = math.prod(self.query_stride)
        unit = int(math.prod(self.masked_unit_size) * area**-stage)
        return unit * (area if self.pools(stage) and index == 0 else 1)

    @property
    def feature_dims(self) -> int:
        """Width of the features, that of the last stage."""
        return self.dims(len(self.depths) - 1)

    @property
    def image_unit(self) -> Pair:
        """Height and width in pixels of a masked unit, of which an image has a whole number."""
        (down, across), (high, wide) = self.patch_stride, self.masked_unit_size
        return down * high, across * wide

    @property
    def grid(self) -> Pair:
        """Patches down and across of an image of the configured size."""
        return grid_of(self.image_size, self.patch_stride)
