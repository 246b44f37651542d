"""Greedy decoding against its floor, the bare products with all weights, and transformers.

TrOCR-base's decoder, random float32 weights, 577 features an image, batches of 1 and 8; and what
quantized keys and values, and rows of unequal length, add to a step.

python -m tests.benchmarks.decoding [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .reference import Reference
from .shapes import Given, per_step, stepper, trocr

STEPS = 8  # of a block, where whole generations are compared
ENDLESS = {"max_length": 512}


def main() -> None:
    """Print the ratios for either batch."""
    chosen = arguments(__doc__, rounds=(40, 8), layers=(12, 2))
    model = trocr(chosen.layers)
    theirs = Reference(layers=chosen.layers)
    for rows in (1, 8):
        print(f"greedy, {rows} rows, {chosen.layers} layers; {chosen.rounds} steps in turn")
        against_the_floor(model, rows, chosen.rounds)
        rounds = max(3, chosen.rounds // 6)
        print(f"  blocks of {STEPS} steps, {rounds} in turn")
        against_transformers(model, theirs, rows, rounds)
        print()
    theirs.close()


def against_the_floor(model: Given, rows: int, rounds: int) -> None:
    """A greedy step, and its other forms, against the products with the weights alone."""
    sides = {
        "greedy step": stepper(model, rows, **ENDLESS),
        "bare products": products(model, rows),
        "kv_bits=8": stepper(model, rows, kv_bits=8, **ENDLESS),
        "kv_bits=4": stepper(model, rows, kv_bits=4, **ENDLESS),
    }
    if rows > 1:
        halves = rows // 2, rows - rows // 2
        sides["rows of unequal length"] = stepper(model, *halves, **ENDLESS)
    times = in_turn({name: timed(step) for name, step in sides.items()}, rounds)
    show_times(times, rows)
    show_ratio(times, "greedy step", "bare products")
    for name in list(sides)[2:]:
        show_ratio(times, name, "greedy step")


def against_transformers(model: Given, theirs: Reference, rows: int, rounds: int) -> None:
    """Whole generations of as many tokens, begun anew, the middle step of each."""
    times = in_turn(
        {
            "mlx_vedec": per_step(model, STEPS, rows, **ENDLESS),
            "transformers": lambda: theirs.ask(steps=STEPS, rows=rows),
        },
        rounds,
    )
    show_times(times, rows)
    show_ratio(times, "mlx_vedec", "transformers")


def products(model: Given, rows: int) -> Callable[[], None]:
    """One product with every matrix that a step reads: the image's keys and values are kept."""
    read = [matrix for layer in model.decoder.layers for matrix in _matrices(layer)]
    read.append(model.decoder.embed_tokens.weight)  # which is the head too
    inputs: dict[int, mx.array] = {
        width: mx.random.normal((rows, width)) for width in {matrix.shape[1] for matrix in read}
    }
    mx.eval(inputs)
    return lambda: mx.eval([inputs[matrix.shape[1]] @ matrix.T for matrix in read])


def _matrices(layer: Any) -> list[mx.array]:
    own, cross, mlp = layer.self_attn, layer.cross_attn, layer.mlp
    read: list[nn.Linear] = [
        *(own.q_proj, own.k_proj, own.v_proj, own.o_proj),
        *(cross.q_proj, cross.o_proj, mlp.fc1, mlp.fc2),
    ]
    return [linear.weight for linear in read]


if __name__ == "__main__":
    main()
