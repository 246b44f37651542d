"""From images to texts: where the model, the processor and the options meet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, overload

import mlx.core as mx
from PIL import Image

from .errors import OptionError
from .images import load_image
from .lines import Box, cut_line, find_lines, line_image
from .model import VisionEncoderDecoderModel
from .processor import Processor
from .results import GenerationResponse, GenerationResult
from .text import StreamingDecoder

BUNDLED = Path(__file__).parent / "assets"
Source = Any  # whatever `load_image` takes: a path, a URL, bytes, "-", a PIL image, an array


@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    dtype: str | mx.Dtype | None = ...,
    lazy: bool = ...,
    revision: str | None = ...,
    return_config: Literal[False] = ...,
) -> tuple[VisionEncoderDecoderModel, Processor]: ...
@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    dtype: str | mx.Dtype | None = ...,
    lazy: bool = ...,
    revision: str | None = ...,
    return_config: Literal[True],
) -> tuple[VisionEncoderDecoderModel, Processor, dict[str, Any]]: ...
def load(
    path_or_hf_repo: str | Path | None = None,
    *,
    dtype: str | mx.Dtype | None = None,
    lazy: bool = False,
    revision: str | None = None,
    return_config: bool = False,
) -> tuple[Any, ...]:
    """A model in `eval()` mode and its processor: of a folder, a Hub id, or the bundled ones.

    dtype -- of the parameters; by default the file's, but float32 for half types on a CPU.
    lazy -- leave the weights unread until they are used. return_config -- the config as a third.

    >>> model, processor = load()
    >>> model.config.encoder.model_type
    'vit'
    """
    source = BUNDLED if path_or_hf_repo is None else path_or_hf_repo
    model = VisionEncoderDecoderModel.from_pretrained(
        source, dtype=dtype, lazy=lazy, revision=revision
    )
    processor = Processor.from_pretrained(source, revision=revision)
    return (model, processor, model.config.to_dict()) if return_config else (model, processor)


def generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Source,
    prompt: str | None = None,
    *,
    verbose: bool = False,
    **options: Any,
) -> GenerationResult:
    """The text of one image. `options` are those of `model.generation_config`, for this call.

    >>> model, processor = load()
    >>> print(generate(model, processor, "tests/data/lines/seen_000.png"))
    _VANE_
    """
    (result,) = _batch(model, processor, [image], [_prompt_ids(processor, prompt)], options)
    if result.error is not None:
        raise result.error
    if verbose:
        _report(result)
    return result


def stream_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Source,
    prompt: str | None = None,
    **options: Any,
) -> Iterator[GenerationResponse]:
    """The text of one image as it is read: a response per token, the pieces joining to the text."""
    started = time.perf_counter()
    pixels = processor.pixels([image])
    features = model.encode(pixels)
    ids = _prompt_ids(processor, prompt)
    tokens, settled = model.prompt(1, None if ids is None else mx.array([ids]), options)
    pieces = StreamingDecoder(processor.reader)
    first = 0.0
    for count, token in enumerate(model.steps(features, tokens, settled), start=1):
        token_id = int(token.ids.item())  # pyright: ignore[reportArgumentType]
        ended = bool(token.ended.item())
        first = first or time.perf_counter()
        last = ended or tokens.shape[1] + count == settled.max_length
        text = pieces.add(token_id)
        yield GenerationResponse(
            text=text + pieces.finish() if last else text,
            token=token_id,
            logprobs=token.logprobs[0],
            prompt_tokens=tokens.shape[1],
            prompt_tps=tokens.shape[1] / (first - started),
            generation_tokens=count,
            generation_tps=count / max(time.perf_counter() - first, 1e-9),
            peak_memory=mx.get_peak_memory() / 1e9,
            finish_reason="stop" if ended else "length" if last else None,
        )


def batch_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Iterable[Source],
    prompts: str | Sequence[str] | None = None,
    *,
    batch_size: int = 16,
    **options: Any,
) -> Iterator[GenerationResult]:
    """The texts of any number of images, in their order, `batch_size` at a time.

    An image that cannot be read gives a result with `.error`, and the rest goes on. `prompts` is
    one for all, or one per image.
    """
    if batch_size < 1:
        raise OptionError(f"batch_size is {batch_size}; expected at least 1")
    ids = _prompts(processor, prompts)
    source = iter(images)
    while batch := list(islice(source, batch_size)):
        yield from _batch(model, processor, batch, [next(ids) for _ in batch], options)


def read_lines(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Source,
    *,
    batch_size: int = 16,
    **options: Any,
) -> list[GenerationResult]:
    """The lines of a clean printed page, top to bottom, each with its `box`.

    Where the checkpoint names the aspect of the lines it was trained for, wider lines are cut at
    word gaps and their texts joined by a space.
    """
    page = load_image(image)
    aspect = processor.line_aspect_ratio
    lines = find_lines(page)
    pieces = [[line] if aspect is None else cut_line(page, line, aspect) for line in lines]
    flat = [box for line in pieces for box in line]
    crops = [page.crop(box) if aspect is None else line_image(page, box, aspect) for box in flat]
    results = batch_generate(model, processor, crops, batch_size=batch_size, **options)
    return [
        _join(list(islice(results, len(boxes))), box)
        for box, boxes in zip(lines, pieces, strict=True)
    ]


def _join(parts: list[GenerationResult], box: Box) -> GenerationResult:
    """One line's result from those of its pieces."""
    return replace(
        parts[0],
        text=" ".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        token_logprobs=tuple(value for part in parts for value in part.token_logprobs),
        finish_reason=next((p.finish_reason for p in parts if p.finish_reason != "stop"), "stop"),
        box=box,
    )


def _prompts(
    processor: Processor, prompts: str | Sequence[str] | None
) -> Iterator[list[int] | None]:
    if prompts is None or isinstance(prompts, str):
        ids = _prompt_ids(processor, prompts)
        while True:
            yield ids
    for prompt in prompts:
        yield _prompt_ids(processor, prompt)
    raise OptionError(f"{len(prompts)} prompts for more images; give one, or one per image")


def _prompt_ids(processor: Processor, prompt: str | None) -> list[int] | None:
    return processor.reader.encode(prompt, add_special_tokens=False) if prompt else None


def _batch(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: list[Source],
    prompts: list[list[int] | None],
    options: dict[str, Any],
) -> list[GenerationResult]:
    """Results of a batch in its order, decoded in groups whose prompts are equally long."""
    results: dict[int, GenerationResult] = {}
    loaded: dict[int, Image.Image] = {}
    for index, image in enumerate(images):
        try:
            loaded[index] = load_image(image)
        except ValueError as error:
            results[index] = GenerationResult(error=error)

    def length(index: int) -> int:
        return len(prompts[index] or ())

    for _, group in groupby(sorted(loaded, key=length), key=length):
        indices = list(group)
        pixels = processor.pixels([loaded[index] for index in indices])
        texts = _decode(model, processor, pixels, [prompts[index] for index in indices], options)
        for index, result in zip(indices, texts, strict=True):
            results[index] = replace(result, box=(0, 0, *loaded[index].size))
    return [results[index] for index in range(len(images))]


def _decode(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    pixels: mx.array,
    prompts: list[list[int] | None],
    options: dict[str, Any],
) -> list[GenerationResult]:
    """Decode rows (B, H, W, C) whose prompts are equally long."""
    started = time.perf_counter()
    given = mx.array(prompts, mx.int32) if prompts[0] else None
    prompt, settled = model.prompt(len(prompts), given, options)
    columns, first = [], started
    for step in model.steps(model.encode(pixels), prompt, settled):
        if not columns:
            mx.eval(step.ids)
            first = time.perf_counter()
        columns.append((step.ids, step.logprob, step.ended))
    table = [mx.stack(list(column), axis=1).tolist() for column in zip(*columns, strict=True)]
    seconds = max(time.perf_counter() - first, 1e-9)
    rows = [_trim(*row) for row in zip(*table, strict=True)]
    generated = sum(len(tokens) for tokens, _, _ in rows)
    shared = GenerationResult(
        prompt_tokens=prompt.shape[1],
        prompt_tps=prompt.size / (first - started),
        generation_tps=generated / seconds,
        peak_memory=mx.get_peak_memory() / 1e9,
    )
    return [
        replace(
            shared,
            text=processor.decode(tokens, skip_special_tokens=True),
            tokens=tokens,
            token_logprobs=logprobs,
            finish_reason=reason,
        )
        for tokens, logprobs, reason in rows
    ]


def _trim(
    tokens: list[int], logprobs: list[float], ended: list[bool]
) -> tuple[tuple[int, ...], tuple[float, ...], str]:
    """A row up to its end token, and why it ended."""
    count = ended.index(True) + 1 if ended[-1] else len(tokens)
    return tuple(tokens[:count]), tuple(logprobs[:count]), "stop" if ended[-1] else "length"


def _report(result: GenerationResult) -> None:
    """What mlx-lm prints under `verbose`, on stderr."""
    print("=" * 10, result.text, "=" * 10, sep="\n", file=sys.stderr)
    print(
        f"Prompt: {result.prompt_tokens} tokens, {result.prompt_tps:.3f} tokens-per-sec\n"
        f"Generation: {result.generation_tokens} tokens, "
        f"{result.generation_tps:.3f} tokens-per-sec\n"
        f"Peak memory: {result.peak_memory:.3f} GB",
        file=sys.stderr,
    )
