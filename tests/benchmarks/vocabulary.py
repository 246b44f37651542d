"""A greedy step with a shrunk vocabulary against one with all of it, and the bytes of the decoder.

TrOCR-base's decoder, random float32 weights, one image of 577 features, 1 and 8 lines at once. Its
50,265 tokens become as many as --shrink-vocabulary leaves of them.

python -m tests.benchmarks.vocabulary [--tokens N …] [--short] [--rounds N] [--cpu]
"""

from __future__ import annotations

from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.model.vocabulary import replace_tokens

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .shapes import stepper, trocr

ALL = 50_265


def main() -> None:
    """Print the ratios of times for each size, and the sizes in memory."""
    chosen = arguments(
        __doc__,
        rounds=(40, 8),
        layers=(12, 2),
        add=lambda p: p.add_argument("--tokens", type=int, nargs="+", default=[4256, 659]),
    )
    models = {tokens: trocr(chosen.layers) for tokens in (ALL, *chosen.tokens)}
    for tokens in chosen.tokens:
        replace_tokens(models[tokens], range(tokens))
    for tokens, model in models.items():
        size = sum(x.nbytes for x in parameters(model.decoder).values())
        print(f"{tokens:6} tokens: {size / 1e6:.0f} MB")
    for lines in (1, 8):
        sides = {
            f"{tokens} tokens, {lines} lines": timed(stepper(model, lines))
            for tokens, model in models.items()
        }
        times = in_turn(sides, chosen.rounds)
        show_times(times)
        whole, *shrunk = times
        for name in shrunk:
            show_ratio(times, name, whole)


if __name__ == "__main__":
    main()
