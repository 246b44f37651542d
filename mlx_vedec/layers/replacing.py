"""Layers of a model put in the places of others."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.nn as nn
from mlx.utils import tree_unflatten


def replace_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put each layer in the place that its path names; it trains if the model does."""
    model.update_modules(tree_unflatten([*layers.items()]))  # pyright: ignore[reportArgumentType]
    model.train(model.training)
