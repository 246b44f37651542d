"""Memory: loading, encoding beside its bound, and the same in transformers.

python -m tests.benchmarks.memory [--short] [--blas openblas|blis|none] [--torch]

Each is a process of its own. Sizes are MB of 10⁶ bytes: MLX's own count, and what Linux counts as
resident, on top of what was there before. An encoder's weights are random.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .measure import arguments

ENCODERS = (("trocr-base", 384, 384), ("nougat-small", 896, 672), ("donut-base", 1280, 960))
FULL = ("donut-base", 2560, 1920)


def main() -> None:
    """Run every part in a process of its own."""
    if len(sys.argv) > 2 and sys.argv[1] == "part":
        PARTS[sys.argv[2]](*sys.argv[3:])
        return
    chosen = arguments(
        __doc__, rounds=(1, 1), add=lambda p: p.add_argument("--torch", action="store_true")
    )
    for stored in ("float32", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            part("save", stored, folder)
            part("load", stored, folder)
    for shape in ENCODERS[:2] if chosen.short else (*ENCODERS, FULL):
        part("encode", *shape)
    if chosen.torch:
        part("torch", *FULL[1:])


def part(*words: object) -> None:
    """Do one thing in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "part", *map(str, words)]
    subprocess.run(command, check=True)


def save(stored: str, folder: str) -> None:
    from mlx_vedec.measuring.shapes import random_model

    random_model("trocr-small").astype(stored).save_pretrained(folder)


def load(stored: str, folder: str) -> None:
    import mlx.core as mx

    from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel

    before = reset()
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    held = sum(x.nbytes for x in leaves(model))
    print(
        f"load trocr-small of {stored}: weights {mb(held)}, {mb(mx.get_peak_memory())} at most, "
        f"{mb(resident('VmHWM') - before)} resident",
        flush=True,
    )


def encode(name: str, height: str, width: str) -> None:
    import mlx.core as mx

    from mlx_vedec.measuring.shapes import random_model
    from mlx_vedec.model.footprint import estimate_memory

    size = int(height), int(width)
    model = random_model(name, size)
    pixels = mx.random.normal((1, *size, 3))
    mx.eval(model.encoder.parameters(), pixels)
    bound = estimate_memory(model, image_size=size, max_length=32).encoder
    held = mx.get_active_memory() - pixels.nbytes
    mx.reset_peak_memory()
    before = reset()
    mx.eval(model.encode(pixels))
    taken = mx.get_peak_memory() - held
    print(
        f"encode {name} {height}×{width}: {mb(taken)}, bound {mb(bound)} ({bound / taken:.2f}), "
        f"{mb(resident('VmHWM') - before)} resident",
        flush=True,
    )


def torch(height: str, width: str) -> None:
    import torch as pytorch
    from transformers import DonutSwinConfig, DonutSwinModel

    shape: dict[str, Any] = {"embed_dim": 128, "depths": [2, 2, 14, 2], "window_size": 10}
    config = DonutSwinConfig(
        image_size=[int(height), int(width)], num_heads=[4, 8, 16, 32], **shape
    )
    model, pixels = DonutSwinModel(config).eval(), pytorch.randn(1, 3, int(height), int(width))
    before = reset()
    with pytorch.no_grad():
        model(pixels)
    print(f"transformers' Donut {height}×{width}: {mb(resident('VmHWM') - before)} resident")


def leaves(model: Any) -> list[Any]:
    from mlx.utils import tree_flatten

    return [x for _, x in tree_flatten(model.parameters())]


def reset() -> int:
    """Let Linux count the peak anew; bytes resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


PARTS = {"save": save, "load": load, "encode": encode, "torch": torch}

if __name__ == "__main__":
    main()
