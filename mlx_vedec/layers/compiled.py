"""What is counted of functions that MLX compiles, and whether that is of use here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache

import mlx.core as mx

MOST = 64  # traces that are kept


@dataclass
class Traces:
    """How many shapes functions were compiled for; `kept` of them are still in use."""

    made: int = 0
    kept: int = 0

    def add(self) -> None:
        """Count one more."""
        self.made += 1
        self.kept += 1

    def overflow(self) -> bool:
        """Whether the functions are to be forgotten, as there are too many shapes."""
        if self.kept <= MOST:
            return False
        self.kept = 0
        return True


def on_gpu() -> bool:
    """Whether arrays are computed on a GPU, where compiling needs no compiler of C++."""
    return mx.default_device().type != mx.DeviceType.cpu


@cache
def has_compiler() -> bool:
    """Whether MLX can make code for a CPU, with a compiler that it looks for.

    Without one it fuses nothing. One that is there but does not work would end a generation that
    did not ask for it.
    """
    if shutil.which("g++") is None:
        return False
    try:
        mx.eval(mx.compile(lambda x: mx.exp(x) + x)(mx.array(1.0)))
    except RuntimeError:
        return False
    return True
