"""The BLAS that tests compute with, chosen before MLX is imported, in child processes too.

It is the one that the commands choose: a fast one where the machine has it, and torch is not in the
process, nor will be: a run that names tests of `parity/` has none. The environment's
`MLX_VEDEC_BLAS` names another library, or `off` leaves the wheel's.

It has one thread, and so has numpy's, unless the environment gives a number: for matrices as small
as these, threads that wait for each other take most of a run's processor time.
"""

import os
import sys

from mlx_vedec.commands.blas import load_fast_blas

for _variable in ("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
BESIDE_TORCH = any("parity" in word for word in sys.argv[1:] if not word.startswith("-"))
LOADED = not BESIDE_TORCH and load_fast_blas()
