"""Results computed by threads ahead of where they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def prefetched(
    make: Callable[[A], B], items: Iterable[A], *, workers: int = 2, ahead: int = 2
) -> Generator[B, None, None]:
    """`map(make, items)`, in order, with up to `ahead` results computed beforehand.

    What `make` raises is raised where its result would come. Closing the iterator waits for the
    calls that threads have begun, and ends the threads. An MLX array belongs to one thread, so
    `make` returns none. With workers=0 there are no threads.
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
