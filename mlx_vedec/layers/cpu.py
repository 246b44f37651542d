"""What is computed otherwise on a CPU, since MLX does element-wise work there on one core.

Each function here is chosen by the default device, holds the bounds of parity, and changes nothing
on a GPU.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable

import mlx.core as mx

# erf(x) = x·P(x²)/Q(x²) for |x| ≤ 4, from a fit of our own: off by 4e-7 at most in float32.
P = (1.12837898, 0.196247393, 0.0534672661, 0.00400358079, 0.00028804028, 1.97484328e-06)
Q = (1.0, 0.507250883, 0.11647577, 0.0154442868, 0.00121634504, 3.74809472e-05)
LARGEST = 4.0  # from here on erf is 1 in float32, to 2e-8
_OWN = threading.local()  # streams belong to the thread that made them


def on_cpu() -> bool:
    """Whether the default device is a CPU."""
    return mx.default_device().type == mx.DeviceType.cpu


def erf(x: mx.array) -> mx.array:
    """The error function; of float32 on a CPU four times faster than MLX's, number by number."""
    return _erf(x) if x.dtype == mx.float32 and on_cpu() else mx.erf(x)  # pyright: ignore


@mx.custom_function
def _erf(x: mx.array) -> mx.array:
    x = mx.clip(x, -LARGEST, LARGEST)
    square = x * x
    return x * _polynomial(P, square) / _polynomial(Q, square)


@_erf.vjp
def _erf_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    """By the exact derivative, which keeps nothing of the polynomials for the way back."""
    return cotangent * (2 / math.sqrt(math.pi)) * mx.exp(-x * x)


def _polynomial(coefficients: tuple[float, ...], x: mx.array) -> mx.array:
    *rest, value = coefficients
    total = x * value + rest.pop()
    while rest:
        total = total * x + rest.pop()
    return total


def by_rows(function: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    """A function of a batch (B, …), its rows shared out among the cores of a CPU.

    Each part has a stream of its own, so what one core does number by number several do at once.
    Rows must not depend on each other.
    """
    parts = min(len(x), cores()) if on_cpu() else 1
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
