"""What a benchmark measured: its runs, their medians, the model and the machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .machine import Measured, peak_bandwidth


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of a figure over the runs.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.5, high=2.5)
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one number or more."""
        if len(values) == 1:
            return cls(*[*values] * 3)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Work:
    """What each run does: so many texts of so many tokens; image_size is (h, w) in pixels.

    compiled -- whether the steps of decoding are
    """

    batch_size: int
    image_size: tuple[int, int]
    random_pixels: bool
    num_beams: int
    max_tokens: int
    compiled: bool = False

    def __str__(self) -> str:
        height, width = self.image_size
        images = f"{self.batch_size} image" + "s" * (self.batch_size > 1)
        kind = "random pixels" if self.random_pixels else "pixels"
        search = f"{self.num_beams} beams" if self.num_beams > 1 else "greedy"
        steps = ", compiled" if self.compiled else ""
        return (
            f"{images} of {height}×{width} {kind}, {self.max_tokens} tokens each, {search}{steps}"
        )


@dataclass(frozen=True)
class Loading:
    """Seconds from a folder to evaluated weights, measured twice.

    first -- with the files as they were found, in the system's file cache or not; again -- right
    after it, from the cache
    """

    first: float
    again: float


@dataclass(frozen=True)
class Trial:
    """One run: the seconds of its parts, and the bytes that it held.

    prepare -- images to pixels; 0 where the pixels are random
    encode -- pixels to features
    prefill -- features to the first token of each text: the image's keys and values, the prompt
    decode -- the other tokens
    peak_memory -- all that MLX held at the worst moment, the weights among it
    image_cache, own_cache -- keys and values at the end, of the images and of the texts
    images, tokens -- how many images; how many tokens were decoded of all texts, the first aside
    """

    prepare: float
    encode: float
    prefill: float
    decode: float
    peak_memory: int
    image_cache: int
    own_cache: int
    images: int
    tokens: int

    @property
    def first_token(self) -> float:
        """Seconds from pixels to the first token."""
        return self.encode + self.prefill

    @property
    def seconds(self) -> float:
        """Seconds from images to texts."""
        return self.prepare + self.encode + self.prefill + self.decode

    @property
    def generation_tps(self) -> float:
        """Tokens per second, the first of each text aside; a text counts once, not each beam."""
        return self.tokens / self.decode

    @property
    def images_per_second(self) -> float:
        """Images per second, from images to texts."""
        return self.images / self.seconds

    def __str__(self) -> str:
        return (
            f"encode={self.encode:.4f}, first_token={self.first_token:.4f}, "
            f"generation_tps={self.generation_tps:.3f}, "
            f"images_per_second={self.images_per_second:.3f}, "
            f"peak_memory={self.peak_memory / 1e9:.3f}, total_time={self.seconds:.4f}"
        )


FIGURES = {  # fields and properties of a trial, with what they are and their units
    "prepare": ("images to pixels", "s"),
    "encode": ("pixels to features", "s"),
    "first_token": ("time to first token", "s"),
    "decode": ("tokens after the first", "s"),
    "generation_tps": ("decoding", "tokens/s"),
    "images_per_second": ("end to end", "images/s"),
}


@dataclass(frozen=True)
class Benchmark(Measured):
    """What was measured, with what model, and where.

    model -- its name. dtype -- of the weights that are not quantized. weights -- bytes, those of
    adapters included. step_weights -- bytes of the decoder's, which every step reads. quantization
    -- as in `config.json`. load -- where loading was measured
    """

    model: str
    work: Work
    trials: tuple[Trial, ...]
    dtype: str
    weights: int
    step_weights: int
    bits_per_weight: float
    quantization: Mapping[str, Any] | None = None
    load: Loading | None = None

    def spread(self, figure: str) -> Spread:
        """Median and quartiles of a trial's field or property."""
        return Spread.of([getattr(trial, figure) for trial in self.trials])

    @property
    def peak_memory(self) -> float:
        """GB that MLX held in the trial that needed most."""
        return max(trial.peak_memory for trial in self.trials) / 1e9

    @property
    def bandwidth(self) -> float:
        """Bytes of weights, keys and values that decoding reads per second, the median.

        A text's cache counts by half, as it grows from nothing.
        """
        return statistics.median(
            (self.step_weights + trial.image_cache + trial.own_cache / 2)
            * (trial.tokens / trial.images)
            / trial.decode
            for trial in self.trials
        )

    @property
    def chip(self) -> str:
        """The name of what computed."""
        named = self.device.get("device_name") or self.machine.get("processor")
        return str(named or self.device["type"])

    def of(self, model: str | None = None, load: Loading | None = None) -> Benchmark:
        """This benchmark under another name of the model, and with the time of loading."""
        return replace(self, model=model or self.model, load=load or self.load)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; sizes are bytes, `peak_memory` is GB as in mlx-lm.

        `bandwidth` is in bytes per second.
        """
        medians = {name: asdict(self.spread(name)) for name in FIGURES}
        own = {"peak_memory": self.peak_memory, "bandwidth": self.bandwidth, "chip": self.chip}
        return {**asdict(self), **medians, **own}

    def __str__(self) -> str:
        return "\n".join(f"{name:24}{what}" for name, what in self._lines())

    def table(self) -> str:
        """Head and row of the table of chips in PERFORMANCE.md, to paste into an issue."""
        cells = dict(self._cells())
        return "\n".join(
            f"| {' | '.join(row)} |" for row in (cells, ["---"] * len(cells), cells.values())
        )

    def _cells(self) -> Iterator[tuple[str, str]]:
        peak = peak_bandwidth(self.chip)
        yield "chip", self.chip
        yield "versions", ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield "model", self.model
        yield (
            "type",
            self.dtype + (f", {self.bits_per_weight:.2f} bits" if self.quantization else ""),
        )
        yield "work", str(self.work)
        yield "encode", f"{1000 * self.spread('encode').median:.1f} ms"
        yield "first token", f"{1000 * self.spread('first_token').median:.1f} ms"
        yield "decoding", f"{_short(self.spread('generation_tps').median)} tokens/s"
        yield "read", f"{_short(self.bandwidth / 1e9)} GB/s"
        yield "of the chip's", "unknown" if peak is None else f"{self.bandwidth / peak:.0%}"

    def _lines(self) -> Iterator[tuple[str, str]]:
        *others, last = self.trials
        yield from self._what()
        if self.load is not None:
            first, again = self.load.first, self.load.again
            yield "load", f"{_short(first)} s as found, {_short(again)} s from the file cache"
        yield "", f"median of {len(self.trials)}" + (" (quartiles)" if others else "")
        for name, (title, unit) in list(FIGURES.items())[self.work.random_pixels :]:
            yield title, _shown(self.spread(name), unit)
        caches = f"{_mb(last.image_cache)} of images, {_mb(last.own_cache)} of texts"
        yield "keys and values", caches
        yield "peak memory", f"{self.peak_memory:.3f} GB"

    def _what(self) -> Iterator[tuple[str, str]]:
        packing = self.quantization
        packed = f"{packing['bits']} bits ({packing['mode']})" if packing else "not quantized"
        yield from self.place()
        yield "model", self.model
        weights = f"{_mb(self.weights)}, {self.dtype}, {packed}, {self.bits_per_weight:.2f} bits"
        yield "weights", f"{weights} each"
        yield "work", f"{self.work}; no end token ends a text"


def _shown(spread: Spread, unit: str) -> str:
    if spread.low == spread.high:
        return f"{_short(spread.median)} {unit}"
    return f"{_short(spread.median)} ({_short(spread.low)} to {_short(spread.high)}) {unit}"


def _short(value: float) -> str:
    """A number with its first three or four digits."""
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
