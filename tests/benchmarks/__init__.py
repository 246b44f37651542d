"""What this package costs, as ratios of sides measured in turn in one run.

python -m tests.benchmarks.NAME [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]

The fast BLAS is loaded here, since it has to be there before MLX is.
"""

import ctypes
import os
import re
import sys
import time

LIBRARIES = {"openblas": "libopenblas.so.0", "blis": "libblis.so.4", "none": None}
ONE_THREAD = "--cpu" in sys.argv
clock = time.process_time if ONE_THREAD else time.perf_counter


def _loaded(name: str) -> str:
    """Put a BLAS in the place of the one in MLX's CPU wheel; the name of the one there is then."""
    threads = "1" if ONE_THREAD else str(os.cpu_count())
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[variable] = threads if ONE_THREAD else os.environ.get(variable, threads)
    library = LIBRARIES.get(name)
    try:
        if library is not None:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
            return name
    except OSError as error:
        print(f"{error}; going on with MLX's own BLAS", file=sys.stderr)
    return "MLX's own BLAS"


_asked = re.search(r"--blas[ =](\w+)", " ".join(sys.argv))
BLAS = _loaded(_asked[1] if _asked else "openblas")
