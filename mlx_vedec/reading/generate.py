"""`generate` and its kin: where the model, the processor and the options of a call meet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from itertools import repeat
from typing import Any

from PIL import Image

from ..errors import OptionError, as_path, check_whole, shown
from ..generation.options import Options
from ..images.image_processors import ImageSource
from ..images.loading import images_in
from ..model.footprint import USUAL, fitting_batch_size
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..tasks.donut_grammar import field_grammar
from ..tasks.donut_prompts import added_vocabulary
from .image_queue import Asked, ImageQueue, Ladder
from .processor import Processor
from .results import GenerationResponse, GenerationResult
from .streams import stream

KEPT = (
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    "return_dict_in_generate",
)


def generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: ImageSource,
    prompt: str | None = None,
    *,
    verbose: bool = False,
    boxes: bool = False,
    grammar: bool = False,
    fallback: Sequence[Mapping[str, Any]] = (),
    fallback_score: float | None = None,
    **options: Any,
) -> GenerationResult:
    """The text of one image. `options` are those of `model.generation_config`, for this call.

    boxes, grammar, fallback and fallback_score are `batch_generate`'s. verbose -- say on stderr
    which options are in force, and how fast it went.

    >>> from mlx_vedec import generate, load
    >>> model, processor = load()
    >>> print(generate(model, processor, "tests/data/lines/seen_000.png"))
    _VANE_
    """
    check_reader(model, processor)
    if isinstance(image, (list, tuple)):
        raise OptionError("image is a list; expected one image; use batch_generate for several")
    first, ladder = _attempts(model, processor, options, fallback, fallback_score, grammar=grammar)
    queue = ImageQueue(model, processor, first, boxes=boxes, ladder=ladder)
    (result,) = queue.read(iter([(image, processor.prompt_ids(prompt))]))
    if result.error is not None:
        raise result.error
    if verbose:
        _report(result, first.after(result.prompt_tokens))
    return result


def stream_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: ImageSource | Sequence[ImageSource],
    prompt: str | None = None,
    **options: Any,
) -> Iterator[GenerationResponse]:
    """Texts as they are read: a response per token, those of one image joining to its text.

    image -- one, or a list of images of one size, whose responses carry their `index`. With beams a
    token comes once no beam can change it any more. Closing the iterator frees what it holds.

    >>> from mlx_vedec import load, stream_generate
    >>> model, processor = load()
    >>> pieces = stream_generate(model, processor, "tests/data/lines/seen_000.png")
    >>> "".join(piece.text for piece in pieces)
    '_VANE_'
    """
    check_reader(model, processor)
    images: list[Any] = [*image] if isinstance(image, (list, tuple)) else [image]
    if not images:
        raise OptionError("there are no images to read; give one or more")
    settled, _ = _attempts(model, processor, options)
    if settled.num_return_sequences > 1:
        raise OptionError(
            f"num_return_sequences={settled.num_return_sequences}, but a stream is of one sequence "
            "per image; use generate, or leave it out"
        )
    return stream(model, processor, images, processor.prompt_ids(prompt), settled)


def batch_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: ImageSource | Iterable[ImageSource],
    prompts: str | Sequence[str | None] | None = None,
    *,
    batch_size: int | None = 16,
    boxes: bool = False,
    grammar: bool = False,
    fallback: Sequence[Mapping[str, Any]] = (),
    fallback_score: float | None = None,
    progress: Callable[[GenerationResult], object] | None = None,
    **options: Any,
) -> Iterator[GenerationResult]:
    """The texts of any number of images, in their order, `batch_size` of them at a time.

    images -- any iterable, read as there is room; a folder, whose images come by name; or one
    image. prompts -- one for all, or one per image. batch_size -- None for as many as memory holds,
    up to 16, or to 64 of a small model. An image leaves the batch as it ends and another takes its
    place; one that cannot be read gives a result with `.error`, and the rest goes on.

    boxes -- where each word stands, too. grammar -- only well-formed tags, for Donut. fallback --
    options to try again with, one after another, where a text runs in circles or its score is below
    fallback_score, such as `[{"num_beams": 4, "no_repeat_ngram_size": 3}, {"temp": 0.4}]`. progress
    -- is called with each result when it is there, which may be before its turn.

    >>> from mlx_vedec import batch_generate, load
    >>> model, processor = load()
    >>> lines = ["tests/data/lines/seen_000.png", "missing.png"]
    >>> [(result.text, result.error is None) for result in batch_generate(model, processor, lines)]
    [('_VANE_', True), ('', False)]
    """
    check_reader(model, processor)
    check_batch_size(batch_size)
    if progress is not None and not callable(progress):
        raise OptionError(f"progress is {shown(progress)}; expected a function of a result")
    first, ladder = _attempts(model, processor, options, fallback, fallback_score, grammar=grammar)
    size = batch_size or _fitting(model, processor, first)
    queue = ImageQueue(model, processor, first, size, boxes, ladder, progress)
    return queue.read(_with_prompts(processor, _each(images), prompts))


def _each(images: Any) -> Iterable[Any]:
    """Images one by one: of a folder, of an iterable, or one alone."""
    if isinstance(images, (str, os.PathLike)) and as_path(images, "images").is_dir():
        return images_in(as_path(images, "images"))
    alone = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
    if alone or (hasattr(images, "__array__") and len(images.shape) < 4):
        return [images]
    if not isinstance(images, Iterable):
        raise OptionError(
            f"images is {shown(images)}; expected images, paths or URLs, one or an iterable of "
            "them, or a folder"
        )
    return images


def check_reader(model: Any, processor: Any) -> None:
    """Raise `OptionError` where the first two arguments of a reading function are others."""
    for name, value, needed, kind in (
        ("model", model, "generation_options", "VisionEncoderDecoderModel"),
        ("processor", processor, "prompt_ids", "Processor"),
    ):
        if not hasattr(value, needed):
            raise OptionError(
                f"{name} is {shown(value)}; expected a {kind}; model, processor = load(...) gives "
                "both, in this order"
            )


def check_batch_size(size: object) -> None:
    """Raise `OptionError` for a batch size that is neither None nor a whole number above 0."""
    if size is not None:
        check_whole("batch_size", size, 1)


def _with_prompts(
    processor: Processor,
    images: Iterable[ImageSource],
    prompts: str | Sequence[str | None] | None,
) -> Iterator[Asked]:
    """Each image with the ids of its prompt."""
    if prompts is None or isinstance(prompts, str) or not isinstance(prompts, Iterable):
        found: Iterator[list[int] | None] = repeat(processor.prompt_ids(prompts))
    else:
        found = map(processor.prompt_ids, prompts)
    count = 0
    for count, image in enumerate(images, start=1):
        try:
            yield image, next(found)
        except StopIteration:
            raise OptionError(
                f"{count - 1} prompts for more images; give one, or one per image"
            ) from None
    if not count:
        raise OptionError("there are no images to read; give one or more")
    if isinstance(prompts, Sized) and not isinstance(prompts, str) and len(prompts) > count:
        raise OptionError(f"{len(prompts)} prompts for {count} images; give one, or one per image")


def settle(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: dict[str, Any],
    *,
    grammar: bool = False,
) -> Options:
    """The options that `generate` would read by; grammar -- `batch_generate`'s."""
    return _attempts(model, processor, options, grammar=grammar)[0]


def _attempts(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: dict[str, Any],
    fallback: Sequence[Mapping[str, Any]] = (),
    fallback_score: float | None = None,
    *,
    grammar: bool = False,
) -> tuple[Options, Ladder]:
    """The options of a call, settled, and those of the attempts after it.

    What the checkpoint's task sets is below the call's; stop strings need the tokenizer.
    """
    listed = isinstance(fallback, (list, tuple))
    if not listed or not all(isinstance(step, Mapping) for step in fallback):
        raise OptionError(
            f"fallback is {shown(fallback)}; expected a list of options, such as "
            '[{"num_beams": 4}, {"temp": 0.4}]'
        )
    if fallback_score is not None and not isinstance(fallback_score, (int, float)):
        raise OptionError(f"fallback_score is {shown(fallback_score)}; expected a number")
    if kept := [name for name in KEPT if options.get(name)]:
        raise OptionError(
            f"{kept[0]} is for model.generate, which returns what is kept of each step; the result "
            "here has token_logprobs alone; leave it out"
        )
    given = {"tokenizer": processor.tokenizer, **processor.task_options(), **options}
    if fallback and given.get("stop_on_repetition") is None:
        given["stop_on_repetition"] = "ngram"
    attempts = [_settled(model, processor, {**given, **step}) for step in ({}, *fallback)]
    if grammar:
        attempts = [_with_grammar(processor, own) for own in attempts]
    return attempts[0], Ladder(attempts[1:], fallback_score)


def _settled(
    model: VisionEncoderDecoderModel, processor: Processor, given: dict[str, Any]
) -> Options:
    """Options in force; a page that runs in circles ends early where the processor says so."""
    settled = model.generation_options(**given)
    unset = given.get("stop_on_repetition") is None and not settled.stop_on_repetition
    if not (processor.stops_on_repetition and unset):
        return settled
    rule = "ngram" if settled.num_beams > 1 else "variance"
    return model.generation_options(**{**given, "stop_on_repetition": rule})


def _with_grammar(processor: Processor, options: Options) -> Options:
    tags, ends = added_vocabulary(processor.required_tokenizer), options.eos_token_ids
    rule = field_grammar(tags, ends, max_length=options.max_length)
    return replace(options, logits_processor=(*options.logits_processor, rule))


def _fitting(model: VisionEncoderDecoderModel, processor: Processor, options: Options) -> int:
    """Images of a batch that memory holds; the usual number where they come in many sizes."""
    made = processor.image_processor and processor.image_processor.made_size
    size = made or getattr(model.config.encoder, "image_size", None)
    if size is None:
        return USUAL
    return fitting_batch_size(
        model,
        image_size=size,
        max_length=options.max_length,
        num_beams=options.sequences_per_image,
        kv_bits=options.kv_bits,
        max_kv_size=options.max_kv_size,
    )


def _report(result: GenerationResult, options: Options) -> None:
    """What mlx-lm prints under `verbose`, on stderr, after the options that are in force."""
    print(f"Options: {options.changed()}", file=sys.stderr)
    print("=" * 10, result.text, "=" * 10, sep="\n", file=sys.stderr)
    print(
        f"Prompt: {result.prompt_tokens} tokens, {result.prompt_tps:.3f} tokens-per-sec\n"
        f"Generation: {result.generation_tokens} tokens, "
        f"{result.generation_tps:.3f} tokens-per-sec\n"
        f"Peak memory: {result.peak_memory:.3f} GB",
        file=sys.stderr,
    )
