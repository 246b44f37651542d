"""A step of beam search: against the bare graph of as many rows, and against a greedy step.

TrOCR-base's decoder, random float32 weights, one image of 577 features, 4 beams. The flat graph
is the decoder on 4 rows of one image, its tokens fixed: no search, no reordering of the cache.

python -m tests.benchmarks.beams [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .reference import Reference
from .shapes import Given, graph_stepper, per_step, stepper, trocr

BEAMS = 4
STEPS = 8  # of a block, where whole generations are compared
LENGTHS = (20, 60, 400)  # of texts whose cache is reordered: lines, and a page
ENDLESS = {"max_length": 512}


def main() -> None:
    """Print the ratios, where the difference goes, and what the image's memory takes."""
    chosen = arguments(__doc__, rounds=(60, 8), layers=(12, 2))
    model = trocr(chosen.layers)
    steps = {
        "beam step": stepper(model, num_beams=BEAMS, **ENDLESS),
        "flat graph": graph_stepper(model, BEAMS),
        "greedy step": stepper(model, **ENDLESS),
        "graph of 1 row": graph_stepper(model, 1),
    }
    print(
        f"a step, {BEAMS} beams, one image, {chosen.layers} layers; {chosen.rounds} steps in turn"
    )
    times = in_turn({name: timed(step) for name, step in steps.items()}, chosen.rounds)
    show_times(times)
    show_ratio(times, "beam step", "flat graph", target=1.15)
    show_ratio(times, "beam step", "greedy step", target=2.2)
    show_ratio(times, "flat graph", "graph of 1 row")
    show_ratio(times, "greedy step", "graph of 1 row")

    print("\nwhat the search adds, each part alone")
    parts = in_turn(
        {name: timed(part) for name, part in search_parts(model, 1 + chosen.rounds).items()},
        chosen.rounds,
    )
    show_times(parts)

    print(f"\nagainst transformers; blocks of {STEPS} steps in turn")
    compare(model, chosen.layers, max(3, chosen.rounds // 6))

    print("\nbytes of the image's keys and values")
    for beams in (1, 4, 8):
        print(f"  {beams} beams: {memory_bytes(model, beams):,}")


def search_parts(model: Given, length: int) -> dict[str, Callable[[], None]]:
    """The search of one step after so many, and its heavy parts, as work to be timed."""
    prompt, options = model.prompt(1, None, model.generation_options(num_beams=BEAMS, **ENDLESS))
    cohort, _ = model.begin(model.given, prompt, options)
    for _ in range(length - 1):
        cohort.state = cohort.search.advance(cohort.state, cohort.state.logits)
    logits = cohort.state.logits
    flat = (logits - mx.logsumexp(logits, axis=-1, keepdims=True)).reshape(1, -1)
    mx.eval(cohort.state.arrays(), logits, flat)
    count = 2 * BEAMS
    return {
        "the whole search, cache aside": lambda: mx.eval(
            cohort.search.advance(cohort.state, logits).arrays()
        ),
        "  log-softmax": lambda: mx.eval(logits - mx.logsumexp(logits, axis=-1, keepdims=True)),
        f"  best {count} of {flat.size:,}": lambda: mx.eval(
            mx.argpartition(-flat, kth=count - 1, axis=1)[:, :count]
        ),
        **{f"reorder of {held} cached tokens": reordering(model, held) for held in LENGTHS},
    }


def reordering(model: Given, length: int) -> Callable[[], None]:
    """`cache.reorder` with so many tokens in every row."""
    cache = model.decoder.make_cache(model.memory(model.given), BEAMS)
    shape = BEAMS, model.decoder.shape.num_heads, length, 64
    for layer in cache.layers:
        layer.update_and_fetch(mx.zeros(shape), mx.zeros(shape))
    parents = mx.array([0, 0, 1, 3])

    def reorder() -> None:
        cache.reorder(parents)
        mx.eval([layer.state for layer in cache.layers])

    reorder()
    return reorder


def compare(model: Given, layers: int, rounds: int) -> None:
    """The ratio of a beam step to a greedy one, here and in transformers."""
    theirs = Reference(layers=layers)
    times = in_turn(
        {
            "beams": per_step(model, STEPS, num_beams=BEAMS, **ENDLESS),
            "greedy": per_step(model, STEPS, **ENDLESS),
            "transformers beams": lambda: theirs.ask(steps=STEPS, beams=BEAMS),
            "transformers greedy": lambda: theirs.ask(steps=STEPS),
        },
        rounds,
    )
    theirs.close()
    show_times(times)
    show_ratio(times, "beams", "greedy", target=2.2)
    show_ratio(times, "transformers beams", "transformers greedy")
    show_ratio(times, "beams", "transformers beams")


def memory_bytes(model: Given, beams: int) -> int:
    """`memory_nbytes` of a search after its first token."""
    prompt, options = model.prompt(1, None, model.generation_options(num_beams=beams, **ENDLESS))
    _, cache = model.begin(model.given, prompt, options)
    return cache.memory_nbytes


if __name__ == "__main__":
    main()
