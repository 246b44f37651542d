"""Several processes that train one model: sums over them, and what the first one tells the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from ..errors import TrainingError


def summed(values: Sequence[float], group: mx.distributed.Group) -> list[float]:
    """Sums over all processes."""
    if group.size() == 1:
        return [*values]
    return _sum(mx.array([*values], mx.float32), group).tolist()  # pyright: ignore[reportReturnType]


def told(tell: Callable[[], dict[str, Any]], group: mx.distributed.Group) -> dict[str, Any]:
    """What the first process gets from `tell`, in all of them; so with its error."""
    if group.size() == 1:
        return tell()
    text = _telling(tell) if group.rank() == 0 else b""
    length: Any = _sum(mx.array(len(text), mx.int32), group).item()
    given = mx.array([*text] if text else [0] * int(length), mx.int32)
    said = json.loads(bytes(_sum(given, group).tolist()))  # pyright: ignore
    if "error" in said:
        raise TrainingError(said["error"])
    return said["value"]


def same(tree: Any, group: mx.distributed.Group) -> Any:
    """The first process's arrays, in all of them."""
    if group.size() == 1:
        return tree
    first = group.rank() == 0
    return tree_map(lambda x: _sum(x if first else mx.zeros_like(x), group), tree)


def _telling(tell: Callable[[], dict[str, Any]]) -> bytes:
    try:
        said = {"value": tell()}
    except (ValueError, OSError) as error:
        said = {"error": str(error)}
    return json.dumps(said).encode()


def _sum(array: mx.array, group: mx.distributed.Group) -> mx.array:
    total = mx.distributed.all_sum(array, group=group)
    mx.eval(total)
    return total
