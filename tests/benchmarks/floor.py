"""The library against MLX itself: encoder, prefill and decode step, and the same written flat.

The flat sides are those of `tests/benchmarks/flat.py`; random float32 weights in the shapes of
published checkpoints, Donut's and Nougat's images reduced. A decode step is the decoder's; a greedy
step also picks tokens, keeps them and looks for ends, as `model.generate`; `batch_generate` keeps
log-probabilities as well.

python -m tests.benchmarks.floor [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                 [--shape NAME …] [--quantize BITS]
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import mlx.core as mx

from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.measuring.shapes import SHAPES, random_model

from .flat import DECODERS, Decoding, flat_encoder
from .measure import Side, arguments, in_turn, show_ratio, show_times, timed
from .shapes import stepper

ENCODER, STEP = 1.05, 1.15  # what the ratios should be at most
SIZES = {"donut-base": (640, 320), "nougat-small": (448, 224)}
FEATURES = 197  # of an image, where the encoder is not run
STEPS = 5  # decode steps for each run of the encoder
CAPACITY = 256


def main() -> None:
    """Print the ratios of each shape, with one image and with eight."""
    chosen = arguments(__doc__, rounds=(10, 3), add=add_options)
    for name in chosen.shape:
        model = random_model(name, SIZES.get(name))
        if chosen.quantize:
            quantize(model, chosen.quantize)
        mx.eval(model.parameters())
        for images in (1,) if chosen.short or name in SIZES else (1, 8):
            print(f"{name}, {images} image{'s' * (images > 1)}")
            if not chosen.quantize:
                compare_encoders(model, images, chosen.rounds)
            if type(model.decoder) in DECODERS:
                compare_decoders(model, images, chosen.rounds)


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--shape", nargs="*", choices=SHAPES, default=[*SHAPES])
    parser.add_argument("--quantize", type=int, help="to so many bits; then decoders alone")


def compare_encoders(model: Any, images: int, rounds: int) -> None:
    """The encoder on random pixels."""
    size = model.encoder.config.image_size
    pixels = mx.random.normal((images, *((size, size) if isinstance(size, int) else size), 3))
    flat = flat_encoder(model.encoder)
    sides = {
        "encoder": timed(lambda: mx.eval(model.encode(pixels))),
        "flat encoder": timed(lambda: mx.eval(flat(pixels))),
    }
    show(sides, rounds, {("encoder", "flat encoder"): ENCODER})


def compare_decoders(model: Any, images: int, rounds: int) -> None:
    """Prefill and decode steps on random features."""
    image = mx.random.normal((1, FEATURES, model.config.encoder.feature_dims))
    memory = model.memory(mx.repeat(image, images, axis=0))
    tokens = mx.full((images, 1), 5)
    mx.eval(memory, tokens)
    flat, cache = Decoding(model.decoder, memory, CAPACITY), model.decoder.make_cache(memory)
    prefills = {
        "prefill": timed(
            lambda: mx.eval(model.step(tokens, model.decoder.make_cache(memory), None))
        ),
        "flat prefill": timed(
            lambda: mx.eval(Decoding(model.decoder, memory, CAPACITY).step(tokens))
        ),
    }
    show(prefills, rounds, {("prefill", "flat prefill"): STEP})
    options: dict[str, Any] = {"features": image, "max_length": CAPACITY}
    steps = {
        "decode step": timed(lambda: mx.eval(model.step(tokens, cache, None))),
        "greedy step": timed(stepper(model, images, logprobs=False, **options)),
        "with log-probabilities": timed(stepper(model, images, **options)),
        "flat step": timed(lambda: mx.eval(flat.step(tokens))),
    }
    over = "decode step", "greedy step", "with log-probabilities"
    targets = {(side, "flat step"): STEP for side in over}
    show(steps, STEPS * rounds, targets)


def show(sides: dict[str, Side], rounds: int, targets: dict[tuple[str, str], float]) -> None:
    """Times of the sides in turn, and the ratios that have a target."""
    times = in_turn(sides, rounds)
    show_times(times)
    for (over, under), target in targets.items():
        show_ratio(times, over, under, target)


if __name__ == "__main__":
    main()
