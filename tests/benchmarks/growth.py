"""What a model costs, against the size of images, the length of texts, batch, beams, vocabulary.

A small ViT (4 layers of 192) and a small TrOCR decoder (4 layers of 256), random float32 weights;
one thing grows, the rest stays: an image of 64 by 64 pixels, 32 tokens, 1000 ids. Memory is what a
run holds beside the weights at its worst moment; of several runs it is the last one's.

python -m tests.benchmarks.growth [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                  [--only NAME …] [--plot FOLDER]
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image

from mlx_vedec import TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.files import write_file
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.measuring.benchmark import benchmark

from . import clock
from .measure import arguments

BYTES = ("memory", "image's cache", "text's cache", "weights")
Table = dict[str, list[float]]  # a column of each kind, a row for each value


@dataclass(frozen=True)
class Axis:
    """Something that grows.

    figure -- the part of a trial whose seconds are shown; model, run -- by the value, what is built
    and how it is benchmarked
    """

    title: str
    values: Sequence[int]
    figure: str
    why: str
    model: Callable[[int], Mapping[str, int]] = lambda value: {}
    run: Callable[[int], Mapping[str, int]] = lambda value: {}


AXES = {
    "image": Axis(
        "side of the image, pixels",
        (64, 128, 256, 512, 1024),
        "encode",
        "Patches grow with the square of the side, and the pairs of attention with the square of "
        "the patches: time and memory begin below the second power and tend to the fourth; what "
        "is kept of the image, its keys and values, stays at the second.",
        model=lambda side: {"image_size": side},
        run=lambda side: {"max_tokens": 2},
    ),
    "length": Axis(
        "tokens of the text",
        (32, 64, 128, 256, 512, 1024),
        "decode",
        "A step looks back at all tokens before it, but most of what it costs does not depend on "
        "them: the time is little more than proportional, and the cache is just that.",
        run=lambda length: {"max_tokens": length},
    ),
    "batch": Axis(
        "images in the batch",
        (1, 2, 4, 8, 16, 32),
        "seconds",
        "A step reads the weights once, and starts each operation once, for all images: the time "
        "grows less than they do. Memory is per image.",
        run=lambda rows: {"batch_size": rows},
    ),
    "beams": Axis(
        "beams of an image",
        (1, 2, 4, 8, 16),
        "decode",
        "As with the batch; and all beams of an image read the same keys and values of it, which "
        "are there once.",
        run=lambda beams: {"num_beams": beams},
    ),
    "vocabulary": Axis(
        "ids of the vocabulary",
        (1000, 4000, 16000, 64000, 256000),
        "decode",
        "The head's product and the search for the likeliest id are proportional to it, the layers "
        "do not depend on it: a small one hardly counts, a large one is most of a step.",
        model=lambda size: {"vocab_size": size},
    ),
    "runs": Axis(
        "images read one after another, by compiled steps",
        (1, 10, 100, 1000),
        "decode",
        "The functions of a shape are made once and hold no arrays: nothing grows.",
        run=lambda count: {"num_trials": count, "compile": True},
    ),
}


def main() -> None:
    """Print a table for each axis; with --plot, draw each and all together."""
    chosen = arguments(__doc__, rounds=(5, 2), add=add_options)
    tables = {}
    for name in chosen.only:
        axis = AXES[name]
        values = axis.values[:-2] if chosen.short else axis.values
        tables[name] = measured(axis, values, chosen.rounds)
        show(axis, values, tables[name])
    if chosen.plot is not None:
        chosen.plot.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            draw({name: table}, chosen.plot / f"{name}.png")
        draw(tables, chosen.plot / "growth.png")


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--only", nargs="+", choices=AXES, default=[*AXES])
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw, with matplotlib")


def small_model(*, image_size: int = 64, vocab_size: int = 1000) -> VisionEncoderDecoderModel:
    """A model with random weights, which are computed."""
    encoder = ViTConfig(
        image_size=image_size,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
    )
    decoder = TrOCRConfig(
        vocab_size=vocab_size,
        d_model=256,
        decoder_layers=4,
        decoder_attention_heads=4,
        decoder_ffn_dim=1024,
        max_position_embeddings=1100,
        cross_attention_hidden_size=192,
    )
    mx.random.seed(0)
    model = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    )
    model.generation_config = GenerationConfig(decoder_start_token_id=2, pad_token_id=1)
    model.eval()
    mx.eval(model.parameters())
    return model


def measured(axis: Axis, values: Sequence[int], rounds: int) -> Table:
    """Seconds and bytes at each value, the values in turn; a first round warms up."""
    shared = None if axis.model(values[0]) else small_model()
    models = {value: shared or small_model(**axis.model(value)) for value in values}
    seconds: dict[int, list[float]] = {value: [] for value in values}
    held: dict[int, dict[str, float]] = {}
    for number in range(rounds + 1):
        for value, model in models.items():
            mx.clear_cache()
            before = mx.get_active_memory()
            found = benchmark(model, **{"num_trials": 1, **axis.run(value)}, warmup=0, clock=clock)
            trial = found.trials[-1]
            amounts = (trial.peak_memory - before, trial.image_cache, trial.own_cache)
            held[value] = dict(zip(BYTES, (*amounts, found.weights), strict=True))
            if number:
                seconds[value].append(getattr(trial, axis.figure))
    return {
        "seconds": [statistics.median(seconds[value]) for value in values],
        **{kind: [held[value][kind] for value in values] for kind in BYTES},
    }


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """p of the power law cost = c · value^p nearest to them, in logarithms.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def show(axis: Axis, values: Sequence[int], table: Table) -> None:
    """A row for each value, then what power of it each column grows with: over all, at the end."""
    print(f"{axis.title:>24} {f'{axis.figure}, ms':>14}" + "".join(f"{k:>16}" for k in BYTES))
    for row, value in enumerate(values):
        cells = "".join(f"{table[kind][row] / 1e6:>13,.2f} MB" for kind in BYTES)
        print(f"{value:>24,} {1000 * table['seconds'][row]:>14.2f}{cells}")
    for name, some in (("power", slice(None)), ("of the last step", slice(-2, None))):
        powers = [exponent(values[some], column[some]) for column in table.values()]
        first, *others = (f"{round(power, 2) + 0.0:.2f}" for power in powers)  # no -0.00
        print(f"{name:>24} {first:>14}" + "".join(f"{power:>16}" for power in others))
    print(axis.why, end="\n\n", flush=True)


def draw(tables: Mapping[str, Table], path: Path) -> None:
    """Milliseconds above, bytes below, all axes logarithmic: a straight line is a power."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 * len(tables) + 1.5, 4.8), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(tables), squeeze=False, sharex="col", sharey="row")
    for (name, table), (above, below) in zip(tables.items(), panels.T, strict=True):
        axis, seconds = AXES[name], table["seconds"]
        values = axis.values[: len(seconds)]
        above.loglog(values, np.multiply(seconds, 1000), "o-", color="black", markersize=3)
        power = exponent(values, seconds)
        above.set_title(f"{axis.figure}: power {power:.2f}", fontsize=9)
        for kind, style in zip(BYTES, ("o-", "s--", "^:", "x-."), strict=True):
            below.loglog(values, np.divide(table[kind], 1e6), style, label=kind, markersize=3)
        below.set_xticks(values, [_short(value) for value in values], fontsize=7)
        below.set_xlabel(axis.title, fontsize=8)
    for axes in panels.flat:
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params(axis="y", labelsize=7)
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("milliseconds")
    panels[1, 0].set_ylabel("MB")
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(32)
    write_file(path, lambda file: picture.save(file, "PNG", optimize=True))
    print(path)


def _short(value: int) -> str:
    return f"{value // 1000}k" if value >= 1000 and not value % 1000 else str(value)


if __name__ == "__main__":
    main()
