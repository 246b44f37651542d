"""Decoding by compiled steps against the same without: whole texts of 32 tokens.

The bundled model, and random float32 weights in published shapes; features are random, and no text
ends before its length. What compiling costs at first is shown apart: tracing, and on a CPU the C++
compiler, whose work MLX keeps in the temporary folder.

python -m tests.benchmarks.compiled [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                    [--shape NAME …] [--rows N …] [--beams N …]
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_vedec import load
from mlx_vedec.measuring.shapes import random_model

from .measure import arguments, in_turn, show_ratio, show_times, timed

TOKENS, FEATURES = 32, 197


def main() -> None:
    """Print times and ratios for each model, number of images and of beams."""
    chosen = arguments(__doc__, rounds=(20, 5), add=add_options)
    for name in chosen.shape:
        model = load()[0] if name == "bundled" else random_model(name)
        mx.eval(model.parameters())
        for rows in chosen.rows:
            for beams in chosen.beams:
                compare(name, model, rows, beams, chosen.rounds)


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--shape", nargs="+", default=["bundled", "trocr-small"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])


def compare(name: str, model: Any, rows: int, beams: int, rounds: int) -> None:
    """Texts of so many images, each with so many beams."""
    print(f"{name}, {rows} rows, {beams} beams, {TOKENS} tokens")
    sides = {
        side: texts(model, rows, num_beams=beams, compile=compiled)
        for side, compiled in (("plain", False), ("compiled", True))
    }
    sides["plain"]()
    print(f"  the first time, compiled: {cost(sides['compiled']):.2f} s of processor time")
    times = in_turn({side: timed(work) for side, work in sides.items()}, rounds)
    show_times(times)
    show_ratio(times, "compiled", "plain")


def texts(model: Any, rows: int, **options: Any) -> Callable[[], None]:
    """A side that decodes images whose features are there."""
    features = mx.random.normal((rows, FEATURES, model.config.encoder.feature_dims))
    settled = model.generation_options(
        max_new_tokens=TOKENS, eos_token_id=[], no_repeat_ngram_size=0, **options
    )
    mx.eval(features)

    def side() -> None:
        prompt, after = model.prompt(rows, None, settled)
        flow = model.stepper(after).flow()
        flow.add(*model.begin(features, prompt, after, logprobs=False))
        while len(flow):
            flow.advance()

    return side


def cost(side: Callable[[], None]) -> float:
    """Seconds of processor time, those of the compiler included."""

    def used() -> float:
        spent = os.times()
        return time.process_time() + spent.children_user + spent.children_system

    start = used()
    side()
    return used() - start


if __name__ == "__main__":
    main()
