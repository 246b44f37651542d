"""Seconds to read a line from C++ and from Python, compiled and not.

python -m tests.benchmarks.export [--rounds 3]

The bundled model reads 20 lines of print greedily from their pixels: by the functions that `export`
writes and `examples/cpp/read_line.cpp`, and by `model.generate` on the exported model. Each side is
a process of its own, in turn; a row gives the median over the lines of the fastest round. What
compiling costs at the first line is not in it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx

from mlx_vedec import export, load

ROOT = Path(__file__).parents[2]
LINES = sorted((ROOT / "tests" / "data" / "lines").glob("*.png"))[:20]
PYTHON = """
import sys, time
import mlx.core as mx
from mlx_vedec import load
model, _ = load()
for path in sys.argv[2:]:
    pixels = mx.load(path)
    begin = time.perf_counter()
    mx.eval(model.generate(pixels, compile=sys.argv[1] == "yes"))
    print(time.perf_counter() - begin)
"""


def build(folder: Path) -> Path:
    """The reader in C++."""
    installed, program = Path(mx.__file__).parent, folder / "read_line"
    library = installed / "lib"
    flags = ["-O2", "-std=c++20", f"-I{installed / 'include'}", f"-L{library}"]
    flags += [f"-Wl,-rpath,{library}", "-lmlx"]
    source = ROOT / "examples" / "cpp" / "read_line.cpp"
    subprocess.run(["c++", source, *flags, "-o", program], check=True)
    return program


def main() -> None:
    """Print a row for each side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary:
        folder = export(*load(), Path(temporary) / "out", samples=LINES)
        samples = sorted(map(str, (folder / "samples").iterdir()))
        again = [samples[0], *samples]  # the first compiles
        program = build(Path(temporary))
        python = [sys.executable, "-c", PYTHON]
        sides = {
            "C++": [program, folder, *again, "--seconds"],
            "C++, compiled": [program, folder, *again, "--seconds", "--compile"],
            "Python": [*python, "no", *again],
            "Python, compiled": [*python, "yes", *again],
        }
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, command in sides.items():
                said = subprocess.run(command, capture_output=True, text=True, check=True)
                lines = (said.stderr if name.startswith("C++") else said.stdout).splitlines()
                times = [float(line.split()[0]) for line in lines][1:]
                found[name].append(statistics.median(times))
    for name, medians in found.items():
        print(f"{name:20}{1000 * min(medians):8.1f} ms")


if __name__ == "__main__":
    main()
