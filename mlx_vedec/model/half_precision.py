"""Half precision that overflows: noticed, and left for float32."""

from __future__ import annotations

import warnings
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints import weights

HALVES = (mx.float16, mx.bfloat16)


def is_finite(x: mx.array) -> bool:
    """Whether every number is finite; waits for them."""
    return bool(mx.isfinite(x).all().item())


def widen(name: str, half: Any, model: Any = None) -> None:
    """Make a half of the model float32, if it was in half precision."""
    if not any(x.dtype in HALVES for x in weights.parameters(half).values()):
        return
    warnings.warn(
        f"the {name} overflows in half precision; from now on it computes in float32 "
        f'(load(…, dtype="float32") to begin so)',
        stacklevel=4,
    )
    half.astype(mx.float32)
    projection = getattr(model, "enc_to_dec_proj", None)
    if isinstance(projection, nn.Module):
        projection.set_dtype(mx.float32)


def not_finite(name: str, given: str) -> str:
    """What is said where float32 does not help either."""
    return (
        f"the {name} gives values that are not finite, in float32 too; expected finite "
        f"{given} and weights; check that the pixels are finite, and the checkpoint's files"
    )
