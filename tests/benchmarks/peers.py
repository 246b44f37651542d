"""Other libraries beside this one, each in a process of its own, in turn in one run.

Whole models: transformers on torch with its own BLAS, and ONNX Runtime through optimum, from the
folders and pixels that are read here, whose tokens have to be the same: what is encoded and decoded
of 1 and of 8 images, in wall and in processor time. A ratio is one of minima, since what else a
machine does only adds to a time. Decode steps: the decoders
of mlx-vlm's Florence-2 and of mlx-whisper with random weights, as wide and deep as a TrOCR decoder
here, under the same BLAS. What is not installed is named; optimum and the MLX libraries may be in
other environments, with numpy and torch or MLX.

python -m tests.benchmarks.peers [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                 [--python NAME=PATH …] [--only NAME …] [--compile yes|no]
"""

from __future__ import annotations

import statistics
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_vedec import TrOCRConfig, load
from mlx_vedec.measuring.shapes import random_model
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel

from . import BLAS, LIBRARIES, Clocks
from .measure import arguments, in_turn, show_ratio, show_times
from .peer_ends import STEPS, Peer
from .shapes import decoder_model, per_step

FOLDERS = "transformers", "optimum-onnx"
DECODERS = "mlx-vlm", "mlx-whisper"
ALL = [*FOLDERS, *DECODERS]
SHAPE = {"layers": 6, "dims": 768, "heads": 12, "source": 577, "vocabulary": 51289}
TASKS: dict[str, dict[str, Any]] = {  # options where tokens are decoded
    "encode": {},
    "greedy": {"num_beams": 1},
    "4 beams": {"num_beams": 4},
}
ROWS = 1, 8
TOKENS = 32
Seconds = tuple[float, float]  # wall and processor time
Cell = dict[str, list[Seconds]]  # by side
LINES = [f"tests/data/lines/seen_00{number}.png" for number in (0, 1, 2, 3, 4, 5, 6, 9)]


def main() -> None:
    """Print the ratios of whole models, then of decode steps."""
    chosen = arguments(__doc__, rounds=(8, 3), add=add_options)
    pythons = dict(pair.split("=", 1) for pair in chosen.python)
    with tempfile.TemporaryDirectory() as scratch:
        if set(FOLDERS) & set(chosen.only):
            cells = compare_bundled(Path(scratch), chosen, pythons)
            cells += compare_small(Path(scratch), chosen, pythons)
            summarize(cells)
    if set(DECODERS) & set(chosen.only):
        compare_steps(chosen, pythons)


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--python", nargs="*", default=[], help="a peer's interpreter: NAME=PATH")
    parser.add_argument("--only", nargs="*", choices=ALL, default=ALL)
    parser.add_argument("--compile", choices=("yes", "no"), help="our steps; else as by default")


def compare_bundled(scratch: Path, chosen: Any, pythons: dict[str, str]) -> list[Cell]:
    """The bundled model and eight of its lines."""
    model, processor = load()
    pixels = scratch / "lines.npy"
    np.save(pixels, np.array(processor.pixels(LINES)).transpose(0, 3, 1, 2))
    model.save_pretrained(scratch / "bundled")  # in float32, as it was loaded on a CPU
    return compare("bundled", model, scratch / "bundled", pixels, chosen, pythons)


def compare_small(scratch: Path, chosen: Any, pythons: dict[str, str]) -> list[Cell]:
    """A model of trocr-small's shape, random, saved and loaded, on noise."""
    folder, pixels = scratch / "small", scratch / "noise.npy"
    made: Any = random_model("trocr-small")
    made.config.decoder.eos_token_id = None  # as the model's own; so no text ends early
    made.save_pretrained(folder)
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    noise = np.random.default_rng(0).standard_normal((max(ROWS), 3, 384, 384))
    np.save(pixels, noise.astype(np.float32))
    return compare("trocr-small's shape", model, folder, pixels, chosen, pythons)


def compare(
    name: str,
    model: VisionEncoderDecoderModel,
    folder: Path,
    pixels: Path,
    chosen: Any,
    pythons: dict[str, str],
) -> list[Cell]:
    """Every task of a folder in turn, once the tokens are known to be the same."""
    peers = begun({name: {"folder": str(folder)} for name in FOLDERS}, chosen, pythons)
    ours = {} if chosen.compile is None else {"compile": chosen.compile == "yes"}
    cells = []
    print(f"{name}, float32, up to {TOKENS} tokens; seconds, wall and processor; ratios of minima")
    for task, options in TASKS.items():
        for rows in ROWS:
            settings = {**options, "max_new_tokens": TOKENS} if options else {}
            own = {**settings, **ours} if options else {}
            asked = {"pixels": str(pixels), "rows": rows, **settings}
            sides = {"mlx_vedec": partial(read, model, pixels, rows, own)}
            sides |= {peer.name: partial(peer.ask, **asked) for peer in peers}
            cells.append(measured(sides, chosen.rounds))
            show_cell(f"{task}, {rows} image{'s' * (rows > 1)}", cells[-1])
    end(peers)
    return cells


def measured(sides: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> Cell:
    """Seconds of every side, once in each round, after a first round that does not count."""
    cell: Cell = {name: [] for name in sides}
    for number in range(rounds + 1):
        answers = {name: side() for name, side in sides.items()}
        tokens = [answer.get("tokens", []) for answer in answers.values()]
        assert all(found == tokens[0] for found in tokens), dict(zip(sides, tokens, strict=True))
        if number:
            for name, answer in answers.items():
                cell[name].append((answer["seconds"], answer["processor"]))
    return cell


def least(times: list[Seconds]) -> Seconds:
    """The least of the wall times, and the least of the processor's."""
    return min(wall for wall, _ in times), min(processor for _, processor in times)


def ratios(cell: Cell, other: str) -> Seconds:
    """Our least times over another's."""
    (our_wall, ours), (their_wall, theirs) = least(cell["mlx_vedec"]), least(cell[other])
    return our_wall / their_wall, ours / theirs


def show_cell(title: str, cell: Cell) -> None:
    """A line: the least times of every side, and ours over each other."""
    found = {name: least(times) for name, times in cell.items()}
    times = "; ".join(
        f"{name} {wall:.3f} {processor:.3f}" for name, (wall, processor) in found.items()
    )
    for other in list(cell)[1:]:
        wall, processor = ratios(cell, other)
        times += f"; / {other}: wall {wall:.2f}, processor {processor:.2f}"
    print(f"  {title:18} {times}", flush=True)


def summarize(cells: list[Cell]) -> None:
    """The worst and the median ratio of all cells, for each other side."""
    for other in list(cells[0])[1:]:
        found = [ratios(cell, other) for cell in cells]
        for kind, values in zip(("wall", "processor"), zip(*found, strict=True), strict=True):
            worst, middle = max(values), statistics.median(values)
            print(f"{kind} time / {other}: worst {worst:.2f}, median {middle:.2f}")


def read(
    model: VisionEncoderDecoderModel, pixels: Path, rows: int, options: dict[str, Any]
) -> dict[str, Any]:
    """What a peer's other end does, here: seconds and tokens of the pixels in a file."""
    given = mx.array(np.load(pixels)[:rows].transpose(0, 2, 3, 1))
    mx.eval(given)
    clocks = Clocks()
    if not options:
        mx.eval(model.features(given))
        return clocks.seconds()
    tokens: Any = model.generate(given, do_sample=False, **options)
    mx.eval(tokens)
    return {**clocks.seconds(), "tokens": tokens.tolist()}


def compare_steps(chosen: Any, pythons: dict[str, str]) -> None:
    """A greedy step of decoders that are equally wide and deep, on as many features."""
    shape = {**SHAPE, "layers": 2} if chosen.short else SHAPE
    print("a decode step: " + ", ".join(f"{value} {name}" for name, value in shape.items()))
    config = TrOCRConfig(
        vocab_size=shape["vocabulary"],
        d_model=shape["dims"],
        decoder_layers=shape["layers"],
        decoder_attention_heads=shape["heads"],
        decoder_ffn_dim=4 * shape["dims"],
    )
    model = decoder_model(config, shape["source"], shape["dims"])
    wanted: dict[str, Any] = dict.fromkeys(DECODERS, shape)
    peers = begun(wanted, chosen, pythons, BLAS if BLAS in LIBRARIES else "none")
    for rows in (1, 8):
        print(f" {rows} row{'s' * (rows > 1)}")
        ours = per_step(model, STEPS, rows, logprobs=False, max_length=64)
        sides = {"mlx_vedec": ours}
        sides |= {p.name: lambda p=p, rows=rows: p.ask(rows=rows)["seconds"] for p in peers}
        show(sides, chosen.rounds, rows)
    end(peers)


def begun(
    models: dict[str, dict[str, Any]], chosen: Any, pythons: dict[str, str], blas: str = "none"
) -> list[Peer]:
    """The peers that are there; a line for each, with its version or why it is not."""
    wanted = {name: model for name, model in models.items() if name in chosen.only}
    peers = [
        Peer(name, blas=blas, **model, **({"python": pythons[name]} if name in pythons else {}))
        for name, model in wanted.items()
    ]
    for peer in peers:
        print(f"  {peer.name} {peer.version or f'not installed or not working: {peer.missing}'}")
    end([peer for peer in peers if peer.missing])
    return [peer for peer in peers if not peer.missing]


def end(peers: list[Peer]) -> None:
    """Let their processes end."""
    for peer in peers:
        peer.close()


def show(sides: dict[str, Any], rounds: int, rows: int) -> None:
    """Times of the sides in turn, and ours over each other."""
    times = in_turn(sides, rounds)
    show_times(times, rows)
    for name in list(sides)[1:]:
        show_ratio(times, "mlx_vedec", name)


if __name__ == "__main__":
    main()
