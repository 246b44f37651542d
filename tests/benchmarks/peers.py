"""Other libraries beside this one, each in a process of its own, in turn in one run.

Whole models: transformers on torch with its own BLAS, and ONNX Runtime through optimum, from the
folders and pixels that are read here, whose tokens have to be the same. Decode steps: the decoders
of mlx-vlm's Florence-2 and of mlx-whisper with random weights, as wide and deep as a TrOCR decoder
here, under the same BLAS. What is not installed is named; optimum and the MLX libraries may be in
other environments, with numpy and torch or MLX.

python -m tests.benchmarks.peers [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                 [--python NAME=PATH …] [--only NAME …]
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_vedec import TrOCRConfig, load
from mlx_vedec.measuring.shapes import random_model
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel

from . import BLAS, LIBRARIES, clock
from .measure import arguments, in_turn, show_ratio, show_times
from .peer_ends import STEPS, Peer
from .shapes import decoder_model, per_step

FOLDERS = "transformers", "optimum-onnx"
DECODERS = "mlx-vlm", "mlx-whisper"
ALL = [*FOLDERS, *DECODERS]
SHAPE = {"layers": 6, "dims": 768, "heads": 12, "source": 577, "vocabulary": 51289}
TASKS: dict[str, tuple[int, dict[str, Any]]] = {  # rows, and options where tokens are decoded
    "encode": (1, {}),
    "greedy": (1, {"num_beams": 1}),
    "4 beams": (1, {"num_beams": 4}),
    "greedy, 8 images": (8, {"num_beams": 1}),
}
LINES = [f"tests/data/lines/seen_00{number}.png" for number in (0, 1, 2, 3, 4, 5, 6, 9)]


def main() -> None:
    """Print the ratios of whole models, then of decode steps."""
    chosen = arguments(__doc__, rounds=(10, 3), add=add_options)
    pythons = dict(pair.split("=", 1) for pair in chosen.python)
    with tempfile.TemporaryDirectory() as scratch:
        if set(FOLDERS) & set(chosen.only):
            compare_bundled(Path(scratch), chosen, pythons)
            compare_small(Path(scratch), chosen, pythons)
    if set(DECODERS) & set(chosen.only):
        compare_steps(chosen, pythons)


def add_options(parser: ArgumentParser) -> None:
    """What this script takes beside the common options."""
    parser.add_argument("--python", nargs="*", default=[], help="a peer's interpreter: NAME=PATH")
    parser.add_argument("--only", nargs="*", choices=ALL, default=ALL)


def compare_bundled(scratch: Path, chosen: Any, pythons: dict[str, str]) -> None:
    """The bundled model and eight of its lines."""
    model, processor = load()
    pixels = scratch / "lines.npy"
    np.save(pixels, np.array(processor.pixels(LINES)).transpose(0, 3, 1, 2))
    print("the bundled model, float32, whole lines")
    model.save_pretrained(scratch / "bundled")  # in float32, as it was loaded on a CPU
    compare(model, scratch / "bundled", pixels, {}, chosen, pythons)


def compare_small(scratch: Path, chosen: Any, pythons: dict[str, str]) -> None:
    """A model of trocr-small's shape, random and saved, on noise."""
    model, tokens = random_model("trocr-small"), 8 if chosen.short else 20
    folder, pixels = scratch / "small", scratch / "noise.npy"
    model.save_pretrained(folder)
    noise = np.random.default_rng(0).standard_normal((8, 3, 384, 384))
    np.save(pixels, noise.astype(np.float32))
    print(f"trocr-small's shape, random float32 weights, {tokens} tokens")
    compare(model, folder, pixels, {"max_new_tokens": tokens}, chosen, pythons)


def compare(
    model: VisionEncoderDecoderModel,
    folder: Path,
    pixels: Path,
    options: dict[str, Any],
    chosen: Any,
    pythons: dict[str, str],
) -> None:
    """Every task of a folder in turn, once the tokens are known to be the same."""
    peers = begun({name: {"folder": str(folder)} for name in FOLDERS}, chosen, pythons)
    for task, (rows, more) in TASKS.items():
        settings = {**more, **options} if more else {}
        tokens = read(model, pixels, rows, settings)["tokens"]
        asked = {"pixels": str(pixels), "rows": rows, **settings}
        for peer in peers:
            found = peer.ask(**asked).get("tokens", [])
            assert found == tokens, f"{task}, {peer.name}: {found}, not {tokens}"
        sides: dict[str, Any] = {
            "mlx_vedec": lambda rows=rows, s=settings: read(model, pixels, rows, s)["seconds"]
        }
        for p in peers:
            sides[p.name] = lambda peer=p, asked=asked: peer.ask(**asked)["seconds"]
        print(f" {task}")
        show(sides, chosen.rounds, rows)
    end(peers)


def read(
    model: VisionEncoderDecoderModel, pixels: Path, rows: int, options: dict[str, Any]
) -> dict[str, Any]:
    """What a peer's other end does, here: seconds and tokens of the pixels in a file."""
    given = mx.array(np.load(pixels)[:rows].transpose(0, 2, 3, 1))
    mx.eval(given)
    start = clock()
    if not options:
        mx.eval(model.encode(given))
        return {"seconds": clock() - start, "tokens": []}
    tokens: Any = model.generate(given, do_sample=False, **options)
    mx.eval(tokens)
    return {"seconds": clock() - start, "tokens": tokens.tolist()}


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
