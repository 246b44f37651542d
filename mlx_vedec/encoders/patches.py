"""Images cut into patches, and position tables resized to another grid of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..checkpoints.config import LARGEST
from ..errors import ConfigError, ImageError

Pair = tuple[int, int]
Weights = Callable[[int, int], np.ndarray]  # (size, new size) to (new, size)


@dataclass(frozen=True)
class Grid:
    """Which place of an image each of S features stands for: prefix, then the places row by row.

    prefix -- how many features come first and stand for no place: class token, registers
    cell   -- height and width of a place, in pixels
    suffix -- how many features come last and stand for no place: detection tokens
    """

    prefix: int
    rows: int
    columns: int
    cell: Pair
    suffix: int = 0

    @property
    def features(self) -> int:
        """How many features there are, S."""
        return self.prefix + self.rows * self.columns + self.suffix


def pair(size: int | tuple[int, ...], name: str = "size") -> Pair:
    """(height, width) of a size given as one number or as two."""
    sides: Any = (size, size) if isinstance(size, int) else size
    sides = tuple(sides) if isinstance(sides, (list, tuple)) else ()
    if len(sides) != 2 or not all(type(side) is int and 0 < side <= LARGEST for side in sides):
        found = repr(size)[:80]
        raise ConfigError(f"{name} is {found}; expected a positive number or [height, width]")
    return sides[0], sides[1]


def grid_of(image: Pair, patch: Pair) -> Pair:
    """Whole patches down and across; what remains at the edges is not read."""
    rows, columns = image[0] // patch[0], image[1] // patch[1]
    if not rows or not columns:
        raise ConfigError(f"a patch of {patch} does not fit an image of {image}")
    if rows * columns > LARGEST // 2:
        raise ConfigError(f"an image of {image} has {rows * columns} patches of {patch}; too many")
    return rows, columns


def check_pixels(pixels: mx.array, channels: int, size: Pair | None) -> None:
    """Raise `ImageError` unless pixels are (B, H, W, channels) and, if given, of this size."""
    shape = tuple(pixels.shape)
    if len(shape) != 4 or shape[-1] != channels:
        hint = "the channels come last in MLX"
        if len(shape) == 4 and shape[1] == channels:
            hint += "; use pixel_values.transpose(0, 2, 3, 1)"
        raise ImageError(
            f"pixel_values are {shape}; expected (batch, height, width, {channels}): {hint}"
        )
    if size is not None and shape[1:3] != size:
        raise ImageError(
            f"image is {shape[1]}×{shape[2]} but this encoder was built for {size[0]}×{size[1]}; "
            "use processor(images=image), or interpolate_pos_encoding=True for another size"
        )


class PatchEmbedding(nn.Module):
    """One linear map per patch, stored as a convolution whose stride is its kernel."""

    def __init__(self, channels: int, dims: int, patch: Pair, *, bias: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.patch = patch
        self.projection = nn.Conv2d(channels, dims, kernel_size=patch, stride=patch, bias=bias)

    def __call__(self, pixels: mx.array, size: Pair | None = None) -> tuple[mx.array, Pair]:
        """Pixels (B, H, W, C), of `size` if that is given, to patches (B, N, D) and their grid."""
        check_pixels(pixels, self.channels, size)
        grid = grid_of((pixels.shape[1], pixels.shape[2]), self.patch)
        x = self.projection(pixels.astype(self.projection.weight.dtype))
        return x.flatten(1, 2), grid


def for_each(tokens: mx.array, images: mx.array) -> mx.array:
    """Tokens (1, P, D), such as registers, once for each of B images, as (B, P, D)."""
    return mx.broadcast_to(tokens, (len(images), *tokens.shape[1:]))


def after_prefix(prefix: mx.array, patches: mx.array) -> mx.array:
    """Tokens (1, P, D), such as the class token, put before the patches (B, N, D) of each image."""
    return mx.concatenate([for_each(prefix, patches), patches], axis=1)


def resize_positions(table: mx.array, grid: Pair, new: Pair, resample: str = "bicubic") -> mx.array:
    """Positions (…, P + rows·columns, D) for another grid, as torch resizes them.

    The first P rows, those of the class token and so on, stay as they are. resample -- one of
    `RESAMPLES`
    """
    if grid == new:
        return table
    own, places = mx.split(table, [table.shape[-2] - grid[0] * grid[1]], axis=-2)
    resized = resize_table(places, grid, new, RESAMPLES[resample])
    return mx.concatenate([own, resized.reshape(*own.shape[:-2], *resized.shape)], axis=-2)


def first_positions(table: mx.array, grid: Pair, columns: int) -> mx.array:
    """Positions (1, P + rows·columns, D) of the first columns of the grid, and the first P rows."""
    own, places = mx.split(table, [table.shape[1] - grid[0] * grid[1]], axis=1)
    kept = places.reshape(*grid, -1)[:, :columns].flatten(0, 1)
    return mx.concatenate([own, kept[None]], axis=1)


def resize_table(table: mx.array, grid: Pair, new: Pair, weights: Weights) -> mx.array:
    """A table (rows·columns, D) resized to another grid, in float32, by weights along each side."""
    down, across = weights(grid[0], new[0]), weights(grid[1], new[1])
    x = table.astype(mx.float32).reshape(*grid, -1)
    x = mx.einsum("ij,jkd->ikd", mx.array(down), x)
    x = mx.einsum("ij,kjd->kid", mx.array(across), x)
    return x.flatten(0, 1).astype(table.dtype)


@lru_cache
def bilinear(size: int, new: int) -> np.ndarray:
    """Weights (new, size) of linear interpolation, half-pixel centres, edges repeated."""
    centres = ((np.arange(new) + 0.5) * size / new - 0.5).clip(0, size - 1)
    distances = abs(np.arange(size) - centres[:, None])
    return np.maximum(1 - distances, 0).astype(np.float32)


@lru_cache
def _bicubic(size: int, new: int) -> np.ndarray:
    """Weights (new, size) of cubic convolution, a = -0.75, half-pixel centres, edges repeated."""
    matrix = np.zeros((new, size))
    for row in range(new):
        centre = (row + 0.5) * size / new - 0.5
        first = int(np.floor(centre)) - 1
        for tap in range(first, first + 4):
            matrix[row, min(max(tap, 0), size - 1)] += _cubic(abs(centre - tap), -0.75)
    return matrix.astype(np.float32)


@lru_cache
def _antialiased(size: int, new: int) -> np.ndarray:
    """Weights (new, size) as Pillow's: a = -0.5, wider when shrinking, nothing past the edges."""
    return _summing_to_one(np.vectorize(_cubic)(_distances(size, new), -0.5))


@lru_cache
def _antialiased_bilinear(size: int, new: int) -> np.ndarray:
    """Weights (new, size) as Pillow's: wider when shrinking, nothing past the edges."""
    return _summing_to_one(np.maximum(1 - _distances(size, new), 0))


def _distances(size: int, new: int) -> np.ndarray:
    """Distances (new, size) of old places from new ones, over the wider of their spacings."""
    scale = size / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    return abs(np.arange(size) - centres[:, None]) / max(scale, 1)


def _summing_to_one(matrix: np.ndarray) -> np.ndarray:
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(distance: float, a: float) -> float:
    """Keys' kernel (1981), which is zero from a distance of 2 on."""
    if distance >= 2:
        return 0.0
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


RESAMPLES: dict[str, Weights] = {
    "bicubic": _bicubic,
    "bicubic antialiased": _antialiased,
    "bilinear": bilinear,
    "bilinear antialiased": _antialiased_bilinear,
}
