"""MLX on a GPU against torch on the same one: the encoder, greedy decoding, beams and a batch.

Random weights in published shapes, of the same config on both sides; texts of a fixed length, from
pixels to tokens, in turn. Torch and transformers answer from a process of their own, which may have
another Python. Prints a Markdown table. On Linux with CUDA 13:

python -m venv .venv && .venv/bin/pip install -e . "mlx[cuda13]" torch "transformers>=5.23,<6" \
    && .venv/bin/python -m tests.benchmarks.gpu

python -m tests.benchmarks.gpu [--short] [--rounds N] [--shape NAME …] [--dtype NAME …]
                               [--torch-python PATH]

With --short a small shape of small images, on whatever device there is: to see that it works.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx

from mlx_vedec.layers.packed import float_type
from mlx_vedec.measuring.machine import device, versions
from mlx_vedec.measuring.shapes import SHAPES, random_model

from .measure import arguments, in_turn, timed

DTYPES = "float32", "float16", "bfloat16"
SMALLER = {"donut-base": 8, "nougat-small": 16}  # batches, where images are large


@dataclass(frozen=True)
class Task:
    """What is done with so many images; without tokens they are encoded, and no more."""

    name: str
    images: int = 1
    tokens: int = 0
    beams: int = 1


class Torch:
    """The other side: `tests/benchmarks/gpu_torch.py`, a line of JSON in for every line out."""

    def __init__(self, python: str) -> None:
        pipe = subprocess.PIPE
        command = [python, "-m", "tests.benchmarks.gpu_torch", "--blas", "none"]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **call: Any) -> Any:
        """What it answers."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(call), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Print a row for every shape, type and task."""
    chosen = arguments(__doc__, rounds=(10, 2), add=add_options)
    theirs = Torch(chosen.torch_python)
    print(f"- MLX: {device().get('device_name', device()['type'])}, {versions()}")
    print(f"- torch: {theirs.ask(what='about')}\n")
    print("| shape | type | what | MLX ms | torch ms | MLX / torch |\n|---|---|---|---|---|---|")
    names = chosen.shape or (["trocr-small"] if chosen.short else ["trocr-base", "donut-base"])
    for name in names:
        for dtype in chosen.dtype or DTYPES[: 1 if chosen.short else None]:
            for row in measured(theirs, name, dtype, chosen):
                print(row, flush=True)
    theirs.close()


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--shape", nargs="*", choices=SHAPES)
    parser.add_argument("--dtype", nargs="*", choices=DTYPES)
    parser.add_argument(
        "--torch-python", default=sys.executable, help="with torch and transformers; else this one"
    )


def tasks(name: str, short: bool) -> Iterator[Task]:
    """What is measured of a shape."""
    batch, tokens = (2, 4) if short else (SMALLER.get(name, 64), 64)
    yield Task("encode")
    yield Task(f"encode {batch} images", batch)
    yield Task(f"greedy, {tokens} tokens", 1, tokens)
    yield Task(f"4 beams, {tokens} tokens", 1, tokens, 4)
    yield Task(f"greedy, {tokens} tokens, {batch} images", batch, tokens)


def measured(theirs: Torch, name: str, dtype: str, chosen: Any) -> Iterator[str]:
    """The rows of a shape in a type."""
    model = random_model(name, 128 if chosen.short else None)
    model.astype(dtype)
    mx.eval(model.parameters())
    theirs.ask(what="model", config=model.config.to_dict(), dtype=dtype)
    for task in tasks(name, chosen.short):
        ours = timed(work(model, task))
        sides = {"MLX": ours, "torch": lambda task=task: theirs.ask(what="task", **asdict(task))}
        times = in_turn(sides, chosen.rounds)
        ratios = [a / b for a, b in zip(times["MLX"], times["torch"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        cells = [f"{1000 * statistics.median(seconds):.1f}" for seconds in times.values()]
        cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        yield f"| {name} | {dtype} | {task.name} | {' | '.join(cells)} |"


def work(model: Any, task: Task) -> Callable[[], None]:
    """A task, to be done once and waited for."""
    size = model.config.encoder.image_size
    height, width = (size, size) if isinstance(size, int) else size
    pixels = mx.random.normal((task.images, height, width, 3)).astype(float_type(model))
    mx.eval(pixels)
    if not task.tokens:
        return lambda: mx.eval(model.encode(pixels))
    options = {"max_new_tokens": task.tokens, "num_beams": task.beams}
    return lambda: mx.eval(model.generate(pixels, **options))


if __name__ == "__main__":
    main()
