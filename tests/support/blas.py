"""The BLAS that tests compute with, chosen before MLX is imported, in child processes too.

OpenBLAS where the machine has it, as the CPU wheel's own BLAS is some 30 times slower. The
environment's `MLX_VEDEC_BLAS` names another library, or `off` leaves the wheel's.
"""

import contextlib
import ctypes
import os

CHOICE = os.environ.get("MLX_VEDEC_BLAS", "libopenblas.so.0")
LOADED = False
if CHOICE != "off":
    with contextlib.suppress(OSError):
        ctypes.CDLL(CHOICE, mode=ctypes.RTLD_GLOBAL)
        LOADED = True
