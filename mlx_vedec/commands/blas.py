"""A fast BLAS for the commands: the one in MLX's Linux wheel multiplies matrices many times slower.

It has to be loaded before MLX, whose calls then find it. Importing the library loads none, so that
nobody's process is changed. The environment's `MLX_VEDEC_BLAS` is a library to load instead, as a
path or a name that the system's loader finds, or `off`.
"""

from __future__ import annotations

import ctypes
import os
import sys

from ..errors import OptionError

VARIABLE = "MLX_VEDEC_BLAS"
LIBRARIES = ("libopenblas.so.0", "libblis.so.4", "libmkl_rt.so.2")
NEEDED = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")  # what MLX's library asks of its BLAS
PATIENCE = 5.0  # seconds of work after which the hint is worth a line
HINT = (
    "hint: no fast BLAS was found, so the slow one of MLX's wheel computed the matrix products; "
    "`apt-get install libopenblas0-pthread` makes them up to 30 times faster"
)


def load_fast_blas() -> bool:
    """Load a fast BLAS if the system has one; whether MLX's matrix products will use it.

    Nothing is loaded where MLX or torch is in the process already: it would be too late for MLX,
    and torch computes ten times slower with it.
    """
    if sys.platform != "linux" or {"mlx.core", "torch"} & sys.modules.keys():
        return False
    chosen = os.environ.get(VARIABLE)
    if chosen == "off":
        return False
    if not chosen:
        return any(_load(name) is None for name in LIBRARIES)
    if problem := _load(chosen):
        raise OptionError(
            f"{VARIABLE} is {chosen[:200]}, which cannot be loaded as a BLAS ({problem[:200]}); "
            f"expected a library such as {LIBRARIES[0]}, or off"
        )
    return True


def _load(name: str) -> str | None:
    """Load a BLAS so that libraries loaded later find it; the reason where it cannot be."""
    try:
        library = ctypes.CDLL(name)  # looked at first: only a BLAS is to be seen by others
        missing = [function for function in NEEDED if not hasattr(library, function)]
        if missing:
            return f"it has no {missing[0]}"
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None


def wants_hint(seconds: float) -> bool:
    """Whether a command that worked so long would have gained by a fast BLAS."""
    if sys.platform != "linux" or seconds < PATIENCE or os.environ.get(VARIABLE) == "off":
        return False
    mlx = sys.modules.get("mlx.core")
    if mlx is None or mlx.default_device().type != mlx.DeviceType.cpu:
        return False
    from ..measuring.machine import fast_blas

    return fast_blas() is None
