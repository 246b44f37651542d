"""Files of lines, and the batches that are made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .pictures import HEIGHT, NARROWEST, WIDTH, Line

PATCH = 8  # pixels of a column of the encoder
BUCKET = 96  # pixels that the widths of canvases are multiples of
PIXELS = 64 * 384  # columns of pixels in a batch
RESHAPED = 0.3  # share of the lines that are made narrower or wider
SPACED = 0.15  # share of the lines whose spaces are made wider, as in justified print
WHOLE = 0.15  # share of the lines on the whole canvas; the others are on a narrower one


def write_shard(path: Path, found: list[Line]) -> None:
    """Lines in one file, which gets its name when it is whole."""
    with open(path.with_suffix(".part"), "wb") as file:
        np.savez(
            file,
            pixels=np.concatenate([line.pixels for line in found], axis=1),
            widths=np.array([line.pixels.shape[1] for line in found]),
            texts=np.array([line.text for line in found]),
            ends=np.concatenate([line.ends for line in found]),
        )
    path.with_suffix(".part").rename(path)


@dataclass
class Shard:
    """The lines of a file."""

    lines: list[Line]

    @classmethod
    def read(cls, path: Path) -> Shard:
        """The lines of a file, which is waited for."""
        while not path.is_file():
            time.sleep(5)
        with np.load(path) as file:
            strips = np.split(file["pixels"], np.cumsum(file["widths"])[:-1], axis=1)
            texts = file["texts"].tolist()
            ends = np.split(file["ends"], np.cumsum([len(text) for text in texts])[:-1])
        return cls([Line(*parts) for parts in zip(strips, texts, ends, strict=True)])

    def batches(self, seed: list[int], ids: dict[str, int]) -> Iterator[Batch]:
        """All lines once, those on canvases of one width together."""
        random = np.random.default_rng(seed)
        buckets: dict[int, list[Line]] = {}
        for index in random.permutation(len(self.lines)):
            line = self.lines[index]
            if random.random() < RESHAPED:
                line = reshaped(line, random.uniform(0.75, 1.3))
            if random.random() < SPACED:
                line = spaced(line, int(random.integers(4, 1 + HEIGHT)))
            wide = line.pixels.shape[1] + random.integers(0, BUCKET // 2)
            width = WIDTH if random.random() < WHOLE else min(WIDTH, -(-wide // BUCKET) * BUCKET)
            buckets.setdefault(width, []).append(line)
        parts = []
        for width, lines in buckets.items():
            size = min(96, PIXELS // width)
            parts += [(width, lines[i : i + size]) for i in range(0, len(lines), size)]
        for at in random.permutation(len(parts)):
            width, lines = parts[at]
            yield Batch.of(lines, width, random, ids)


def reshaped(line: Line, factor: float) -> Line:
    """A line made narrower or wider, as far as its letters and the canvas allow."""
    high, wide = line.pixels.shape
    width = min(max(round(wide * factor), round(NARROWEST * len(line.text))), WIDTH)
    small = Image.fromarray(line.pixels).resize((width, high), Image.Resampling.BILINEAR)
    return Line(np.asarray(small), line.text, line.ends * np.float32(width / wide))


def spaced(line: Line, more: int) -> Line:
    """A line with so many pixels more in each space, as far as the canvas allows."""
    spaces = [at for at, character in enumerate(line.text) if character == " "]
    more = min(more, (WIDTH - line.pixels.shape[1]) // max(len(spaces), 1))
    starts = np.append(0, line.ends)[:-1]
    wide = np.ones(line.pixels.shape[1], int)
    for at in spaces:
        middle = int((starts[at] + line.ends[at]) / 2)
        wide[min(max(middle, 0), len(wide) - 1)] += more
    before = np.cumsum([character == " " for character in line.text])
    ends = line.ends + np.float32(more) * before.astype(np.float32)
    return Line(np.repeat(line.pixels, wide, axis=1), line.text, ends)


@dataclass
class Batch:
    """Pixels (B, H, W) of -1 to 1, and ids: inputs and labels (B, L), and of columns (B, W / 8).

    spans -- the first and last column (B, L, 2) to look at for each label, with one on either side;
    -1 where there is none
    """

    pixels: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    columns: np.ndarray
    spans: np.ndarray

    @classmethod
    def of(
        cls, found: list[Line], width: int, random: np.random.Generator, ids: dict[str, int]
    ) -> Batch:
        """Lines at the left of canvases of a width, with small changes at random."""
        count, longest = len(found), max(len(line.text) for line in found) + 1
        pixels = np.empty((count, HEIGHT, width), np.float32)
        inputs = np.full((count, longest), ids["<pad>"])
        labels = np.full((count, longest), -100)
        columns = np.full((count, width // PATCH), ids["<pad>"])
        spans = np.full((count, longest, 2), -1)
        middles = np.arange(width // PATCH) * PATCH + PATCH / 2
        for row, line in enumerate(found):
            strip = line.pixels
            shift = int(random.integers(0, min(7, width - strip.shape[1] + 1)))
            pixels[row] = np.median(strip[:, [0, -1]])
            pixels[row, :, shift : shift + strip.shape[1]] = strip
            own = [ids[c] for c in line.text]
            labels[row, : len(own) + 1] = [*own, ids["</s>"]]
            inputs[row, : len(own) + 1] = [ids["</s>"], *own]
            at = np.searchsorted(line.ends + shift, middles)
            inside = (at < len(own)) & (middles >= shift)
            columns[row, inside] = np.array(own)[at[inside]]
            ends = np.maximum(line.ends + shift, 0)
            spans[row, : len(own), 0] = np.concatenate([[shift], ends[:-1]]) / PATCH - 1
            spans[row, : len(own), 1] = ends / PATCH + 1
        return cls(changed(pixels, random), inputs, labels, columns, spans)


def changed(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Greys 0 to 255 as -1 to 1, with other contrasts, shifts up and down, noise and blur."""
    shape = len(pixels), 1, 1
    pixels = pixels / 127.5 - 1
    moved = np.roll(pixels, random.choice([-1, 1]), axis=1)
    pixels = np.where(random.random(shape) < 0.2, moved, pixels)
    blurred = (np.roll(pixels, 1, 2) + 2 * pixels + np.roll(pixels, -1, 2)) / 4
    pixels = np.where(random.random(shape) < 0.15, blurred, pixels)
    gain = np.where(random.random(shape) < 0.4, random.uniform(0.6, 1.15, shape), 1)
    pixels = 1 - (1 - pixels) * gain - np.where(gain < 1, random.uniform(0, 0.2, shape), 0)
    noise = random.standard_normal(pixels.shape, np.float32)
    level = np.where(random.random(shape) < 0.25, random.uniform(0, 0.12, shape), 0)
    return (pixels + noise * level).clip(-1, 1).astype(np.float32)
