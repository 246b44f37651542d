"""A checkpoint's folder rewritten: in another type, quantized or not, its other files beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..checkpoints import quantizing, weights
from ..checkpoints.folders import check_apart, check_target, replacing, settle
from ..checkpoints.hub import fetch, headers
from ..checkpoints.pretrained import parse_dtype
from ..checkpoints.saving import SHARD_SIZE, TYPES, Saving
from ..encoders.patches import pair
from ..errors import CheckpointError, OptionError, WeightsError, as_path, check_function, check_type
from ..images.processor_files import MERGED_FILE, OWN_FILE
from ..layers.packed import bits_per_weight, float_type, type_name
from ..layers.quantization_config import QuantizationConfig
from ..model.config import VisionEncoderDecoderConfig
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_sizes import match_images, resize_images
from ..reading.load import processor_of
from ..reading.processor import Processor
from . import model_card

IMAGES = "image processor"
PROCESSOR_FILES = {  # what a part can be read from
    IMAGES: (OWN_FILE, MERGED_FILE),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "vocab.*", "merges.txt", "*.model"),
}
Settings = int | QuantizationConfig | None
Stamps = dict[Path, tuple[int, ...]]


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
    *,
    dtype: str | mx.Dtype | None = None,
    quantize: Settings = None,
    dequantize: bool = False,
    config: Mapping[str, Any] | None = None,
    processor: str | Path | None = None,
    image_steps: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    max_shard_size: int = SHARD_SIZE,
    say: Callable[[str], object] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write the checkpoint of a folder or a Hub id to `mlx_path`.

    The result keeps Hugging Face's names and layouts, so transformers reads it too unless it is
    quantized. quantize -- to so many bits, or as a `QuantizationConfig` says; dequantize -- back to
    floats. dtype -- of all that is floating-point then. By default it keeps its own, except that
    float32 becomes half precision where the rest is quantized: float16 if that holds every number,
    else bfloat16. config -- fields of the config to change, such as {"decoder.vocab_size": 50265},
    where the source's does not fit its weights. processor -- the folder or Hub id whose processor
    is taken in place of the source's. image_steps -- `load`'s, which the folder then says itself.
    image_size -- (height, width) in pixels, or one number for both, for which positions, config and
    processor are then made. overwrite -- replace a model that is there. dry_run -- say what would
    be done, and write nothing; of a Hub id only the heads of the files of weights are downloaded
    then. max_shard_size -- bytes of a file of weights. say -- is told what was done, line by line;
    progress -- the bytes written so far, and of all.

    A source without an image processor or a tokenizer is converted without it, which is said.

    The folder is written beside its place, in `.NAME.unfinished`, and renamed when it is whole. A
    process that is killed leaves that, and what was at `mlx_path` before; the next conversion to
    the same place clears it away.
    """
    check_function("say", say)
    check_function("progress", progress)
    check_type("config", config, (Mapping, type(None)), "fields of the config with their values")
    say, wanted, target = say or _silent, parse_dtype(dtype), as_path(mlx_path, "mlx_path")
    how = Saving(max_shard_size, release=True, progress=progress or _silent)
    if quantize is not None and dequantize:
        raise OptionError("quantize and dequantize are both given; expected one of them")
    if not dry_run:
        settle(target)
    check_target(target, overwrite)
    source = fetch(hf_path, revision, weights=not dry_run)
    check_apart(source, target)
    if processor is None and image_steps is None:
        reads = _processor(source, say)
    else:
        reads = processor_of(source, processor, image_steps=image_steps)
    files = _files(source, hf_path)
    stamps = stamps_of(files)
    model = _opened(source, config, None if files else str(hf_path))
    if model is None:
        say(f"the weights of {hf_path} are pickles, which have to be downloaded to say more")
        return target
    if image_size is not None:
        resize_images(model, reads, image_size)
        say(f"images are {'×'.join(map(str, pair(image_size)))} from now on")
    match_images(model, reads)
    if wanted is None and quantize is not None and float_type(model) == mx.float32:
        wanted = mx.float16 if _holds(mx.float16, model, files) else mx.bfloat16
        say(f"floats become {type_name(wanted)}, which holds all of them; dtype float32 keeps them")
    for line in _change(model, wanted, quantize, dequantize):
        say(line)
    if files and not dry_run:
        with replacing(target) as new:
            write_folder(model, reads, new, how, stamps)
            model_card.leave(new, source, hf_path)
            check_target(target, overwrite)
    return target


def _silent(*_: object) -> None:
    pass


PLACES = ("", "processor/", "image_processor/", "tokenizer/")


def _processor(source: Path, say: Callable[[str], object]) -> Processor:
    """The source's processor, with a warning without the parts for which there is no file."""
    lacking = {
        part: expected
        for part, (expected, *others) in PROCESSOR_FILES.items()
        if not any(
            path.is_file()
            for name, place in product((expected, *others), PLACES)
            for path in source.glob(place + name)
        )
    }
    for part, expected in lacking.items():
        say(f"warning: {source} has no {part}, nor will the result; give it one, {expected}")
    if not lacking:
        return Processor.from_pretrained(source)
    if len(lacking) == len(PROCESSOR_FILES):
        return Processor()
    there = source if IMAGES in lacking else None
    return Processor.from_pretrained(encoder=None if there else source, decoder=there)


def _files(source: Path, hf_path: str | Path) -> list[Path]:
    """The source's files of weights; none of a Hub id whose weights are not downloaded."""
    try:
        return weights.files(source)
    except CheckpointError:
        if Path(hf_path).expanduser().is_dir():
            raise
        return []


def _placeholders(repo: str, snapshot: Path) -> dict[str, mx.array] | None:
    """Arrays of the types and shapes of a Hub id's tensors; None where its weights are pickles."""
    found = headers(repo, snapshot.name)
    if found is None:
        return None
    unknown = {kind for kind, _ in found.values()} - TYPES.keys()
    if unknown:
        raise WeightsError(
            f"the weights of {repo} are of type {', '.join(sorted(unknown))}; known are "
            f"{', '.join(TYPES)}"
        )
    return {  # of one number each in memory
        name: mx.broadcast_to(mx.array(0, TYPES[kind]), shape)
        for name, (kind, shape) in found.items()
    }


def _opened(
    source: Path, changes: Mapping[str, Any] | None, repo: str | None
) -> VisionEncoderDecoderModel | None:
    """The source's model, its weights unread and held by nothing else.

    repo -- the Hub id where the folder has no weights, whose tensors have stand-ins then; None is
    returned where they are pickles.
    """
    tensors = _placeholders(repo, source) if repo else weights.read(source)
    if tensors is None:
        return None
    config = VisionEncoderDecoderConfig.from_pretrained(source)
    for name, value in (changes or {}).items():
        config.set(name, value)
    return VisionEncoderDecoderModel.from_folder(source, config, tensors=tensors)


def _holds(dtype: mx.Dtype, model: VisionEncoderDecoderModel, files: list[Path]) -> bool:
    """Whether a type holds every number in the files, or, of pickles, in the model made of them.

    Safetensors are read anew and let go one by one: what the model has stays unread.
    """
    limit = mx.finfo(dtype).max
    tensors = {**weights.parameters(model), **model._carried}
    for path in files:
        if path.suffix == ".safetensors":
            tensors = weights.read_file(path)
        while tensors:
            _, x = tensors.popitem()
            counts = x.size and mx.issubdtype(x.dtype, mx.floating)
            if counts and not mx.maximum(x.max(), -x.min()) <= limit:  # as it is not of NaN
                return False
    return True


def _change(
    model: VisionEncoderDecoderModel, dtype: mx.Dtype | None, settings: Settings, to_floats: bool
) -> Iterator[str]:
    """Change a model in place, whose weights stay unread, and give lines that tell of it."""
    before = weights.bytes_of(model)
    if to_floats:
        quantizing.dequantize(model)
    if dtype is not None:
        model.astype(dtype)
    if settings is not None:
        yield from _told(quantizing.quantize(model, settings))
    bits, after = bits_per_weight(model), weights.bytes_of(model)
    yield f"{after / 1e6:.1f} MB, {bits:.2f} bits per weight; {before / 1e6:.1f} MB before"


def _told(plan: quantizing.QuantizationPlan) -> Iterator[str]:
    kinds = Counter(
        f"{form.mode}, {form.bits} bits in groups of {form.group_size}"
        for form in plan.formats.values()
    )
    yield from (f"{count} layers: {kind}" for kind, count in sorted(kinds.items()))
    if plan.smaller:
        yield f"in smaller groups than asked for, which divide them: {', '.join(plan.smaller)}"
    for reason, count in Counter(plan.left_out.values()).items():
        names = ", ".join(name for name, why in plan.left_out.items() if why == reason)
        yield f"{count} left as floats ({reason}): {names}"


def write_folder(
    model: VisionEncoderDecoderModel, processor: Processor, folder: Path, how: Saving, read: Stamps
) -> None:
    """Write a model and its processor into a new folder; the model is empty afterwards.

    read -- the source's files, which have to be what they were when it was opened.
    """
    try:
        model.write(folder, how)
    except RuntimeError as error:
        _check_unchanged(read)
        raise OSError(f"the weights could not be read or written: {error}") from error
    processor.save_pretrained(folder)
    _check_unchanged(read)


def stamps_of(files: list[Path]) -> Stamps:
    """By file its number on the disk, its size and its time, which change if the file does."""
    found = {path: path.stat() for path in files}
    return {path: (s.st_ino, s.st_size, s.st_mtime_ns) for path, s in found.items()}


def _check_unchanged(read: Stamps) -> None:
    for path, stamp in read.items():
        if not path.exists() or stamps_of([path])[path] != stamp:
            raise CheckpointError(
                f"{path} changed while it was read, and nothing was written; convert it again"
            )
