"""Half precision that overflows: it is noticed, and the part goes on in float32."""

from __future__ import annotations

import warnings
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints import weights

HALF_TYPES = (mx.float16, mx.bfloat16)


def is_finite(x: mx.array) -> bool:
    """Whether every number is finite; waits until they are computed."""
    return bool(mx.isfinite(x).all().item())


def widen(name: str, part: Any, model: Any = None) -> None:
    """Make a model's encoder or decoder float32, if it was in half precision, with a warning.

    model -- the whole one, whose projection between the two becomes float32 with the decoder
    """
    if not any(x.dtype in HALF_TYPES for x in weights.parameters(part).values()):
        return
    warnings.warn(
        f"the {name} overflows in half precision; from now on it computes in float32 "
        f'(load(…, dtype="float32") to begin so)',
        stacklevel=4,
    )
    part.astype(mx.float32)
    projection = getattr(model, "enc_to_dec_proj", None)
    if isinstance(projection, nn.Module):
        projection.set_dtype(mx.float32)


def not_finite(name: str, given: str) -> str:
    """The message of an error where float32 does not help either."""
    return (
        f"the {name} gives values that are not finite, in float32 too; expected finite "
        f"{given} and weights; check that the pixels are finite, and the checkpoint's files"
    )
