"""What starting costs, as ratios to MLX's own start, measured in turn in one run.

python tests/benchmarks/startup.py [rounds]
"""

import statistics
import subprocess
import sys
import time

BASE = "import mlx.core, mlx.nn, numpy"
CASES = {
    "import mlx_vedec": "import mlx_vedec",
    "import mlx_vedec and MLX": f"import mlx_vedec; {BASE}",
    "mlx_vedec --help": "import mlx_vedec.commands as c; c.main(['--help'])",
    "mlx_vedec generate --help": "import mlx_vedec.commands as c; c.main(['generate', '--help'])",
    "VisionEncoderDecoderModel": "import mlx_vedec; mlx_vedec.VisionEncoderDecoderModel",
}


def seconds(code: str) -> float:
    """Time of one whole process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print a line per case: the median of its ratios to the base, round by round."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds(BASE)  # fills the disk's cache
    ratios: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        base = seconds(BASE)
        for name, code in CASES.items():
            ratios[name].append(seconds(code) / base)
    for name, values in ratios.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:28} {statistics.median(values):.2f} of `{BASE}` ({spread})")


if __name__ == "__main__":
    main()
