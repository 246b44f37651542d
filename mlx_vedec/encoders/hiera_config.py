"""Hiera's config: stages, what they pool and attend to, sides that have to fit each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..checkpoints.config import LARGEST
from ..errors import ConfigError
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
            value = getattr(self, name)
            if len(value) != stages:
                expected = f"expected one value for each of the {stages} stages"
                raise ConfigError(self._message(name, value, expected))
        if not stages or min(self.depths) < 1:
            raise ConfigError(self._message("depths", self.depths, "expected layers in each stage"))
        if self.num_query_pool >= stages:
            expected = f"expected fewer than the {stages} stages"
            raise ConfigError(self._message("num_query_pool", self.num_query_pool, expected))
        self._check_widths()
        self._check_sides()

    def _check_widths(self) -> None:
        for stage, heads in enumerate(self.num_heads):
            wide, inner = self.dims(stage), int(self.dims(stage) * self.mlp_ratio)
            pools = stage and self.pools(stage)
            if not 1 <= wide <= LARGEST // 3 or (pools and wide == self.dims(stage - 1)):
                value = self.embed_dim_multiplier
                expected = "expected one that makes a width, another of each stage that pools"
                raise ConfigError(self._message("embed_dim_multiplier", value, expected))
            if not 1 <= inner <= LARGEST:
                expected = f"expected 1 / {wide} or more, and no more than {LARGEST} / {wide}"
                raise ConfigError(self._message("mlp_ratio", self.mlp_ratio, expected))
            if heads < 1 or wide % heads:
                expected = f"expected a divisor of {wide}, the width of stage {stage}"
                raise ConfigError(self._message("num_heads", self.num_heads, expected))

    def _check_sides(self) -> None:
        further, units = len(self.depths) - 1, self.masked_unit_size
        if any(unit % step**further for unit, step in zip(units, self.query_stride, strict=True)):
            expected = f"expected multiples of query_stride, once for each of {further} stages"
            raise ConfigError(self._message("masked_unit_size", units, expected))
        for side, step, pad in zip(
            self.patch_size, self.patch_stride, self.patch_padding, strict=True
        ):
            if pad < 0 or not 0 < side - 2 * pad <= step:
                expected = "expected patch_size less twice the padding above 0, at most the stride"
                raise ConfigError(self._message("patch_padding", self.patch_padding, expected))
        if any(side % unit for side, unit in zip(self.image_size, self.image_unit, strict=True)):
            expected = f"expected multiples of {self.image_unit}, the sides of a masked unit"
            raise ConfigError(self._message("image_size", self.image_size, expected))

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
