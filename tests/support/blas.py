"""The BLAS that tests compute with, chosen before MLX is imported, in child processes too.

OpenBLAS where the machine has it, as the CPU wheel's own BLAS is some 30 times slower. The
environment's `MLX_VEDEC_BLAS` names another library, or `off` leaves the wheel's.

It has one thread, and so has numpy's, unless the environment gives a number: for matrices as small
as these, threads that wait for each other take most of a run's processor time.
"""

import contextlib
import ctypes
import os

for _variable in ("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
CHOICE = os.environ.get("MLX_VEDEC_BLAS", "libopenblas.so.0")
LOADED = False
if CHOICE != "off":
    with contextlib.suppress(OSError):
        ctypes.CDLL(CHOICE, mode=ctypes.RTLD_GLOBAL)
        LOADED = True
