"""Products of linear layers whose weight lies column after column, as cpu_layout.py lays it out.

python -m tests.benchmarks.columns [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

import mlx.core as mx

from mlx_vedec.layers.cpu_layout import by_columns

from .measure import arguments, in_turn, show_ratio, timed

WIDTHS = ((256, 256), (256, 1024), (1024, 256), (1024, 4096), (256, 64044), (1024, 50265))
ROWS = (1, 8)


def main() -> None:
    """Print the ratio to the same weight row after row, for each layer and number of rows."""
    chosen = arguments(__doc__, rounds=(40, 10))
    for inputs, outputs in WIDTHS:
        rows = mx.random.normal((outputs, inputs))
        mx.eval(rows)
        weights = {"by columns": by_columns(rows), "by rows": rows}
        for count in ROWS:
            x = mx.random.normal((count, inputs))
            mx.eval(x)
            sides = {
                name: timed(lambda x=x, w=weight: mx.eval([x @ w.T for _ in range(8)]))
                for name, weight in weights.items()
            }
            print(f"{inputs} to {outputs}, {count} row{'s' * (count > 1)}")
            show_ratio(in_turn(sides, chosen.rounds), *weights)


if __name__ == "__main__":
    main()
