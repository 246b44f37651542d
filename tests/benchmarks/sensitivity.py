"""Bits chosen by measured cost against recipes of equal size, with the bundled model.

    python -m tests.benchmarks.sensitivity [--images 136]

Costs are measured on validation lines beside the repository that are not among the package's 64;
what comes of the bits is measured on those 64.
"""

import argparse
import time
from pathlib import Path

from mlx_vedec import QuantizationConfig, load
from mlx_vedec.checkpoints.quantizing import dequantize, quantize
from mlx_vedec.conversion.sensitivity import choose, measure
from mlx_vedec.data.datasets import labelled_images
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.measuring.verification import verify

LINES = Path(__file__).resolve().parents[3] / "shared" / "checkpoints" / "tiny-ocr" / "val"
RECIPES = {
    "3, uniform": QuantizationConfig(3, recipe="uniform"),
    "4, uniform": QuantizationConfig(4, recipe="uniform"),
    "3, mixed": QuantizationConfig(3),
    "4, mixed": QuantizationConfig(4),
}


def measured(model, processor, own, count):
    others = [path for path in labelled_images(LINES).images if path.name not in own]
    begun = time.perf_counter()
    found = measure(model, processor, others[:: len(others) // count][:count], max_images=None)
    seconds = time.perf_counter() - begun
    print(f"measured on {found.images} lines, {found.tokens} tokens: {seconds:.0f} s")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=136)
    args = parser.parse_args()
    model, processor = load()
    lines = labelled_images(None, line_aspect_ratio=processor.line_aspect_ratio)
    own = {path.name for path in lines.images}
    found = measured(model, processor, own, args.images)

    def show(name, settings):
        changed, _ = load(dtype="float16")
        quantize(changed, settings)
        bits = bits_per_weight(changed)
        changed.astype("float32")
        dequantize(changed)  # computes the same, and fast on a CPU
        result = verify(model, changed, processor, lines.images, lines.labels)
        print(
            f"{name:20} {bits:5.2f} bits per weight, KL {1000 * result.divergence:6.2f} "
            f"± {1000 * result.divergence_error:.2f}e-3, "
            f"{100 * result.texts_unchanged:5.1f} % of texts unchanged, "
            f"error rate {100 * result.changed.error_rate:5.2f} % "
            f"(of floats {100 * result.original.error_rate:.2f} %)",
            flush=True,
        )
        return bits

    for name, settings in RECIPES.items():
        bits = show(name, settings)
        show("  chosen", choose(found, bits + 1e-9))
    for bits in (4.5, 5.0):
        show(f"chosen, {bits}", choose(found, bits))


if __name__ == "__main__":
    main()
