"""What an encoder gains on a CPU by `layers/cpu.py`: rows shared out among cores.

`python -m tests.benchmarks.cores` prints seconds of wall time, the shortest of five, without
and with it, each side in a process of its own, in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import mlx.core as mx

from mlx_vedec.layers import cpu
from mlx_vedec.measuring.shapes import random_model


def seconds(shape: str, rows: int, plain: bool) -> float:
    """The shortest of five encodings of `rows` random images."""
    if plain:
        cpu.cores = lambda: 1
    model = random_model(shape)
    images = mx.random.normal((rows, *[model.config.encoder.image_size] * 2, 3))
    mx.eval(model.parameters(), images)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        mx.eval(model.encode(images))
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="trocr-small")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--side", choices=("plain", "own"))
    args = parser.parse_args()
    if args.side:
        print(seconds(args.shape, args.rows[0], args.side == "plain"))
        return
    for rows in args.rows:
        own = [sys.executable, "-m", "tests.benchmarks.cores", "--shape", args.shape]
        found = {"plain": [], "own": []}
        for side in ("plain", "own") * 2:
            command = [*own, "--rows", str(rows), "--side", side]
            found[side].append(float(subprocess.check_output(command)))
        plain, ours = (min(found[side]) for side in ("plain", "own"))
        print(f"{args.shape}, {rows} images: {plain:.2f} s, {ours:.2f} s, {ours / plain:.2f}")


if __name__ == "__main__":
    main()
