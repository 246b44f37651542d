"""What this package costs, as ratios of sides measured in turn in one run.

python -m tests.benchmarks.NAME [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]

The fast BLAS is loaded here, since it has to be there before MLX is; without `--blas` it is the
one that the tests compute with, so that collecting these files changes nothing for other tests.
"""

import os
import re
import sys
import time

LIBRARIES = {"openblas": "libopenblas.so.0", "blis": "libblis.so.4", "none": None}
ONE_THREAD = "--cpu" in sys.argv
clock = time.process_time if ONE_THREAD else time.perf_counter

_asked = re.search(r"--blas[ =](\w+)", " ".join(sys.argv))
if _asked:
    os.environ["MLX_VEDEC_BLAS"] = LIBRARIES.get(_asked[1]) or "off"
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"):
    if ONE_THREAD:
        os.environ[_variable] = "1"
    else:  # the tests would take one
        os.environ.setdefault(_variable, str(os.cpu_count()))

from tests.support import blas  # noqa: E402  (reads the environment)


class Clocks:
    """Wall and processor time from now on."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        """How much of both has passed."""
        wall, processor = self.begun
        return {
            "seconds": time.perf_counter() - wall,
            "processor": time.process_time() - processor,
        }


BLAS = (_asked[1] if _asked else "the fast BLAS found first") if blas.LOADED else "MLX's own BLAS"
