"""What could make a decode step or the encoder faster, each against the same without it.

All sides are flat (`tests/benchmarks/flat.py`), from random float32 weights in published shapes and
in the bundled model's, one image; the last lever is of the library itself, on the bundled model.
What `mx.compile` makes of a graph is on a CPU the work of a C++ compiler, which has to be there; on
Metal it is a kernel. Metal's fused attention, which has 64 dimensions a head but not 32, and
`mx.fast.metal_kernel` are not to be had here: of the padded heads only the cost is seen.

python -m tests.benchmarks.levers [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                  [--long] [--shape NAME …]
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_vedec import load, load_image
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.measuring.shapes import random_model
from mlx_vedec.model.config import VisionEncoderDecoderConfig
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel
from mlx_vedec.reading.load import BUNDLED

from . import clock
from .flat import vit
from .lever_parts import PADDED, SIDES, STEPPING, LeverDecoding, lever_vit, plain, together
from .measure import Side, arguments, in_turn, show_ratio, show_times, timed

CAPACITY = 64
STEPS = 12  # that a side takes from an empty cache on
LINES = "seen_006.png", "seen_009.png"


def main() -> None:
    """Print the ratios of each shape."""
    chosen = arguments(__doc__, rounds=(15, 5), add=add_options)
    names = chosen.shape or ["bundled", "trocr-small", "manga-ocr"]
    for name in names + ["trocr-base"] * chosen.long:
        model = model_of(name)
        print(name)
        compare_steps(model, chosen.rounds)
        if not chosen.short:
            compare_encoders(model, max(3, chosen.rounds // 3))
    print("asking for ends before the next step is begun; the bundled model, greedy, tokens alone")
    compare_ends(chosen.rounds)


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--long", action="store_true", help="TrOCR-base as well")
    parser.add_argument("--shape", nargs="*", help="these alone; bundled is one")


def model_of(name: str) -> VisionEncoderDecoderModel:
    """A model of a shape with random weights, computed."""
    if name == "bundled":
        model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_pretrained(BUNDLED))
        model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
        model.eval()
    else:
        model = random_model(name)
    mx.eval(model.parameters())
    return model


def compare_steps(model: Any, rounds: int) -> None:
    """Steps with each lever over the flat ones, with which they have to agree."""
    decoder, features = model.decoder, model.encoder.grid(*_size(model)).features
    read = mx.random.normal((1, features, model.config.encoder.feature_dims))
    memory = model.memory(read)
    mx.eval(memory)
    narrow = decoder.shape.dims // decoder.shape.num_heads < 64
    levers = {**STEPPING, **(PADDED if narrow else {})}
    made = {name: LeverDecoding(decoder, memory, CAPACITY, x) for name, x in levers.items()}
    tokens = mx.array([[5]])
    for _ in range(2):
        expected = made["flat"].step(tokens)
        for name, decoding in made.items():
            got = expected if name == "flat" else decoding.step(tokens)
            assert mx.allclose(got, expected, rtol=1e-3, atol=1e-3), name
    sides = {name: stepping(decoding) for name, decoding in made.items()}
    sides["the library"] = library_stepping(model, memory)
    show(in_turn(sides, rounds), f"{STEPS} steps")
    compare_memories(decoder, memory, rounds)


def stepping(decoding: LeverDecoding) -> Side:
    """So many steps from the first token on."""

    def side() -> float:
        decoding.restart()
        return seconds_of(decoding.step)

    return side


def library_stepping(model: Any, memory: mx.array) -> Side:
    """The same of the library's decoder, without a search."""

    def side() -> float:
        cache = model.decoder.make_cache(memory)
        mx.eval(cache.memories)
        return seconds_of(lambda tokens: model.step(tokens, cache, None))

    return side


def seconds_of(step: Callable[[mx.array], mx.array]) -> float:
    """What the steps take, each waited for."""
    tokens, start = mx.array([[5]]), clock()
    for _ in range(STEPS):
        mx.eval(step(tokens))
    return clock() - start


def compare_memories(decoder: Any, memory: mx.array, rounds: int) -> None:
    """Keys and values of the image in all layers: as two products each, or as one."""
    pairs = [[plain(x.cross_attn[f"{n}_proj"]) for n in "kv"] for x in decoder.layers]
    fused = [together(*pair) for pair in pairs]

    def made(layers: Any) -> list[mx.array]:
        return [mx.addmm(bias, memory, weight.T) for weight, bias in layers]

    sides = {
        "flat": timed(lambda: mx.eval([made(pair) for pair in pairs])),
        "fused k/v": timed(lambda: mx.eval(made(fused))),
    }
    show(in_turn(sides, rounds), "keys and values of the image")


def compare_encoders(model: Any, rounds: int) -> None:
    """The encoder with each lever over the flat one."""
    pixels = mx.random.normal((1, *_size(model), 3))
    narrow = model.encoder.config.hidden_size // model.encoder.config.num_attention_heads < 64
    levers = {**SIDES, **(PADDED if narrow else {})}
    made = {name: lever_vit(model.encoder, x) for name, x in levers.items()}
    expected = vit(model.encoder)(pixels)
    for name, encode in made.items():
        assert mx.allclose(encode(pixels), expected, rtol=1e-3, atol=1e-3), name
    sides = {
        name: timed(lambda encode=encode: mx.eval(encode(pixels))) for name, encode in made.items()
    }
    show(in_turn(sides, rounds), "encoder")


def _size(model: Any) -> tuple[int, int]:
    size = model.encoder.config.image_size
    return (size, size) if isinstance(size, int) else size


def show(times: dict[str, list[float]], what: str) -> None:
    """Times, and ratios over the first side."""
    print(f" {what}")
    show_times(times)
    for name in list(times)[1:]:
        show_ratio(times, name, "flat")


def compare_ends(rounds: int) -> None:
    """The library's loop, and one that waits for each token before it begins the next step."""
    model, processor = load()
    for name in LINES:
        pixels = processor(images=load_image(BUNDLED / "lines" / name)).pixel_values
        assert pixels is not None
        features = model.encode(pixels)
        mx.eval(features)
        assert read(model, features, early=True) == read(model, features, early=False)
        tokens = len(read(model, features, early=False))
        sides: dict[str, Side] = {
            how: timed(lambda early=early, x=features: read(model, x, early=early))
            for how, early in (("as it is", False), ("ends first", True))
        }
        times = in_turn(sides, 3 * rounds)
        print(f" {Path(name).stem}, {tokens} tokens, features to tokens")
        show_times(times)
        show_ratio(times, "ends first", "as it is")


def read(model: Any, features: mx.array, *, early: bool) -> list[int]:
    """The tokens of one image, step by step as `generation.flow` takes them."""
    prompt, options = model.prompt(1, None, model.generation_options())
    cohort, cache = model.begin(features, prompt, options, logprobs=False)
    search, state = cohort.search, cohort.state
    while state.length < search.options.max_length:
        if early and search.done(state).all().item():
            break
        logits = model.step(state.next[:, None], cache, None)
        after = search.advance(state, logits)
        mx.async_eval(*after.arrays())
        if not early and search.done(state).all().item():
            break
        state = after
    return [*search.results(state, [0])[0][0].tokens]


if __name__ == "__main__":
    main()
