"""How fast a model reads images, and with how much memory, measured as `generate` goes about it.

A text has exactly the tokens asked for: what would end it earlier is left out of the options.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from reprlib import repr  # bounded in length and depth
from typing import Any

import mlx.core as mx

from ..checkpoints.hub import fetch
from ..checkpoints.quantizing import quantization_block
from ..checkpoints.weights import bytes_of
from ..data.datasets import LINES
from ..encoders.patches import Pair, pair
from ..errors import OptionError
from ..generation.flow import Cohort
from ..generation.options import Options
from ..generation.values import is_int
from ..images.image_processors import ImageSource
from ..layers.compiled import on_gpu
from ..layers.computing import check_process
from ..layers.decoder_cache import DecoderCache
from ..layers.packed import bits_per_weight, float_type, type_name
from ..layers.quantization_config import QuantizationConfig
from ..model.footprint import check_fits, estimate_memory
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_sizes import match_images
from ..reading.load import adapt
from ..reading.processor import Processor
from .arguments import check_arguments, listed_images
from .benchmark_report import Benchmark, Loading, Trial, Work

Clock = Callable[[], float]
LINE = LINES / "seen_000.png"  # what is read where no image is given
TOKENS = 32
ENDLESS: dict[str, Any] = {
    **dict.fromkeys(("eos_token_ids", "forced_eos_token_ids"), ()),
    **dict.fromkeys(("stop_strings", "stop_on_repetition", "stopping_criteria"), ()),
    **dict.fromkeys(("exponential_decay_length_penalty", "max_time"), None),
    "min_length": 0,
}


def benchmark(
    model: VisionEncoderDecoderModel,
    processor: Processor | None = None,
    *,
    images: str | Path | Sequence[ImageSource] = (),
    image_size: int | Pair | None = None,
    batch_size: int | None = None,
    num_beams: int | None = None,
    max_tokens: int | None = None,
    compile: bool | None = None,
    num_trials: int = 5,
    warmup: int = 1,
    clock: Clock = time.perf_counter,
    progress: Callable[[Trial], object] = lambda trial: None,
) -> Benchmark:
    """Read the same images a number of times; end tokens count as any other.

    images -- one or several, in turn until the batch is full; by default a line of print. Without a
    processor, or with image_size, (h, w) in pixels, the pixels are random. batch_size -- by default
    as many as there are images. num_beams -- the checkpoint's by default. max_tokens -- of each
    text, 2 or more; by default 32, or as many as there are positions. compile -- the steps of
    decoding, as the option of `generate`. warmup -- runs before those
    that count. clock -- seconds. progress -- is called after each run that counts.

    What cannot fit into memory raises an error before it is computed, the weights included.

    >>> from mlx_vedec import load
    >>> found = benchmark(*load(), max_tokens=8, num_trials=1, warmup=0)
    >>> print(found.work)
    1 image of 32×768 pixels, 8 tokens each, greedy
    """
    check_arguments("batch_size", model=model, batch_size=batch_size, num_trials=num_trials)
    check_arguments("processor", processor=processor, warmup=warmup, clock=clock, progress=progress)
    check_process()
    images = [*listed_images(images)]
    rows = batch_size or max(1, len(images))
    prompt, options = _prompt(model, num_beams, max_tokens, compile)
    pixels = _pixels(model, processor, images, image_size, rows)
    estimate = estimate_memory(
        model,
        batch_size=rows,
        image_size=pixels.size,
        max_length=options.max_length,
        num_beams=options.num_beams,
        kv_bits=options.kv_bits,
        max_kv_size=options.max_kv_size,
    )
    check_fits(estimate)
    tokens = options.max_length - options.prompt_length
    compiled = on_gpu() if options.compile is None else options.compile
    work = Work(rows, pixels.size, pixels.random, options.num_beams, tokens, compiled)
    prompt = mx.repeat(prompt, rows, axis=0)
    mx.eval(model.parameters(), pixels.make())
    trials = []
    for number in range(warmup + num_trials):
        trial = _trial(model, pixels, prompt, options, work, clock)
        if number >= warmup:
            trials.append(trial)
            progress(trial)
    return Benchmark(
        model=model.source or type(model).__name__,
        work=work,
        trials=tuple(trials),
        dtype=type_name(float_type(model)),
        weights=bytes_of(model),
        step_weights=bytes_of(model.decoder),
        bits_per_weight=bits_per_weight(model),
        quantization=quantization_block(model),
    )


def timed_load(
    path_or_hf_repo: str | Path,
    *,
    processor: Processor | None = None,
    adapter_path: str | Path | None = None,
    dtype: str | mx.Dtype | None = None,
    quantize: int | QuantizationConfig | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    clock: Clock = time.perf_counter,
) -> tuple[VisionEncoderDecoderModel, Loading]:
    """A model as `load` gives it, loaded twice, and the seconds; a download is not among them.

    processor -- the model's, which gets the tokens and the image processor that adapters bring
    """
    folder, seconds, model = fetch(path_or_hf_repo, revision, subfolder=subfolder), [], None
    for _ in range(2):
        model = None  # room for the next
        mx.clear_cache()
        start = clock()
        model = VisionEncoderDecoderModel.from_pretrained(
            folder, dtype=dtype, quantize=quantize, lazy=True
        )
        if adapter_path is not None:
            reads = Processor() if processor is None else processor
            adapt(model, reads, adapter_path, requantized=quantize is not None)
        mx.eval(model.parameters())
        seconds.append(clock() - start)
    assert model is not None
    return model, Loading(*seconds)


@dataclass(frozen=True)
class _Pixels:
    """Pixels (B, H, W, C): of images, computed at each call of `make`, or random and kept."""

    make: Callable[[], mx.array]
    size: Pair
    random: bool


def _pixels(
    model: VisionEncoderDecoderModel,
    processor: Processor | None,
    images: Sequence[ImageSource],
    image_size: int | Pair | None,
    rows: int,
) -> _Pixels:
    if processor is not None and image_size is None:
        match_images(model, processor)
        chosen = list(islice(cycle(images or [LINE]), rows))
        height, width = processor.pixels(chosen[:1]).shape[1:3]
        return _Pixels(lambda: processor.pixels(chosen), (height, width), random=False)
    if len(images):
        raise OptionError(
            "images are given, but without a processor or with an image_size the pixels are random"
        )
    size = _own_size(model) if image_size is None else pair(image_size, "image_size")
    shape = (rows, *size, model.encoder.config.num_channels)
    array = mx.random.normal(shape, key=mx.random.key(0))
    return _Pixels(lambda: array, size, random=True)


def _own_size(model: VisionEncoderDecoderModel) -> Pair:
    return pair(model.encoder.config.image_size)


def _prompt(
    model: VisionEncoderDecoderModel,
    num_beams: int | None,
    max_tokens: int | None,
    compile: bool | None,
) -> tuple[mx.array, Options]:
    """The start token (1, 1), and options by which nothing ends before max_tokens."""
    decoder = model.decoder
    if max_tokens is None:
        max_tokens = min(TOKENS, (decoder.max_positions or TOKENS + 1) - 1)
    if not is_int(max_tokens) or max_tokens < 2:
        raise OptionError(
            f"max_tokens is {repr(max_tokens)}; expected 2 or more: one is the prefill's"
        )
    asked = {"num_beams": num_beams, "max_tokens": max_tokens, "compile": compile}
    fixed = {"num_return_sequences": 1, "do_sample": False}
    prompt, options = model.prompt(1, None, model.generation_options(**asked, **fixed))
    return prompt, replace(options, **ENDLESS)


def _trial(
    model: VisionEncoderDecoderModel,
    pixels: _Pixels,
    prompt: mx.array,
    options: Options,
    work: Work,
    clock: Clock,
) -> Trial:
    """Read the images once; before each look at the clock everything is evaluated."""
    resized = work.random_pixels and work.image_size != _own_size(model)
    mx.reset_peak_memory()
    times = [clock()]
    made = pixels.make()
    mx.eval(made)
    times.append(clock())
    features = model.features(made, interpolate_pos_encoding=resized)
    mx.eval(features)
    times.append(clock())
    cohort, cache = model.begin(features, prompt, options)
    mx.eval(cohort.state.arrays())
    times.append(clock())
    lengths = _lengths(model, cohort, cache)
    times.append(clock())
    assert lengths == {work.max_tokens}, lengths
    return Trial(
        *(after - before for before, after in zip(times, times[1:], strict=False)),
        peak_memory=mx.get_peak_memory(),
        image_cache=cache.memory_nbytes,
        own_cache=cache.nbytes - cache.memory_nbytes,
        images=work.batch_size,
        tokens=work.batch_size * (work.max_tokens - 1),
    )


def _lengths(model: VisionEncoderDecoderModel, cohort: Cohort, cache: DecoderCache) -> set[int]:
    """Decode all texts to their ends; the set of their lengths."""
    flow, lengths = model.stepper(cohort.search.options).flow(), set()
    flow.add(cohort, cache)
    while len(flow):
        lengths |= {len(text.tokens) for _, texts in flow.advance() for text in texts[:1]}
    return lengths
