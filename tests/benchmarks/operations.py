"""Single operations of MLX against torch, at the shapes of TrOCR-base's encoder and decoder.

torch runs in a process of its own with its own BLAS. With `--cpu`, both on one thread. Here MLX
runs what is not a matrix product on one thread, number by number; what this package adds to the
operations is what `floor` says.

python -m tests.benchmarks.operations [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .peer_ends import Peer

WORK: dict[str, tuple[Callable[..., mx.array], tuple[tuple[int, ...], ...]]] = {
    "gelu": (nn.gelu, ((577, 3072),)),
    "relu": (nn.relu, ((577, 3072),)),
    "add": (mx.add, ((577, 768), (577, 768))),
    "softmax": (lambda x: mx.softmax(x, axis=-1), ((12, 577, 577),)),
    "logsumexp": (lambda x: mx.logsumexp(x, axis=-1), ((8, 64044),)),
    "layer norm": (
        lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-12),
        ((577, 768), (768,), (768,)),
    ),
    "product": (lambda x, w: x @ w.T, ((577, 768), (3072, 768))),
    "product of a row": (lambda x, w: x @ w.T, ((1, 1024), (50265, 1024))),
    "attention": (
        lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125),
        ((1, 12, 577, 64),) * 3,
    ),
    "attention of a row": (
        lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.125),
        ((1, 16, 1, 64), (1, 16, 577, 64), (1, 16, 577, 64)),
    ),
}


def main() -> None:
    """Print times and ratio of each operation."""
    chosen = arguments(__doc__, rounds=(20, 5))
    theirs = Peer("torch")
    assert theirs.missing is None, theirs.missing
    for name, (run, shapes) in WORK.items():
        values = [mx.random.normal(shape) for shape in shapes]
        mx.eval(values)
        asked = {"operation": name, "shapes": shapes}
        print(name, *shapes)
        sides: dict[str, Any] = {
            "MLX": timed(lambda run=run, values=values: mx.eval(run(*values))),
            "torch": lambda asked=asked: theirs.ask(**asked)["seconds"],
        }
        times = in_turn(sides, chosen.rounds)
        show_times(times)
        show_ratio(times, "MLX", "torch")
    theirs.close()


if __name__ == "__main__":
    main()
