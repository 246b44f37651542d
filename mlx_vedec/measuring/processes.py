"""What processes that evaluate or train together tell each other, by `mx.distributed`.

Without a group, or in a group of one process, nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from ..errors import ProcessError

Group = mx.distributed.Group


def gather(value: Any, group: Group | None) -> list[Any]:
    """The JSON values of all processes by rank, in each of them."""
    if group is None or group.size() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    lengths = _rows(np.array([len(data)], dtype=np.int32), group)[:, 0]
    padded = np.zeros(lengths.max(), dtype=np.uint8)
    padded[: len(data)] = data
    rows = _rows(padded, group)
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]


def gather_results(make: Callable[[], Any], group: Group | None) -> list[Any]:
    """The JSON values that `make` gives in all processes, by rank, in each of them.

    If it raises in one process, all raise, so that none waits for it: a `ProcessError` elsewhere.
    """
    value, failure = None, None
    try:
        value = make()
    except (ValueError, OSError) as error:
        failure = error
    found = gather([value, failure and str(failure)], group)
    if failure is not None:
        raise failure
    for rank, (_, message) in enumerate(found):
        if message is not None:
            raise ProcessError(f"process {rank} failed: {message}")
    return [value for value, _ in found]


def from_first(make: Callable[[], Any], group: Group) -> Any:
    """The JSON value that `make` gives in the first process, in all of them; its error, too."""
    return gather_results(make if group.rank() == 0 else lambda: None, group)[0]


def broadcast(arrays: Any, group: Group) -> Any:
    """A tree of the first process's arrays, in all of them; each gives a tree of these shapes."""
    if group.size() == 1:
        return arrays

    def sent(x: mx.array) -> mx.array:
        total = mx.distributed.all_sum(x if group.rank() == 0 else mx.zeros_like(x), group=group)
        mx.eval(total)  # one by one, so that all processes send them in one order
        return total

    return tree_map(sent, arrays)


def _rows(values: np.ndarray, group: Group) -> np.ndarray:
    """Gather a row of numbers (N,) from each process as (processes, N)."""
    own = mx.array(values[None])
    return np.array(mx.distributed.all_gather(own, group=group, stream=mx.cpu))
