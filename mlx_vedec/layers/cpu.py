"""Work shared out among the cores of a CPU, where MLX does what is no product on one of them.

Large work is cut into pieces that stay in a core's cache, which are shared out among the cores; on
a core one piece follows the other, so that only one piece of what is computed on the way is held.
All of this is chosen by the default device; on a GPU and in `plain()` nothing is cut. What a CPU
computes by formulas of its own is in `cpu_formulas`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import mlx.core as mx

from .compiled import on_gpu

PIECE = 1 << 18  # numbers of a piece: 1 MiB, a core's second cache
SHARE = 1 << 16  # numbers that pay for handing work to another core,
PRODUCTS = 1 << 25  # and products, of a linear layer of equal widths
Function = Callable[[mx.array], mx.array]
OnPiece = Callable[[mx.array, slice], mx.array]


class _Own(threading.local):
    """A thread's streams, which nobody else may use, and what it is at."""

    def __init__(self) -> None:
        self.streams: list[mx.Stream] = []
        self.shared = False  # the work is one core's share already
        self.plain = False


_OWN = _Own()
_LOCK = threading.Lock()
_BLAS = SimpleNamespace(users=0, before=0)


@contextmanager
def plain() -> Iterator[None]:
    """A context in which this thread builds what any device computes, to compile or export."""
    outer, _OWN.plain = _OWN.plain, True
    try:
        yield
    finally:
        _OWN.plain = outer


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A context in which OpenBLAS, where MLX computes with it, has one thread for each caller.

    What is computed in the context has to be evaluated in it. After the last of those that are
    open at a time, in any thread, the number of threads is what it was.
    """
    if not on_cpu() or (blas := _openblas()) is None:
        yield
        return
    with _LOCK:
        _BLAS.before = _BLAS.before if _BLAS.users else blas.openblas_get_num_threads()
        _BLAS.users += 1
        blas.openblas_set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            _BLAS.users -= 1
            if not _BLAS.users:
                blas.openblas_set_num_threads(_BLAS.before)


@cache
def _openblas() -> ctypes.CDLL | None:
    """The OpenBLAS whose functions all libraries of this process see, MLX's among them."""
    try:
        process = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such view
        return None
    return process if hasattr(process, "openblas_set_num_threads") else None


def has_openblas() -> bool:
    """Whether matrix products on a CPU are OpenBLAS's, as far as can be seen."""
    return _openblas() is not None


def _blas_threads() -> int:
    blas = _openblas()
    return 1 if blas is None else blas.openblas_get_num_threads()


def held_at_once(numbers: int) -> int:
    """How many of so many numbers that are computed on the way are there at a time.

    On a core, those of a piece and what of the next one has begun.
    """
    return min(numbers, cores() * PIECE * 5 // 4) if on_cpu() else numbers


def cores() -> int:
    """How many cores work is shared out among: this process's, or fewer by OMP_NUM_THREADS."""
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(there, int(asked)) if asked.isdecimal() and int(asked) else there


def by_rows(function: Function, x: mx.array) -> mx.array:
    """A function of a batch (B, …), its rows shared out among the cores of a CPU.

    Each share has a stream of its own, so what one core does number by number several do at once.
    Rows must not depend on each other.
    """
    return _shared(lambda share, _: function(x[share]), len(x), len(x)) if on_cpu() else function(x)


def in_pieces(function: OnPiece, x: mx.array, *, axis: int, numbers: int) -> mx.array:
    """What a function makes of pieces of x, joined along the axis; it is told each piece's place.

    numbers -- how many are computed on the way for each index of the axis, which decide how large
    a piece is and how many cores share the work
    """
    length = x.shape[axis]
    if not on_cpu() or length * numbers <= SHARE:
        return function(x, slice(0, length))

    def share_of(share: slice, size: int) -> mx.array:
        found: list[mx.array] = []
        for place in _cut(share, -(-size // max(1, PIECE // numbers))):
            piece = x[(slice(None),) * axis + (place,)] if place != slice(0, length) else x
            if found:  # MLX would take all pieces a step further in turn, and hold them all
                piece = mx.depends(piece, found[-1])
            found.append(function(piece, place))
        return _joined(found, axis)

    return _shared(share_of, length, length * numbers // SHARE, axis)


def by_tokens(function: Function, x: mx.array, numbers: int | None = None) -> mx.array:
    """A function of tokens (…, D) by themselves, shared out among the cores of a CPU.

    numbers -- how many are computed on the way for each token, of which a piece is held at a time
    """
    dims = x.shape[-1]
    shares = x.size * dims // PRODUCTS if numbers is None else x.size // dims * numbers // SHARE
    if not on_cpu() or shares < 2:
        return function(x)  # as in a decode step
    tokens = x.reshape(-1, dims)
    if numbers is None:
        found = _shared(lambda share, _: function(tokens[share]), len(tokens), shares)
    else:
        found = in_pieces(lambda piece, _: function(piece), tokens, axis=0, numbers=numbers)
    return found.reshape(*x.shape[:-1], -1)


def _shared(
    function: Callable[[slice, int], mx.array], length: int, shares: int, axis: int = 0
) -> mx.array:
    """What a function makes of shares of a length, joined; each share has a stream.

    The length is left whole where one core would be long at work after the others, and where
    OpenBLAS has several threads, which would wait, at work, for the cores of the shares.
    """
    parts = 1 if _OWN.shared or _blas_threads() > 1 else min(shares, cores(), length)
    if parts < 2 or (length % parts and length < 4 * parts):
        return function(slice(0, length), length)
    found, _OWN.shared = [], True
    try:
        for stream, place in zip(_streams(parts), _cut(slice(0, length), parts), strict=True):
            with mx.stream(stream):
                found.append(function(place, place.stop - place.start))
    finally:
        _OWN.shared = False
    return _joined(found, axis)


def _cut(place: slice, parts: int) -> list[slice]:
    """A slice in parts of about equal length, none of them empty."""
    length = place.stop - place.start
    parts = max(1, min(parts, length))
    bounds = [place.start + length * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]


def _joined(parts: list[mx.array], axis: int) -> mx.array:
    return mx.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


def _streams(count: int) -> list[mx.Stream]:
    while len(_OWN.streams) < count:
        _OWN.streams.append(mx.new_stream(mx.cpu))
    return _OWN.streams[:count]


def on_cpu() -> bool:
    """Whether this thread computes as a CPU does."""
    return not on_gpu() and not _OWN.plain
