"""What reading a page of A4 costs, stage by stage, and beside Tesseract.

python -m tests.benchmarks.page_cost [IMAGE] [--short] [--rounds N] [--blas openblas|blis|none]
    [--cpu]

The lines are found, and read with the bundled model without the boxes of words. Decoding is what is
left of the whole, with the confidences and what puts the page together. Memory is what Linux counts
as resident before recognition, on top of what was there with a model that has read a line.
Tesseract's time is of the processor, with one thread; it is left out where it is not installed.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from statistics import median

import mlx.core as mx
from PIL import Image

from mlx_vedec import generate, load, load_image, read_page
from mlx_vedec.model.footprint import fitting_batch_size
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel
from mlx_vedec.pages.finding import find_layout
from mlx_vedec.pages.strips import pieces_of
from mlx_vedec.reading.processor import Processor

from . import clock
from .measure import Times, arguments, show_ratio, show_times
from .memory import mb, reset, resident
from .pages import PAGES, Tesseract

PAGE = PAGES / "a4-one_column-clean.png"
LINE = "tests/data/lines/seen_006.png"
WHOLE, THEIRS = "whole page", "Tesseract"


def main() -> None:
    """Print the stages, the whole, and the ratio to Tesseract."""
    chosen = arguments(__doc__, rounds=(5, 2), add=_add)
    reader = load()
    generate(*reader, LINE)
    there = reset()
    pieces = _cut(chosen.image, reader[1], {})
    print(f"{len(pieces)} pieces; {mb(resident('VmHWM') - there)} resident before recognition")
    times: Times = {}
    for number in range(chosen.rounds + 1):
        found = _stages(reader, chosen.image)
        if (theirs := Tesseract(None)(chosen.image)) is not None:
            found[THEIRS] = theirs[1]
        for name, seconds in found.items() if number else ():
            times.setdefault(name, []).append(seconds)
    show_times(times)
    whole = median(times[WHOLE])
    for name in times:
        if name not in (WHOLE, THEIRS):
            print(f"  {name:34} {100 * median(times[name]) / whole:5.1f} % of the whole")
    if THEIRS in times:
        show_ratio(times, WHOLE, THEIRS, target=2.0)


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("image", type=Path, nargs="?", default=PAGE, help="of a printed page")


def _stages(reader: tuple[VisionEncoderDecoderModel, Processor], image: Path) -> dict[str, float]:
    """Seconds of each stage, and of the whole page, which is read once more."""
    model, processor = reader
    found: dict[str, float] = {}
    pieces = _cut(image, processor, found)
    started = clock()
    pixels = [model.encoder.narrowed(processor.pixels([piece])) for piece in pieces]
    found["preparing pixels"] = clock() - started
    started, size = clock(), fitting_batch_size(model)
    for width in {x.shape[2] for x in pixels}:
        own = [x for x in pixels if x.shape[2] == width]
        for first in range(0, len(own), size):
            mx.eval(model.features(mx.concatenate(own[first : first + size])))
    found["encoding"] = clock() - started
    started = clock()
    read_page(model, processor, image, layout=False, boxes=False)
    whole = clock() - started
    return {**found, "decoding, and the rest": whole - sum(found.values()), WHOLE: whole}


def _cut(image: Path, processor: Processor, found: dict[str, float]) -> list[Image.Image]:
    """The pictures of a page's pieces; notes what it takes to open it, find lines and cut them."""
    started = clock()
    picture = load_image(image)
    opened = clock()
    layout = find_layout(picture)
    lines = clock()
    aspect = processor.line_aspect_ratio
    pieces = [piece.picture for line in layout.lines for piece in pieces_of(picture, line, aspect)]
    times = opened - started, lines - opened, clock() - lines
    found |= zip(("opening", "finding lines", "cutting lines"), times, strict=True)
    return pieces


if __name__ == "__main__":
    main()
