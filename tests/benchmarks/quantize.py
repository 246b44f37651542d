"""What quantization costs the bundled model on labelled lines: bits, divergence, lines, errors.

    python -m tests.benchmarks.quantize [FOLDER] [--calibrate] [--only NAME …]

FOLDER holds `labels.tsv` (name, text) and the images; by default the 200 validation lines beside
the repository. KL is per token, to the distributions of float32, along the tokens that it reads.

With --calibrate the lines that are among the package's own (`mlx_vedec/assets/lines`) are measured
on, and the model is calibrated on the others, whose labels are not used.
"""

import argparse
import time
from pathlib import Path

import mlx.core as mx

from mlx_vedec import QuantizationConfig, load
from mlx_vedec.checkpoints.quantizing import dequantize, quantize
from mlx_vedec.conversion.calibration import calibrate
from mlx_vedec.data.datasets import LINES as OWN, labelled_images
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.text.error_rates import character_error_rate

from . import BLAS

LINES = Path(__file__).resolve().parents[3] / "shared" / "checkpoints" / "tiny-ocr" / "val"
SETTINGS = {
    "8": QuantizationConfig(8),
    "6": QuantizationConfig(6),
    "4 uniform": QuantizationConfig(4, recipe="uniform"),
    "4 head": QuantizationConfig(4, recipe="head"),
    "4 mixed": QuantizationConfig(4),
    "3 uniform": QuantizationConfig(3, recipe="uniform"),
    "3 mixed": QuantizationConfig(3),
    "2 uniform": QuantizationConfig(2, recipe="uniform"),
    "2 mixed": QuantizationConfig(2),
    "mxfp4": QuantizationConfig(mode="mxfp4", recipe="uniform"),
}
CALIBRATED = ("4 uniform", "4 mixed", "3 uniform", "3 mixed", "2 uniform", "2 mixed")
BATCH = 50


class Measure:
    """The model of floats on some lines, and how far others are from it."""

    def __init__(self, images, texts):
        self.model, self.processor = load()
        pixels = [self.processor.pixels([image]) for image in images]
        starts = range(0, len(pixels), BATCH)
        self.batches = [mx.concatenate(pixels[i : i + BATCH]) for i in starts]
        self.labels = texts
        self.tokens, self.texts = self.read(self.model)
        self.teacher = list(self.logprobs(self.model))
        pad = self.model.generation_config.pad_token_id
        self.masks = [tokens[:, 1:] != pad for tokens in self.tokens]

    def read(self, model):
        tokens = [model.generate(batch) for batch in self.batches]
        decode = self.processor.batch_decode
        return tokens, [t for rows in tokens for t in decode(rows, skip_special_tokens=True)]

    def logprobs(self, model):
        for batch, rows in zip(self.batches, self.tokens, strict=True):
            logits = model(batch, rows[:, :-1]).logits.astype(mx.float32)
            yield logits - mx.logsumexp(logits, axis=-1, keepdims=True)

    def errors(self, texts):
        return 100 * character_error_rate(texts, self.labels)

    def figures(self, model):
        """KL in thousandths, percent of lines unchanged, error rate in percent."""
        terms = [
            ((mx.exp(t) * (t - s)).sum(axis=-1) * mask).sum().item()
            for t, s, mask in zip(self.teacher, self.logprobs(model), self.masks, strict=True)
        ]
        kl = sum(terms) / sum(mask.sum().item() for mask in self.masks)
        _, found = self.read(model)
        same = sum(a == b for a, b in zip(found, self.texts, strict=True)) / len(found)
        return 1000 * kl, 100 * same, self.errors(found)


def quantized(settings):
    """The bundled model, its scales in float16 as they are stored."""
    model, _ = load()
    quantize(model, settings)
    return model.astype("float16")


def as_floats(model):
    """The same numbers in float32, which is the faster on a CPU."""
    model.astype("float32")
    dequantize(model)
    return model


def verdict(fits):
    return "met" if fits else "MISSED"


def compare(measure):
    """A line per setting, and whether 8 and 4 bits do as they should."""
    found = {}
    for name, settings in SETTINGS.items():
        model = quantized(settings)
        bits = bits_per_weight(model)
        kl, same, errors = found[name] = measure.figures(as_floats(model))
        print(
            f"{name:10} {bits:5.2f} bits per weight, KL {kl:6.2f}e-3, "
            f"{same:5.1f} % of lines unchanged, error rate {errors:.2f} %",
            flush=True,
        )
    lost = found["4 mixed"][2] - measure.errors(measure.texts)
    print(f"8 bits leave 99 % of lines unchanged: {verdict(found['8'][1] >= 99)}")
    print(f"4 bits lose at most 0.5 points of error rate: {verdict(lost <= 0.5)}")


def compare_calibrated(measure, images, names):
    """A line per setting: before and after, and whether the divergence is half or less."""
    for name in names:
        before = measure.figures(as_floats(quantized(SETTINGS[name])))
        model = quantized(SETTINGS[name])
        start = time.perf_counter()
        calibrate(model, measure.model, measure.processor, images)
        seconds = time.perf_counter() - start
        after = measure.figures(as_floats(model))
        fits = after[0] <= before[0] / 2 and after[2] <= before[2]
        print(
            f"{name:10} KL {before[0]:6.2f}e-3 to {after[0]:6.2f}e-3, lines unchanged "
            f"{before[1]:5.1f} to {after[1]:5.1f} %, error rate {before[2]:.2f} to {after[2]:.2f} "
            f"%, {seconds:.0f} s: half, and no more errors: {verdict(fits)}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=LINES)
    parser.add_argument("--calibrate", action="store_true", help="before and after")
    parser.add_argument("--only", nargs="+", choices=CALIBRATED, default=CALIBRATED)
    chosen = parser.parse_args()
    images, texts = labelled_images(chosen.folder)
    rows = list(zip(images, texts, strict=True))
    if chosen.calibrate:
        own = {path.name for path in OWN.glob("*.png")}
        others = [image for image in images if image.name not in own]
        rows = [row for row in rows if row[0].name in own]
    measure = Measure(*zip(*rows, strict=True))
    rate = measure.errors(measure.texts)
    print(f"{BLAS}; {len(rows)} lines; float32: error rate {rate:.2f} %", flush=True)
    if chosen.calibrate:
        print(f"calibrated on {len(others)} others", flush=True)
        compare_calibrated(measure, others, chosen.only)
    else:
        compare(measure)


if __name__ == "__main__":
    main()
