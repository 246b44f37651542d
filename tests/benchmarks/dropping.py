"""64 lines of unequal length: rows that end make room for others, or wait for the longest.

TrOCR-base's decoder, random float32 weights. A line's length is its second token's, so that both
ways decode the same; encoding costs nothing. Both ways have the same number of rows at most.

python -m tests.benchmarks.dropping [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from mlx_vedec.generation.flow import follow
from mlx_vedec.reading.image_queue import ImageQueue
from mlx_vedec.reading.processor import Processor

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .shapes import Given, trocr

LINES, MEDIAN, PERCENTILE, LONGEST = 64, 20, 60, 120  # the third is the 95th
START, NAMED = 2, 1000  # tokens: every line's first, and the second of line 0


class Blank(Processor):
    """A processor of images that are never looked at."""

    def pixels(self, images: Any, **overrides: Any) -> mx.array:
        return mx.zeros((len(images), 1, 1, 3))

    def decode(self, ids: Any, **options: Any) -> str:
        return ""


class Ends:
    """A stopping criterion: the line that a row's second token names has its length."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = mx.array(lengths)

    def __call__(self, tokens: mx.array, scores: mx.array) -> mx.array:
        return tokens.shape[1] - 2 >= self.lengths[tokens[:, 1] - NAMED]


def main() -> None:
    """Print the ratio for batches of 16 and of all lines."""
    chosen = arguments(__doc__, rounds=(2, 1), layers=(12, 2))
    model, lengths = trocr(chosen.layers), line_lengths()
    middle, high = np.percentile(lengths, [50, 95])
    print(
        f"{LINES} lines, {chosen.layers} layers; {lengths.sum()} tokens, of a line {middle:.0f} "
        f"(median), {high:.0f} (95th percentile), {lengths.max()} (longest); {chosen.rounds} rounds"
    )
    for size in (16, LINES):
        waiting = sum(lengths[i : i + size].max() * size for i in range(0, LINES, size))
        names = f"dropped and refilled, {size} rows", f"kept to the end, {size} rows"
        sides = (
            timed(lambda size=size: dropped(model, lengths, size)),
            timed(lambda size=size: kept(model, lengths, size)),
        )
        times = in_turn(dict(zip(names, sides, strict=True)), chosen.rounds, warm=False)
        show_times(times)
        show_ratio(times, *names, target=0.6)
        print(f"  rows fed: {lengths.sum() / waiting:.2f} of those kept, if none waited at all\n")


def line_lengths() -> np.ndarray:
    """The tokens of every line: a log-normal's quantiles and the longest, in no order."""
    width = np.log(PERCENTILE / MEDIAN) / NormalDist().inv_cdf(0.95)
    places = [NormalDist().inv_cdf((i + 0.5) / LINES) for i in range(LINES - 1)]
    lengths = np.round(np.exp(np.log(MEDIAN) + width * np.array(places))).astype(np.int32)
    return np.random.default_rng(0).permutation([*lengths, LONGEST])


def dropped(model: Given, lengths: np.ndarray, size: int) -> None:
    """`batch_generate`'s own loop."""
    options = model.generation_options(stopping_criteria=[Ends(lengths)])
    queue = ImageQueue(model, Blank(), options, batch_size=size)
    blank = Image.new("RGB", (2, 2))
    sources = ((blank, [START, NAMED + i]) for i in range(len(lengths)))
    found = [len(result.tokens) for result in queue.read(sources)]
    assert found == lengths.tolist()


def kept(model: Given, lengths: np.ndarray, size: int) -> None:
    """Batches of so many lines, each until its longest has ended."""
    for first in range(0, len(lengths), size):
        rows = range(first, min(first + size, len(lengths)))
        given = mx.array([[START, NAMED + i] for i in rows])
        settled = model.generation_options(stopping_criteria=[Ends(lengths)])
        prompt, options = model.prompt(len(rows), given, settled)
        features = mx.repeat(model.given, len(rows), axis=0)
        cohort, cache = model.begin(features, prompt, options)
        *_, last = follow(model.step, cohort, cache)
        found = [len(row.tokens) for [row] in cohort.search.results(last, range(len(rows)))]
        assert found == lengths[rows.start : rows.stop].tolist()


if __name__ == "__main__":
    main()
