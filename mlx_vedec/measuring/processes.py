"""What processes that evaluate or train together tell each other, by `mx.distributed`.

Without a group, or in a group of one process, nothing is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from ..errors import ProcessError

Group = mx.distributed.Group
Item = TypeVar("Item")
OF_BACKENDS = re.compile(r"\[(ring|mpi|jaccl)\]|nccl", re.IGNORECASE)


@contextmanager
def together(group: Group | None) -> Iterator[None]:
    """Within it, MLX's error of a process whose connection is lost is a `ProcessError`."""
    try:
        yield
    except RuntimeError as error:
        if group is None or group.size() == 1 or not OF_BACKENDS.search(str(error)):
            raise
        raise ProcessError(
            f"process {group.rank()} of {group.size()} has lost another one, which has ended "
            f"({error}); see what that one says, then begin all again, with resume where they train"
        ) from error


def gather(value: Any, group: Group | None) -> list[Any]:
    """The JSON values of all processes by rank, in each of them."""
    if group is None or group.size() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    with together(group):
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


def in_shares(
    read: Callable[[Sequence[Item]], list[Any]], items: Sequence[Item], group: Group | None
) -> list[Any]:
    """What `read` gives for each of the items, a JSON value; each process reads a share of them."""
    rank, world = (group.rank(), group.size()) if group else (0, 1)
    found: list[Any] = [None] * len(items)
    for process, part in enumerate(gather_results(lambda: read(items[rank::world]), group)):
        found[process::world] = part
    return found


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

    with together(group):
        return tree_map(sent, arrays)


def _rows(values: np.ndarray, group: Group) -> np.ndarray:
    """Gather a row of numbers (N,) from each process as (processes, N)."""
    own = mx.array(values[None])
    return np.array(mx.distributed.all_gather(own, group=group))
