"""A checkpoint's folder rewritten: in another type, quantized or not, its other files beside."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx

from . import quantize as quantized
from . import weights
from .errors import CheckpointError, OptionError
from .hub import fetch
from .model import VisionEncoderDecoderModel
from .pretrained import parse_dtype
from .processor import Processor
from .quantization import QuantizationConfig

Settings = int | QuantizationConfig | None


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
    *,
    dtype: str | mx.Dtype | None = None,
    quantize: Settings = None,
    dequantize: bool = False,
    revision: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    max_shard_size: int = weights.SHARD_SIZE,
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write the checkpoint of a folder or a Hub id to `mlx_path`.

    The result keeps Hugging Face's names and layouts, so transformers reads it too unless it is
    quantized. dtype -- of all that is floating-point; by default it keeps its own. quantize -- to
    so many bits, or as a `QuantizationConfig` says; dequantize -- back to floats. overwrite --
    replace a model that is there. dry_run -- read, say what would be done, and write nothing.
    max_shard_size -- bytes of a file of weights, of which there is one at a time in memory. say --
    is told what was done, line by line.

    The folder is written beside its place and renamed when it is whole. With `overwrite` the old
    one is first renamed to `old` in a folder beside it, and deleted at the end.
    """
    wanted, target = parse_dtype(dtype), Path(mlx_path)
    if quantize is not None and dequantize:
        raise OptionError("quantize and dequantize are both given; expected one of them")
    if max_shard_size < 1:
        raise OptionError(f"max_shard_size is {max_shard_size}; expected bytes, 1 or more")
    _check_target(target, overwrite)
    source = fetch(hf_path, revision)
    _check_apart(source, target)
    processor = Processor.from_pretrained(source)
    model = VisionEncoderDecoderModel.from_folder(source)
    for line in _change(model, wanted, quantize, dequantize):
        if say is not None:
            say(line)
    if not dry_run:
        _write(model, processor, target, max_shard_size)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    if not overwrite and (target.exists() or target.is_symlink()):
        raise CheckpointError(f"{target} exists; give another path, or overwrite it")
    if target.exists() and not (target / "config.json").is_file():
        raise CheckpointError(f"{target} is no model's folder to overwrite; give another path")


def _check_apart(source: Path, target: Path) -> None:
    read, written = source.resolve(), target.resolve()
    if read == written or read in written.parents or written in read.parents:
        raise CheckpointError(
            f"{target} and the source, {source}, are one folder or one inside the other; give "
            "another path"
        )


def _change(
    model: VisionEncoderDecoderModel, dtype: mx.Dtype | None, settings: Settings, to_floats: bool
) -> Iterator[str]:
    """Change a model whose weights are still unread, in place, and tell of it."""
    before = _size(model)
    if to_floats:
        quantized.dequantize(model)
    if dtype is not None:
        model.astype(dtype)
    if settings is not None:
        yield from _told(quantized.quantize(model, settings))
    bits = quantized.bits_per_weight(model)
    yield f"{_size(model) / 1e6:.1f} MB, {bits:.2f} bits per weight; {before / 1e6:.1f} MB before"


def _told(plan: quantized.Plan) -> Iterator[str]:
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


def _size(model: VisionEncoderDecoderModel) -> int:
    return sum(x.nbytes for x in weights.parameters(model).values())


def _write(
    model: VisionEncoderDecoderModel, processor: Processor, target: Path, max_shard_size: int
) -> None:
    """Write the folder beside its place, then rename it; the model is empty afterwards."""
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        try:
            model.write(new, max_shard_size, release=True)
        except RuntimeError as error:  # MLX's, of a full disk or of a source that changed
            raise OSError(f"{target} was not written: {error}") from error
        model.generation_config.save(new)
        processor.save_pretrained(new)
        _exchange(new, place, old)


def _exchange(new: Path, place: Path, old: Path) -> None:
    """Put a folder in its place, and what was there aside."""
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except BaseException:
        if old.exists():
            os.replace(old, place)
        raise
