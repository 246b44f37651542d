"""`mlx_vedec benchmark`: measure how fast a model reads images here, and with how much memory.

Every text has exactly the number of tokens that is asked for: no end token ends it earlier. The
table at the end can be pasted into an issue; PERFORMANCE.md collects such rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .common import run, say
from .flags import (
    LOADING,
    NUMBER,
    FlagParser,
    add_flag,
    add_option,
    add_shared,
    loading_options,
    size,
)

if TYPE_CHECKING:
    from ..measuring.benchmark_report import Benchmark, Trial

SHAPES = "trocr-base, trocr-small, donut-base, nougat-small, manga-ocr or vit-gpt2"


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = FlagParser("mlx_vedec benchmark", description=__doc__)
    add_shared(p, "model", *LOADING)
    add_flag(p, "shape", f"Random weights of a shape: {SHAPES}.", metavar="NAME")
    add_flag(
        p,
        "image",
        "Files or URLs, in turn until the batch is full.",
        "a line of print",
        nargs="+",
        default=[],
        metavar="IMAGE",
    )
    sizes = "the processor's; of another size, pixels are random"
    add_shared(p, "image_size", type=size, unset=sizes)
    add_shared(p, "-b batch_size", unset="1, or all of the images")
    add_option(p, "num_beams", unset="the checkpoint's")
    add_option(p, "compile")
    p.add_argument(
        *("-m", "--max-tokens", "-g", "--generation-tokens"),
        help="Tokens of each text (default: 32, or as many as there are positions).",
        **NUMBER,
    )
    add_flag(p, "-n num_trials", "Runs that count.", default=5, **NUMBER)
    add_flag(p, "warmup", "Runs before those that count.", default=1, **NUMBER)
    add_shared(p, "json")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _benchmark, argv)


def _benchmark(args: argparse.Namespace) -> int:
    found = _random(args) if args.shape is not None else _loaded(args)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        print(f"{found}\n\n{found.table()}")
    return 0


def _random(args: argparse.Namespace) -> Benchmark:
    """Benchmark random weights, computed only when it is sure that they fit into memory."""
    from ..checkpoints.quantizing import quantize
    from ..measuring.benchmark import benchmark
    from ..measuring.shapes import random_model

    for name in ("model", "adapter_path", "revision", "image"):
        if getattr(args, name):
            flag = "--" + name.replace("_", "-")
            raise OptionError(f"--shape has random weights and pixels; leave out it or {flag}")
    model = random_model(args.shape, args.image_size)
    if args.dtype is not None:
        model.astype(args.dtype)
    if args.quantize is not None:
        quantize(model, args.quantize)
    return benchmark(model, **_options(args)).of(f"{args.shape}'s shape, random weights")


def _loaded(args: argparse.Namespace) -> Benchmark:
    from ..measuring.benchmark import benchmark, timed_load
    from ..reading.load import BUNDLED, processor_of

    source = args.model or BUNDLED
    how = loading_options(vars(args))
    reader, steps = how.pop("processor"), how.pop("image_steps")
    where = {name: how[name] for name in ("revision", "subfolder")}
    processor = None  # which random pixels do not need, unless adapters bring tokens for it
    if args.image_size is None or args.adapter_path is not None:
        processor = processor_of(source, reader, image_steps=steps, **where)
    model, load = timed_load(source, processor=processor, **how)
    options = {"images": args.image, "image_size": args.image_size, **_options(args)}
    name = " + ".join(filter(None, (args.model or "the bundled line reader", args.adapter_path)))
    return benchmark(model, processor, **options).of(name, load)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("batch_size", "num_beams", "compile", "max_tokens", "num_trials", "warmup")
    number = count(1)

    def show(trial: Trial) -> None:
        say(f"Trial {next(number)}:  {trial}")

    return {**{name: getattr(args, name) for name in names}, "progress": show}
