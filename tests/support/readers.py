"""The bundled model for tests that read much, and the first lines of the example page."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image

from mlx_vedec import VisionEncoderDecoderModel, load
from mlx_vedec.reading.processor import Processor
from tests.conftest import ROOT

SEEN: dict[bytes, mx.array] = {}


def reads_again() -> tuple[VisionEncoderDecoderModel, Processor]:
    """The bundled model and its processor; what was seen before is not encoded again.

    Without a fast BLAS the encoder takes most of the time of a line. Each image is encoded alone:
    for the encoder's own batches take `load()`.
    """
    model, processor = load()
    encode = model.encode

    def remembered(pixels: mx.array) -> mx.array:
        keys = [hashlib.sha1(np.array(row).tobytes()).digest() for row in pixels]
        for key, row in zip(keys, pixels, strict=True):
            if key not in SEEN:
                SEEN[key] = encode(row[None])
                mx.eval(SEEN[key])
        return mx.concatenate([SEEN[key] for key in keys])

    model.encode = remembered
    return model, processor


def top_of_the_page(folder: Path) -> tuple[Path, list[str]]:
    """A picture of the first two lines of the example page, and their texts."""
    path = folder / "top.png"
    with Image.open(ROOT / "examples" / "page.png") as page:
        page.crop((0, 0, page.width, 148)).save(path)
    texts = (ROOT / "examples" / "page.txt").read_text().splitlines()
    return path, [text for text in texts if text][:2]
