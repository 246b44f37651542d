"""What all image encoders share: pixels in, features out."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import mlx.core as mx
import numpy as np

from ..checkpoints.config import Config
from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, ImageError
from ..layers.computing import check_process
from ..layers.cpu import by_rows
from ..layers.outputs import EncoderOutput, Trace
from ..layers.token_ids import as_array
from .patches import Grid, Pair, PatchEmbedding, grid_of, pair, resize_positions

Size = int | tuple[int, ...]
BLANK = 1e-3  # pixels that differ by less are alike


@dataclass(frozen=True)
class ProcessorSize:
    """The (height, width) of the images that the processor beside an encoder makes."""

    height: int
    width: int


@dataclass(kw_only=True)
class EncoderConfig(Config):
    """Base of the encoders' configs.

    prompts_are_whole -- whether a prompt of the decoder gets no start token before it, since it
                         has its own, as Donut's prompts do
    any_size          -- whether positions are resized to any image without being asked
    square_only       -- whether transformers computes with a square image_size alone
    resample          -- how positions are resized, one of `patches.RESAMPLES`
    """

    prompts_are_whole: ClassVar[bool] = False
    any_size: ClassVar[bool] = False
    square_only: ClassVar[bool] = False
    resample: ClassVar[str] = "bicubic"

    @property
    def feature_dims(self) -> int:
        """Width of the features: `hidden_size` in Hugging Face's configs."""
        raise NotImplementedError

    @property
    def image_unit(self) -> Pair:
        """What divides the height and the width of images that fit, in pixels."""
        raise NotImplementedError

    def grid_of_images(self, image_size: Pair) -> Pair:
        """Patches down and across of images of this size; `ConfigError` where it does not fit."""
        height, width = image_size
        down, across = self.image_unit
        if height < 1 or width < 1 or height % down or width % across:
            raise ConfigError(
                f"image_size is {height}×{width}; expected a height that {down} divides and a "
                f"width that {across} divides, since {self.model_type} cuts images so"
            )
        if self.square_only and height != width:
            raise ConfigError(
                f"image_size is {height}×{width}; expected a square, since transformers reads a "
                f"position table of {self.model_type} so; a processor's size may be any"
            )
        resized = copy.copy(self)
        resized.image_size = image_size  # pyright: ignore[reportAttributeAccessIssue]
        return resized.grid  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(kw_only=True)
class PatchConfig(EncoderConfig):
    """Fields of encoders that keep one width throughout; a size is one number or two, (h, w)."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    image_size: Size = 224
    patch_size: Size = 16
    num_channels: int = 3

    def check(self) -> None:
        """Raise `ConfigError` unless heads divide the width and the image holds a patch."""
        super().check()
        self.divisible("hidden_size", "num_attention_heads")
        grid_of(pair(self.image_size, "image_size"), pair(self.patch_size, "patch_size"))

    @property
    def feature_dims(self) -> int:
        """Width of the features."""
        return self.hidden_size

    @property
    def image_unit(self) -> Pair:
        """A patch."""
        return pair(self.patch_size)

    @property
    def grid(self) -> Pair:
        """Patches down and across of an image of the configured size."""
        return grid_of(pair(self.image_size), pair(self.patch_size))


C = TypeVar("C", bound=EncoderConfig)


class Encoder(Pretrained, Generic[C]):
    """Base of the families, which add `features`."""

    config_class: ClassVar[type[EncoderConfig]]
    config: C
    layers: list[Any]  # each of the family's own kind
    patches: PatchEmbedding
    register_tokens: mx.array  # (1, R, D), in families that have them
    position_embeddings: mx.array  # (1, P + N, D) or (P + N, D), likewise

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.processor_size: ProcessorSize | None = None  # of a processor that differs

    def __call__(
        self,
        pixel_values: mx.array,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Pixels (B, H, W, C) to features (B, S, D); on request, what each layer gave and attended.

        interpolate_pos_encoding -- resize the positions to an image of another size than the
        config's, in families that do not do so by themselves.
        """
        check_process()
        pixels = as_array(pixel_values, "pixel_values", error=ImageError)
        trace = Trace.of(output_attentions, output_hidden_states)

        def read(rows: mx.array) -> mx.array:
            return self.features(rows, interpolate_pos_encoding, trace)

        fits = pixels.ndim == 4 and pixels.shape[-1] == getattr(self.config, "num_channels", 0)
        apart = fits and not (self.training or output_attentions or output_hidden_states)
        features = by_rows(read, pixels) if apart else read(pixels)
        return EncoderOutput.traced(features, trace)

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D)."""
        raise NotImplementedError

    @property
    def takes_any_size(self) -> bool:
        """Whether images may have any size without `interpolate_pos_encoding`."""
        return self.config.any_size

    def fixed_size(self, pixels: mx.array, interpolate: bool) -> Pair | None:
        """The (height, width) that these pixels must have; None where positions are interpolated.

        They are where the call asks for it, and for images of the size that the processor makes
        (`processor_size`), which is the one that the checkpoint was trained at.
        """
        size, made = tuple(pixels.shape[1:3]), self.processor_size
        own = pair(self.config.image_size)  # pyright: ignore[reportAttributeAccessIssue]
        if (
            interpolate
            or self.takes_any_size
            or self.is_narrow(size)
            or (made is not None and size == (made.height, made.width))
        ):
            return None
        if made is not None and size != own:
            raise ImageError(
                f"image is {'×'.join(map(str, size))}; expected {made.height}×{made.width}, which "
                f"preprocessor_config.json says, or {own[0]}×{own[1]}, the image_size of "
                "config.json; use processor(images=image), or interpolate_pos_encoding=True"
            )
        return own

    def is_narrow(self, size: tuple[int, ...]) -> bool:
        """Whether images of this (height, width) are the left of those it was trained on.

        A checkpoint that was trained on both says so by `narrow_images` in the encoder's config, a
        key of our own; the patches of narrow images have the positions of the first columns.
        """
        return False

    def part(self, pixels: mx.array) -> float:
        """What part of the image that it was built for the pixels (B, H, W, C) are: 1 or less."""
        own: Any = self.config
        narrow = self.is_narrow(tuple(pixels.shape[1:3]))
        return pixels.shape[2] / pair(own.image_size)[1] if narrow else 1.0

    def narrowed(self, pixels: mx.array) -> mx.array:
        """Pixels (B, H, W, C) less blank columns on the right, where the encoder needs none.

        What is left is a quarter of the width, or several, with at least a patch that is blank.
        """
        height, width = pixels.shape[1:3]
        quarter = width // 4
        if not self.is_narrow((height, quarter)):
            return pixels
        values = np.array(pixels)
        inked = np.abs(values - values[:, :, -1:]).max(axis=(0, 1, 3)) > BLANK
        needed = np.flatnonzero(inked).max(initial=0) + 1 + self.config.image_unit[1]
        return pixels[:, :, : -(-needed // quarter) * quarter]

    def positions_of(self, grid: Pair) -> mx.array:
        """The position table as it is stored, interpolated to another grid of patches."""
        own: Any = self.config
        return resize_positions(self.position_embeddings, own.grid, grid, own.resample)

    def resize_images(self, image_size: Pair) -> None:
        """Make images of this (height, width), in pixels, the encoder's own.

        Its position tables and its config become those of the new size; what it computes for such
        images is what it computed with `interpolate_pos_encoding`.
        """
        grid = self.config.grid_of_images(image_size)
        if "position_embeddings" in self:
            self.position_embeddings = self.positions_of(grid)
        own: Any = self.config
        one = isinstance(own.image_size, int) and image_size[0] == image_size[1]
        own.image_size = image_size[0] if one else image_size
        self.processor_size = None

    @property
    def prefix_tokens(self) -> int:
        """How many features come before those of the patches: class token, registers and so on."""
        names = ("cls_token", "distillation_token", "register_tokens")
        return sum(math.prod(self[name].shape[:-1]) for name in names if name in self)

    def grid(self, height: int, width: int) -> Grid:
        """Which place of an image of this height and width, in pixels, each feature stands for."""
        if "patches" not in self:
            raise ConfigError(
                f"{type(self).__name__} has no patches, so nobody knows where its features lie; "
                "expected an encoder that cuts images into them; give it a grid(height, width)"
            )
        cell = self.patches.patch
        return Grid(self.prefix_tokens, *grid_of((height, width), cell), cell)

    def through_layers(self, x: mx.array, trace: Trace, *context: Any) -> mx.array:
        """Tokens (B, S, D) through `self.layers`, each called with the trace and the context."""
        trace.keep(x)
        for layer in self.in_turn(self.layers):
            x = layer(x, trace, *context)
            trace.keep(x)
        return x
