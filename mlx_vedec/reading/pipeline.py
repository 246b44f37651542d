"""From images to texts: where the model, the processor and the options meet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import mlx.core as mx

from ..adapters.wrapping import load_adapters
from ..errors import OptionError
from ..generation.options import Options
from ..images.loading import images_in
from ..layers.quantization_config import QuantizationConfig
from ..model.memory import fitting_batch_size
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..tasks.donut_grammar import field_grammar
from ..tasks.donut_prompts import added_vocabulary
from .image_queue import ImageQueue, Ladder
from .processor import Processor
from .results import GenerationResponse, GenerationResult
from .streams import check_streams, stream
from .vocabulary import restore_added

BUNDLED = Path(__file__).parents[1] / "assets"
Source = Any  # whatever `load_image` takes: a path, a URL, bytes, "-", a PIL image, an array


@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    adapter_path: str | Path | None = ...,
    dtype: str | mx.Dtype | None = ...,
    quantize: int | QuantizationConfig | None = ...,
    lazy: bool = ...,
    revision: str | None = ...,
    return_config: Literal[False] = ...,
) -> tuple[VisionEncoderDecoderModel, Processor]: ...
@overload
def load(
    path_or_hf_repo: str | Path | None = ...,
    *,
    adapter_path: str | Path | None = ...,
    dtype: str | mx.Dtype | None = ...,
    quantize: int | QuantizationConfig | None = ...,
    lazy: bool = ...,
    revision: str | None = ...,
    return_config: Literal[True],
) -> tuple[VisionEncoderDecoderModel, Processor, dict[str, Any]]: ...
def load(
    path_or_hf_repo: str | Path | None = None,
    *,
    adapter_path: str | Path | None = None,
    dtype: str | mx.Dtype | None = None,
    quantize: int | QuantizationConfig | None = None,
    lazy: bool = False,
    revision: str | None = None,
    return_config: bool = False,
) -> tuple[Any, ...]:
    """A model in `eval()` mode and its processor: of a folder, a Hub id, or the bundled ones.

    adapter_path -- adapters, ours or PEFT's, for the model as it then is; they keep their type.
    dtype -- of the parameters; by default the file's, but float32 for half types on a CPU.
    quantize -- the weights to so many bits, or as a `QuantizationConfig` says.
    lazy -- leave the weights unread until they are used. return_config -- the config as a third.

    >>> model, processor = load()
    >>> model.config.encoder.model_type
    'vit'
    """
    source = BUNDLED if path_or_hf_repo is None else path_or_hf_repo
    model = VisionEncoderDecoderModel.from_pretrained(
        source, dtype=dtype, quantize=quantize, lazy=lazy, revision=revision
    )
    processor = Processor.from_pretrained(source, revision=revision)
    model.name_or_path = _name(path_or_hf_repo)
    if adapter_path is not None:
        restore_added(model, processor, adapter_path)
        load_adapters(model, adapter_path, requantized=quantize is not None)
    return (model, processor, model.config.to_dict()) if return_config else (model, processor)


def _name(source: str | Path | None) -> str:
    """What a model is called in what is made with it: a Hub id, or a folder's own name."""
    if source is None:
        return "the bundled line reader"
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else str(source)


def generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Source,
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

    >>> model, processor = load()
    >>> print(generate(model, processor, "tests/data/lines/seen_000.png"))
    _VANE_
    """
    first, *others = _attempts(model, processor, options, fallback, grammar=grammar)
    ladder = Ladder(others, fallback_score)
    queue = ImageQueue(model, processor, first, boxes=boxes, ladder=ladder)
    (result,) = queue.read(iter([(image, processor.prompt_ids(prompt))]))
    if result.error is not None:
        raise result.error
    if verbose:
        report(result, first.after(result.prompt_tokens))
    return result


def stream_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Source | Sequence[Source],
    prompt: str | None = None,
    **options: Any,
) -> Iterator[GenerationResponse]:
    """Texts as they are read: a response per token, those of one image joining to its text.

    image -- one, or a list of images of one size, whose responses carry their `index`. With beams a
    token comes once no beam can change it any more. Closing the iterator frees what it holds.

    >>> model, processor = load()
    >>> pieces = stream_generate(model, processor, "tests/data/lines/seen_000.png")
    >>> "".join(piece.text for piece in pieces)
    '_VANE_'
    """
    images = [*image] if isinstance(image, (list, tuple)) else [image]
    if not images:
        raise OptionError("there are no images to read; give one or more")
    [settled] = _attempts(model, processor, options)
    check_streams(settled)
    return stream(model, processor, images, processor.prompt_ids(prompt), settled)


def batch_generate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: str | Path | Iterable[Source],
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

    images -- any iterable, read as there is room; or a folder, whose images come by name. prompts
    -- one for all, or one per image. batch_size -- None for as many as memory holds, up to 16. An
    image leaves the batch as it ends and another takes its place; one that cannot be read gives a
    result with `.error`, and the rest goes on.

    boxes -- where each word stands, too. grammar -- only well-formed tags, for Donut. fallback --
    options to try again with, one after another, where a text runs in circles or its score is below
    fallback_score, such as `[{"num_beams": 4, "no_repeat_ngram_size": 3}, {"temp": 0.4}]`. progress
    -- is called with each result when it is there, which may be before its turn.

    >>> model, processor = load()
    >>> lines = ["tests/data/lines/seen_000.png", "missing.png"]
    >>> [(result.text, result.error is None) for result in batch_generate(model, processor, lines)]
    [('_VANE_', True), ('', False)]
    """
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size is {batch_size}; expected at least 1")
    first, *others = _attempts(model, processor, options, fallback, grammar=grammar)
    size = batch_size or _fitting(model, first)
    ladder = Ladder(others, fallback_score)
    queue = ImageQueue(model, processor, first, size, boxes, ladder, progress)
    if isinstance(images, (str, Path)):
        images = images_in(images)
    return queue.read(_with_prompts(processor, images, prompts))


def _with_prompts(
    processor: Processor,
    images: Iterable[Source],
    prompts: str | Sequence[str | None] | None,
) -> Iterator[tuple[Source, list[int] | None]]:
    """Each image with the ids of its prompt."""
    shared = prompts is None or isinstance(prompts, str)
    ids = processor.prompt_ids(prompts) if shared else None  # pyright: ignore[reportArgumentType]
    count = 0
    for image in images:
        if not shared and count == len(prompts):  # pyright: ignore[reportArgumentType]
            raise OptionError(f"{count} prompts for more images; give one, or one per image")
        yield image, ids if shared else processor.prompt_ids(prompts[count])  # pyright: ignore
        count += 1
    if not count:
        raise OptionError("there are no images to read; give one or more")


def _attempts(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: dict[str, Any],
    fallback: Sequence[Mapping[str, Any]] = (),
    *,
    grammar: bool = False,
) -> list[Options]:
    """The options of a call, settled, and those of each attempt after it.

    What the checkpoint's task sets is below the call's; stop strings need the tokenizer.
    """
    given = {"tokenizer": processor.tokenizer, **processor.task_options(), **options}
    if fallback and given.get("stop_on_repetition") is None:
        given["stop_on_repetition"] = "ngram"
    attempts = [_settled(model, processor, {**given, **step}) for step in ({}, *fallback)]
    return [_with_grammar(processor, own) for own in attempts] if grammar else attempts


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
    tags, ends = added_vocabulary(processor.reader), options.eos_token_ids
    rule = field_grammar(tags, ends, max_length=options.max_length)
    return replace(options, logits_processor=(*options.logits_processor, rule))


def _fitting(model: VisionEncoderDecoderModel, options: Options) -> int:
    """Images of a batch that memory holds, up to 16."""
    return fitting_batch_size(
        model,
        max_length=options.max_length,
        num_beams=options.sequences_per_image,
        kv_bits=options.kv_bits,
        max_kv_size=options.max_kv_size,
    )


def report(result: GenerationResult, options: Options) -> None:
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
