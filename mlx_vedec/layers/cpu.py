"""Rows of a batch shared out among the cores of a CPU, where MLX does element-wise work on one.

Chosen by the default device; nothing changes on a GPU.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import mlx.core as mx

_OWN = threading.local()  # streams belong to the thread that made them


def by_rows(function: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    """A function of a batch (B, …), its rows shared out among the cores of a CPU.

    Each part has a stream of its own, so what one core does number by number several do at once.
    Rows must not depend on each other.
    """
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    parts = min(len(x), cores()) if on_cpu else 1
    if parts < 2:
        return function(x)
    bounds = [len(x) * part // parts for part in range(1, parts)]
    found = []
    for stream, rows in zip(_streams(parts), mx.split(x, bounds), strict=True):
        with mx.stream(stream):
            found.append(function(rows))
    return mx.concatenate(found)


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _streams(count: int) -> list[mx.Stream]:
    found = _OWN.__dict__.setdefault("streams", [])
    while len(found) < count:
        found.append(mx.new_stream(mx.cpu))
    return found[:count]
