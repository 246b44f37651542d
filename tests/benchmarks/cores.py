"""What an encoder gains on a CPU by `layers/cpu.py` and `cpu_formulas.py`.

python -m tests.benchmarks.cores [--shape NAME] [--rows N …] [--image-size HEIGHT WIDTH] [--cpu]

Seconds of wall and of processor time, the shortest of five, and the peak of memory, without and
with them, each side in a process of its own, twice in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import mlx.core as mx

from mlx_vedec.encoders.patches import pair
from mlx_vedec.layers import cpu
from mlx_vedec.measuring.shapes import random_model

from . import Clocks


def measured(shape: str, size: list[int] | None, rows: int, plain: bool) -> list[float]:
    """The shortest of five encodings of `rows` random images, on two clocks; MB at the peak."""
    model = random_model(shape, None if size is None else (size[0], size[1]))
    config: Any = model.config.encoder
    images = mx.random.normal((rows, *pair(config.image_size), 3))
    mx.eval(model.parameters(), images)
    mx.reset_peak_memory()
    before, times = mx.get_active_memory(), []
    with cpu.plain() if plain else nullcontext():
        for _ in range(5):
            clocks = Clocks()
            mx.eval(model.features(images))
            times.append([*clocks.seconds().values()])
    peak = (mx.get_peak_memory() - before) / 1e6
    return [*(min(clock) for clock in zip(*times, strict=True)), peak]


def main() -> None:
    """Print a line for each number of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="trocr-small")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--image-size", type=int, nargs=2, help="of other images than the shape's")
    parser.add_argument("--cpu", action="store_true", help="one thread")
    parser.add_argument("--side", choices=("plain", "own"))
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measured(args.shape, args.image_size, args.rows[0], args.side == "plain")))
        return
    for rows in args.rows:
        own = [sys.executable, "-m", "tests.benchmarks.cores", *sys.argv[1:]]
        found: dict[str, list[list[float]]] = {"plain": [], "own": []}
        for side in ("plain", "own") * 2:
            command = [*own, "--rows", str(rows), "--side", side]
            found[side].append(json.loads(subprocess.check_output(command)))
        print(f"{args.shape}, {rows} image{'s' * (rows > 1)}")
        for side, runs in found.items():
            wall, processor, peak = (min(values) for values in zip(*runs, strict=True))
            print(f"  {side:6} {wall:.2f} s, {processor:.2f} s of processor time, {peak:.0f} MB")


if __name__ == "__main__":
    main()
