"""What quantization costs the bundled model on labelled lines: bits, divergence, lines, errors.

    python -m tests.benchmarks.quantize [FOLDER]

FOLDER holds `labels.tsv` (name, text) and the images; by default the 200 validation lines beside
the repository. KL is per token, to the distributions of float32, along the tokens that it reads.
"""

import argparse
from pathlib import Path

import mlx.core as mx

from mlx_vedec import QuantizationConfig, load
from mlx_vedec.quantize import bits_per_weight, dequantize, quantize

LINES = Path(__file__).resolve().parents[3] / "shared" / "checkpoints" / "tiny-ocr" / "val"
SETTINGS = {
    "8": QuantizationConfig(8),
    "6": QuantizationConfig(6),
    "4 uniform": QuantizationConfig(4, recipe="uniform"),
    "4 head": QuantizationConfig(4, recipe="head"),
    "4 mixed": QuantizationConfig(4),
    "3 mixed": QuantizationConfig(3),
    "mxfp4": QuantizationConfig(mode="mxfp4", recipe="uniform"),
}
BATCH = 50


def distance(a: str, b: str) -> int:
    """Letters to insert, delete or replace."""
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
        before = row
    return before[-1]


def read(model, processor, batches):
    tokens = [model.generate(batch) for batch in batches]
    texts = [t for rows in tokens for t in processor.batch_decode(rows, skip_special_tokens=True)]
    return tokens, texts


def logprobs(model, batches, tokens):
    for batch, rows in zip(batches, tokens, strict=True):
        logits = model(batch, rows[:, :-1]).logits.astype(mx.float32)
        yield logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=LINES)
    folder = parser.parse_args().folder
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    rows = [row for row in rows if row[0].endswith(".png")]
    model, processor = load()
    pixels = [processor.pixels([folder / row[0]]) for row in rows]
    batches = [mx.concatenate(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    tokens, texts = read(model, processor, batches)
    teacher = list(logprobs(model, batches, tokens))
    masks = [tokens[:, 1:] != model.generation_config.pad_token_id for tokens in tokens]

    def errors(found):
        wrong = sum(distance(a, b) for a, (_, b, *_) in zip(found, rows, strict=True))
        return 100 * wrong / sum(len(row[1]) for row in rows)

    print(f"{len(rows)} lines; float32: error rate {errors(texts):.2f} %")
    for name, settings in SETTINGS.items():
        model, _ = load()
        quantize(model, settings)
        bits = bits_per_weight(model.astype("float16"))
        model.astype("float32")
        dequantize(model)
        student = logprobs(model, batches, tokens)
        terms = [
            ((mx.exp(t) * (t - s)).sum(axis=-1) * mask).sum().item()
            for t, s, mask in zip(teacher, student, masks, strict=True)
        ]
        kl = sum(terms) / sum(mask.sum().item() for mask in masks)
        _, found = read(model, processor, batches)
        same = 100 * sum(a == b for a, b in zip(found, texts, strict=True)) / len(rows)
        print(
            f"{name:10} {bits:5.2f} bits per weight, KL {1000 * kl:6.2f}e-3, "
            f"{same:5.1f} % of lines unchanged, error rate {errors(found):.2f} %"
        )


if __name__ == "__main__":
    main()
