"""ViT's wiring (arXiv:2010.11929), which most encoders have: tokens of one width, normed first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..layers.dropout import Dropout, DropPath
from ..layers.initialisers import initialise
from ..layers.outputs import Trace
from .encoder import Encoder, PatchConfig
from .patches import Pair, PatchEmbedding, after_prefix, first_positions, pair


class PlainLayer(nn.Module):
    """Attention and MLP, each normed before and added after, perhaps scaled and dropped before.

    attn, mlp -- the family's own. eps, norm -- of both norms. scale -- what the learned factors of
    a branch's channels begin with; None where there are none. dropout, drop_path -- rates.
    """

    def __init__(
        self,
        dims: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        eps: float,
        norm: type[nn.LayerNorm | nn.RMSNorm] = nn.LayerNorm,
        scale: float | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attn_norm = norm(dims, eps=eps)
        self.attn = attn
        self.attn_dropout = Dropout(dropout)
        self.mlp_norm = norm(dims, eps=eps)
        self.mlp = mlp
        self.mlp_dropout = Dropout(dropout)
        if scale is not None:
            self.attn_scale = mx.full((dims,), scale)
            self.mlp_scale = mx.full((dims,), scale)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: mx.array, trace: Trace, *context: Any) -> mx.array:
        """(B, S, D) to (B, S, D). context -- what attention is given besides."""
        y = self.attn_dropout(self.attend(self.attn_norm(x), trace, *context))
        x = x + self.drop_path(self.attn_scale * y if "attn_scale" in self else y)
        y = self.mlp_dropout(self.mlp(self.mlp_norm(x)))
        return x + self.drop_path(self.mlp_scale * y if "mlp_scale" in self else y)

    def attend(self, x: mx.array, trace: Trace, *context: Any) -> mx.array:
        """What attention gives for (B, S, D), of the same shape."""
        return self.attn(x, *context, keep=trace.attentions)


@dataclass(kw_only=True)
class PlainConfig(PatchConfig):
    """Fields that all have, by these names; a size is one number or two, (h, w).

    distilled       -- whether a distillation token follows the class token
    zero_embeddings -- whether class tokens and positions of a new model are zero
    """

    distilled: ClassVar[bool] = False
    zero_embeddings: ClassVar[bool] = False
    hidden_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12

    @property
    def class_tokens(self) -> int:
        """How many tokens come before the patches, but for that of distillation."""
        return 1

    @property
    def position_table(self) -> bool:
        """Whether there are learned positions, which are added to all tokens."""
        return True

    @property
    def final_norm(self) -> bool:
        """Whether the features are normed."""
        return True


C = TypeVar("C", bound=PlainConfig)


class PlainEncoder(Encoder[C]):
    """Patches, class tokens, positions if any, layers, norm if any; families add the layers."""

    def __init__(self, config: C) -> None:
        super().__init__(config)
        dims, tokens, (rows, columns) = config.hidden_size, config.class_tokens, config.grid
        std = 0.0 if config.zero_embeddings else config.initializer_range
        self.patches = PatchEmbedding(config.num_channels, dims, pair(config.patch_size))
        if tokens:
            self.cls_token = mx.random.normal((1, tokens, dims), scale=std)
        if config.distilled:
            self.distillation_token = mx.zeros((1, 1, dims))
        if config.position_table:
            count = tokens + config.distilled + rows * columns
            self.position_embeddings = mx.random.normal((1, count, dims), scale=std)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.layers = [self.make_layer(index) for index in range(config.num_hidden_layers)]
        if config.final_norm:
            self.norm = nn.LayerNorm(dims, eps=config.layer_norm_eps)
        initialise(self, config.initializer_range)

    def make_layer(self, index: int) -> PlainLayer:
        """One of the layers, by its number from 0."""
        raise NotImplementedError

    def features(self, pixels: mx.array, interpolate: bool, trace: Trace) -> mx.array:
        """Pixels (B, H, W, C) to features (B, S, D), those of class tokens and their like first."""
        x, grid = self.tokens(pixels, interpolate)
        x = self.through_layers(self.dropout(x), trace, *self.context(grid))
        return self.norm(x) if "norm" in self else x

    def tokens(self, pixels: mx.array, interpolate: bool) -> tuple[mx.array, Pair]:
        """Class tokens and patches (B, S, D) with their positions, and the patches' grid."""
        x, grid = self.patches(pixels, self.fixed_size(pixels, interpolate))
        for token in ("distillation_token", "cls_token"):
            x = after_prefix(self[token], x) if token in self else x
        if "position_embeddings" not in self:
            return x, grid
        if not interpolate and self.is_narrow(tuple(pixels.shape[1:3])):
            return x + first_positions(self.position_embeddings, self.config.grid, grid[1]), grid
        return x + self.positions_of(grid), grid

    def context(self, grid: Pair) -> tuple[Any, ...]:
        """What layers are given besides the tokens, for a grid of patches."""
        return ()
