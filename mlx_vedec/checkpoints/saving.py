"""Parameters to safetensors files, one or shards; the old ones are there until the end."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_unflatten

from ..errors import OptionError
from ..files import make_folder, named_errors, staged, write_json
from .renames import NamedModule
from .weights import INDEX, SINGLE, Tensors, layouts_of, parameters, reordered

TYPES = {
    "BOOL": mx.bool_,
    "U8": mx.uint8,
    "U16": mx.uint16,
    "U32": mx.uint32,
    "U64": mx.uint64,
    "I8": mx.int8,
    "I16": mx.int16,
    "I32": mx.int32,
    "I64": mx.int64,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "F32": mx.float32,
}
NAMES = {dtype: name for name, dtype in TYPES.items()}
ALIGNED = 8  # bytes: where the tensors begin is a multiple of it
Shapes = Mapping[str, tuple[mx.Dtype, tuple[int, ...]]]
SHARD_SIZE = 5 * 10**9  # bytes, as mlx-lm's


@dataclass(frozen=True)
class Saving:
    """How weights are written.

    max_shard_size -- bytes of a file; a tensor larger than that has one of its own. release -- take
    the parameters from the model, so that no more than one is in memory at a time. progress -- is
    told the bytes written so far, and of all.
    """

    max_shard_size: int = SHARD_SIZE
    release: bool = False
    progress: Callable[[int, int], object] = lambda done, total: None

    def __post_init__(self) -> None:
        if type(self.max_shard_size) is not int or self.max_shard_size < 1:
            raise OptionError(
                f"max_shard_size is {self.max_shard_size!r}; expected bytes, a whole number, 1 or "
                "more"
            )


def save(
    model: NamedModule,
    folder: Path,
    carried: Mapping[str, mx.array],
    how: Saving,
    *,
    layout: str = "pt",
) -> None:
    """Write the parameters under their names and in their layouts on disk, and what is carried.

    One file, or several with an index. layout -- "pt" is Hugging Face's, which all its readers
    accept; "mlx" for quantized layers. The weights of an earlier save go.
    """
    tensors = {**tensors_on_disk(model), **carried}
    shards = _shards(tensors, how.max_shard_size)
    names = [SINGLE] if len(shards) == 1 else _shard_names(len(shards))
    if how.release:
        model.update(tree_unflatten([(name, mx.zeros((0,))) for name in parameters(model)]))
    make_folder(folder)
    with staged(folder) as temporary:
        _write({folder / name: temporary(name) for name in names}, shards, tensors, how, layout)
        if len(names) > 1:
            index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            size = sum(nbytes(shard) for shard in shards)
            values = {"metadata": {"total_size": size}, "weight_map": index}
            write_json(folder / INDEX, values)
        temporary.removed += _others(folder, names)


def _write(
    paths: Mapping[Path, Path], shards: list[Shapes], tensors: Tensors, how: Saving, layout: str
) -> None:
    """Write the files, each to the path beside its own; of tensors one after another is read."""
    total, done = sum(map(nbytes, shards)), 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        how.progress(done, total)

    for (path, beside), shapes in zip(paths.items(), shards, strict=True):
        with named_errors(path):
            stream_tensors(beside, shapes, tensors.pop, {"format": layout}, wrote)


def tensors_on_disk(model: NamedModule) -> Tensors:
    """A model's parameters by the names and in the layouts that they have on disk."""
    renames, own = model.renames, parameters(model)
    layouts = layouts_of(model, renames)
    tensors = {
        renames.on_disk(name): reordered(parameter, _inverse(layouts.get(name)))
        for name, parameter in own.items()
    }
    for copy, source in renames.tied:
        doubled = copy in renames.doubled and copy not in own
        if copy in own and source not in own:  # an untied head's bias is stored under both names
            tensors[renames.on_disk(source)] = own[copy]
        elif doubled and mx.issubdtype(own[source].dtype, mx.floating):
            tensors[renames.on_disk(copy)] = own[source]
    return tensors


def _shards(tensors: Tensors, limit: int) -> list[Shapes]:
    shards: list[dict[str, tuple[mx.Dtype, tuple[int, ...]]]] = [{}]
    room = limit
    for name in sorted(tensors):
        if tensors[name].nbytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = tensors[name].dtype, tensors[name].shape
        room -= tensors[name].nbytes
    return [*shards]


def _shard_names(count: int) -> list[str]:
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _others(folder: Path, kept: list[str]) -> list[str]:
    """The weights of an earlier save, which a reader might take for these."""
    old = (folder / SINGLE, folder / INDEX, *folder.glob("model-*-of-*.safetensors"))
    kept = [*kept, INDEX] if len(kept) > 1 else kept
    return [path.name for path in old if path.is_file() and path.name not in kept]


def _inverse(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(axes.index(axis) for axis in range(len(axes)))


# --- one file


def stream_tensors(
    path: Path,
    shapes: Shapes,
    take: Callable[[str], mx.array],
    metadata: Mapping[str, str],
    wrote: Callable[[int], object],
) -> None:
    """Write tensors one after the other.

    take -- gives a tensor by its name, which is held until it is written. wrote -- is told the
    bytes of each.
    """
    with path.open("wb") as file:
        file.write(_header(shapes, metadata))
        for name in shapes:
            wrote(file.write(memoryview(take(name).reshape(-1).view(mx.uint8))))  # pyright: ignore[reportArgumentType]


def nbytes(shapes: Shapes) -> int:
    """Bytes of the tensors."""
    return sum(dtype.size * math.prod(shape) for dtype, shape in shapes.values())


def _header(shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name, (dtype, shape) in shapes.items():
        end = start + nbytes({name: (dtype, shape)})
        entries[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return struct.pack("<Q", len(text)) + text
