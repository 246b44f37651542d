"""A step late in a long text against one early in it, with and without a bound on the cache.

Nougat-base's decoder, random float32 weights, one image of 588 features, max_kv_size 128. The
texts are prompts of 200 and 3,990 random tokens, fed in parts, and then decoded greedily.

python -m tests.benchmarks.rotating [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_vedec.generation.flow import Flow, begin
from mlx_vedec.generation.sampling import Sampling
from mlx_vedec.layers.decoder_cache import DecoderCache

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .shapes import Given, nougat

EARLY, LATE = 200, 3950
PART = 256  # tokens of a prompt that are fed together


def main() -> None:
    """Print the ratio for a bounded cache, and for one that grows."""
    chosen = arguments(__doc__, rounds=(60, 8), layers=(10, 4))
    model = nougat(chosen.layers)
    print(f"a greedy step, {chosen.layers} layers; {chosen.rounds} steps in turn")
    sides = {
        f"{kind} at {length}": continued(model, length, **options)
        for kind, options in (("max_kv_size=128", {"max_kv_size": 128}), ("all kept", {}))
        for length in (EARLY, LATE)
    }
    times = in_turn({name: timed(step) for name, step in sides.items()}, chosen.rounds)
    show_times(times)
    bounded_early, bounded_late, early, late = times
    show_ratio(times, bounded_late, bounded_early, target=1.1)
    show_ratio(times, late, early)
    show_ratio(times, bounded_late, late)


def continued(model: Given, length: int, **options: Any) -> Callable[[], None]:
    """Steps of greedy decoding after a text of so many tokens, of which the first is the prompt."""
    _, settled = model.prompt(1, None, model.generation_options(**options))
    bound, memory = settled.max_kv_size, model.memory(model.given)
    cache = model.decoder.make_cache(memory, max_size=bound, keep=1 if bound else 0)
    text = mx.random.randint(5, 50000, (1, length))
    flow = Flow(model.step)
    flow.add(begin(in_parts(model), cache, Sampling(settled), text), cache)

    def step() -> None:
        flow.advance()
        mx.eval([cohort.state.arrays() for cohort in flow.cohorts])

    return step


def in_parts(model: Given) -> Callable[[mx.array, DecoderCache, mx.array | None], mx.array]:
    """`model.step` for a long prompt, whose attention weights would not fit at once."""

    def step(tokens: mx.array, cache: DecoderCache, mask: mx.array | None) -> mx.array:
        parts = [tokens[:, i : i + PART] for i in range(0, tokens.shape[1], PART)]
        for part in parts[:-1]:
            mx.eval(model.step(part, cache, mask))
        return model.step(parts[-1], cache, mask)

    return step


if __name__ == "__main__":
    main()
