"""Which of equal scores count as the highest: those that torch's `topk` finds on a CPU.

It matters where fewer beams have a candidate than are asked for, as after a forced end: what is
returned in their place are transformers' sequences, and those hang on the order of equals. torch
partitions with the C++ library's `nth_element`, and where the few are wanted of very many it keeps
them in a heap, as `partial_sort` does; both are deterministic, and followed here step by step.
"""

from __future__ import annotations

import numpy as np

FEW = 16  # scores that are sorted without being parted
MANY = 64  # times as many scores as are wanted, from which on torch keeps a heap
Entry = tuple[float, int]  # a score, and its place


def highest(scores: np.ndarray, count: int) -> list[int]:
    """The places of the highest scores (M,), highest first; of equals, those that torch takes."""
    most = min(count, len(scores) - 1)
    places = np.argpartition(-scores, most)[: most + 1]
    if np.unique(scores[places]).size == places.size:  # no equals among them
        return places[np.argsort(-scores[places])][:count].tolist()
    entries = [(score, place) for place, score in enumerate(scores.tolist())]
    if count * MANY <= len(entries):
        # what is no higher than the lowest of all never comes into the heap
        lowest = scores.min()
        return _heaped([e for e in entries if e[1] < count or e[0] > lowest], count)
    _partition(entries, count - 1)
    _part(entries, 0, count - 1)
    return [place for _, place in [*_sorted(entries[: count - 1]), entries[count - 1]]]


def _partition(x: list[Entry], nth: int) -> None:
    """Reorder entries so that those before the n-th are no lower than it, and the others no higher.

    Hoare's quickselect, the pivot being the median of three; a few entries are sorted.
    """
    first, last, depth = 0, len(x), 2 * (len(x).bit_length() - 1)
    while last - first > 3:
        if not depth:
            x[first:last] = _selected(x[first:last], nth + 1 - first)
            x[first], x[nth] = x[nth], x[first]
            return
        depth -= 1
        cut = _cut(x, first, last)
        first, last = (cut, last) if cut <= nth else (first, cut)
    x[first:last] = _sorted(x[first:last])


def _part(x: list[Entry], first: int, last: int) -> None:
    """Part entries around pivots until at most a few stand between two of them."""
    while last - first > FEW:
        cut = _cut(x, first, last)
        _part(x, cut, last)
        last = cut


def _sorted(x: list[Entry]) -> list[Entry]:
    """Entries, the highest first, equals as they stood."""
    return sorted(x, key=lambda entry: -entry[0])


def _cut(x: list[Entry], first: int, last: int) -> int:
    """Part entries around a pivot, which is moved to the front; the place of the first low one."""
    three = (first + 1, first + (last - first) // 2, last - 1)
    middle = _median(*(x[i][0] for i in three))
    x[first], x[three[middle]] = x[three[middle]], x[first]
    pivot, low, high = x[first][0], first + 1, last
    while True:
        while x[low][0] > pivot:
            low += 1
        high -= 1
        while pivot > x[high][0]:
            high -= 1
        if low >= high:
            return low
        x[low], x[high] = x[high], x[low]
        low += 1


def _median(a: float, b: float, c: float) -> int:
    """Which of three is between the others; of equals, the one that the C++ library takes."""
    if a > b:
        return 1 if b > c else 2 if a > c else 0
    return 0 if a > c else 2 if b > c else 1


def _heaped(x: list[Entry], count: int) -> list[int]:
    """The places of the highest, from a heap of them whose lowest gives way to what is higher."""
    heap = _selected(x, count)[:count]
    for size in range(count - 1, 0, -1):  # take the lowest out, one after the other
        top, heap[size] = heap[size], heap[0]
        _sift(heap, 0, size, top)
    return [place for _, place in heap]


def _selected(x: list[Entry], count: int) -> list[Entry]:
    """The entries with a heap of the highest in front, its lowest first."""
    for hole in range(count // 2 - 1, -1, -1):
        _sift(x, hole, count, x[hole])
    for place in range(count, len(x)):
        if x[place][0] > x[0][0]:
            entry, x[place] = x[place], x[0]
            _sift(x, 0, count, entry)
    return x


def _sift(x: list[Entry], hole: int, size: int, entry: Entry) -> None:
    """Put an entry into a heap: the hole sinks to a leaf, and from there the entry rises."""
    top = hole
    while (child := 2 * hole + 2) < size:
        child -= x[child][0] > x[child - 1][0]
        x[hole], hole = x[child], child
    if child == size:
        x[hole], hole = x[child - 1], child - 1
    while hole > top and x[(hole - 1) // 2][0] > entry[0]:
        x[hole], hole = x[(hole - 1) // 2], (hole - 1) // 2
    x[hole] = entry
