"""`mlx_vedec benchmark`: how fast a model reads images here, and with how much memory.

A text has exactly the tokens asked for, whatever the model writes: no end token ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from .common import run

if TYPE_CHECKING:
    from ..measuring.benchmark_report import Benchmark, Trial

SHAPES = "trocr-base, trocr-small, donut-base, nougat-small, manga-ocr or vit-gpt2"


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = argparse.ArgumentParser("mlx_vedec benchmark", description=__doc__)
    p.add_argument("--model", help="a folder or a Hub id; without it, the bundled line reader")
    p.add_argument("--adapter-path", help="a folder of adapters for the model")
    p.add_argument("--revision", help="branch, tag or commit of a Hub id")
    p.add_argument("--shape", metavar="NAME", help=f"random weights of a shape: {SHAPES}")
    p.add_argument(
        "--image",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="files or URLs, in turn until the batch is full; by default a line of print",
    )
    p.add_argument(
        "--image-size", type=_size, metavar="HxW", help="random pixels of this size instead"
    )
    p.add_argument("-b", "--batch-size", type=int, help="images read at once (1, or all of them)")
    p.add_argument("--num-beams", type=int, help="beams of each image (the checkpoint's)")
    p.add_argument(
        *("-m", "--max-tokens", "-g", "--generation-tokens"),
        type=int,
        help="tokens of each text (32, or as many as there are positions)",
    )
    p.add_argument("-n", "--num-trials", type=int, default=5, help="runs that count (5)")
    p.add_argument("--warmup", type=int, default=1, help="runs before them (1)")
    p.add_argument("--quantize", type=int, metavar="BITS", help="the weights, to 4 or 8 bits")
    p.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of the weights; by default the file's, float32 on a CPU",
    )
    p.add_argument("--json", action="store_true", help="everything, as one JSON object")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run(parser(), _benchmark, argv)


def _benchmark(args: argparse.Namespace) -> int:
    found = _random(args) if args.shape is not None else _loaded(args)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if args.json else found)
    return 0


def _random(args: argparse.Namespace) -> Benchmark:
    """Of random weights, which are computed only when it is sure that they fit."""
    from ..checkpoints.quantizing import quantize
    from ..errors import OptionError
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
    from ..reading.pipeline import BUNDLED
    from ..reading.processor import Processor

    source = args.model or BUNDLED
    model, load = timed_load(
        source,
        adapter_path=args.adapter_path,
        dtype=args.dtype,
        quantize=args.quantize,
        revision=args.revision,
    )
    processor = None  # which random pixels do not need
    if args.image_size is None:
        processor = Processor.from_pretrained(source, revision=args.revision)
    options = {"images": args.image, "image_size": args.image_size, **_options(args)}
    name = " + ".join(filter(None, (args.model or "the bundled line reader", args.adapter_path)))
    return benchmark(model, processor, **options).of(name, load)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("batch_size", "num_beams", "max_tokens", "num_trials", "warmup")
    number = count(1)

    def show(trial: Trial) -> None:
        print(f"Trial {next(number)}:  {trial}", file=sys.stderr, flush=True)

    return {**{name: getattr(args, name) for name in names}, "progress": show}


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxW, such as 384x384")
    return int(height), int(width)
