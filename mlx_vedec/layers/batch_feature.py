"""What processors give and models take: arrays by name, of the kind that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from ..errors import OptionError, check_type

if TYPE_CHECKING:
    from typing_extensions import Self

LOG = logging.getLogger("mlx_vedec")


@dataclass(eq=False)
class BatchFeature(Mapping[str, Any]):
    """What a model takes: pixels (B, H, W, C) float32, labels or tokens (B, L) int32.

    A mapping of what is set, so that `model(**batch)` works.
    """

    pixel_values: Any = None
    labels: Any = None
    input_ids: Any = None

    def __getitem__(self, name: str) -> Any:
        if name not in tuple(self):
            raise KeyError(f"{name} is not in the batch; it has {', '.join(self)}")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self) if getattr(self, f.name) is not None)

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The batch itself: MLX's arrays lie where every device reads them."""
        return self


def as_tensors(values: Any, return_tensors: str | None) -> Any:
    """An array of the kind that `return_tensors` names: "np" numpy's, "mx" MLX's, which is usual.

    "pt", which code written for torch asks for, is "mx" too, and a note on stderr says so once.
    """
    check_type("return_tensors", return_tensors, (str, type(None)), "'mx' or 'np'")
    if return_tensors == "pt":
        _note()
    elif return_tensors not in (None, "mx", "np"):
        raise OptionError(
            f"return_tensors is {str(return_tensors)[:40]!r}; expected 'mx' or 'np'; 'pt' is taken "
            "as 'mx'"
        )
    return np.asarray(values) if return_tensors == "np" else mx.array(values)


@cache
def _note() -> None:
    LOG.warning(
        "return_tensors='pt' gives MLX arrays here, with the channels of pixel_values last; "
        "'mx' is the same without this note"
    )
