"""The memory bandwidth of Apple's chips, by Apple's specifications: what a decode step could reach.

A step reads the decoder's weights and the keys and values once, and computes little with them.
"""

from __future__ import annotations

BANDWIDTHS = {  # GB/s; of a chip that is sold with two, the larger
    "M1": 68.25,
    "M1 Pro": 200,
    "M1 Max": 400,
    "M1 Ultra": 800,
    "M2": 100,
    "M2 Pro": 200,
    "M2 Max": 400,
    "M2 Ultra": 800,
    "M3": 100,
    "M3 Pro": 150,
    "M3 Max": 400,
    "M3 Ultra": 819,
    "M4": 120,
    "M4 Pro": 273,
    "M4 Max": 546,
}


def peak_bandwidth(chip: str) -> float | None:
    """Bytes per second that a chip's memory gives at most; None where it is not known.

    >>> peak_bandwidth("Apple M2 Pro"), peak_bandwidth("AMD EPYC")
    (200000000000.0, None)
    """
    found = BANDWIDTHS.get(chip.removeprefix("Apple ").strip())
    return None if found is None else found * 1e9
