"""Work done ahead of where it is needed, by threads that end with the iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead_of(
    make: Callable[[A], B], items: Iterable[A], *, workers: int = 2, ahead: int = 2
) -> Generator[B, None, None]:
    """`map(make, items)`, in order, with up to `ahead` results made beforehand.

    What `make` raises comes where its result would. Closing the iterator waits for what the
    threads have begun, and ends them. MLX's arrays belong to a thread, so `make` is for others.
    Without workers it is done when it is asked for.
    """
    if not workers:
        yield from map(make, items)
        return
    remaining = iter(items)
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mlx_vedec-data") as pool:
        try:
            while True:
                for item in remaining:
                    waiting.append(pool.submit(make, item))
                    if len(waiting) > ahead:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
