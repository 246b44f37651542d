"""Parameters to tensors on disk: in one file or in shards, the old ones there until the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_unflatten

from ..files import staged, write_json
from . import tensor_files
from .renames import NamedModule
from .tensor_files import Shapes
from .weights import INDEX, SINGLE, Tensors, layouts_of, parameters, reordered

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


def save(
    model: NamedModule,
    folder: Path,
    carried: Mapping[str, mx.array],
    how: Saving,
    *,
    layout: str = "pt",
    last: Callable[[], object] = lambda: None,
) -> None:
    """Write the parameters under their names and in their layouts on disk, and what is carried.

    One file, or several with an index. layout -- "pt" is Hugging Face's, which all its readers
    accept; "mlx" for quantized layers. last -- is called when all is written, under names that no
    reader knows; then the files come into their place, the one that the others are found by last.
    """
    tensors = {**tensors_on_disk(model), **carried}
    shards = _shards(tensors, how.max_shard_size)
    names = [SINGLE] if len(shards) == 1 else _shard_names(folder, len(shards))
    if how.release:
        model.update(tree_unflatten([(name, mx.zeros((0,))) for name in parameters(model)]))
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder) as temporary:
        _write([temporary(name) for name in names], shards, tensors, how, layout)
        if len(names) > 1:
            index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            size = sum(tensor_files.nbytes(shard) for shard in shards)
            values = {"metadata": {"total_size": size}, "weight_map": index}
            write_json(temporary(INDEX), values)
        last()
    _remove_others(folder, names)


def _write(
    paths: list[Path], shards: list[Shapes], tensors: Tensors, how: Saving, layout: str
) -> None:
    """Write the files; each tensor is let go before the next is read."""
    total, done = sum(map(tensor_files.nbytes, shards)), 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        how.progress(done, total)

    for path, shapes in zip(paths, shards, strict=True):
        tensor_files.write(path, shapes, tensors.pop, {"format": layout}, wrote)


def tensors_on_disk(model: NamedModule) -> Tensors:
    """A model's parameters by the names and in the layouts that they have on disk."""
    renames, own = model.renames, parameters(model)
    layouts = layouts_of(model, renames)
    tensors = {
        renames.on_disk(name): reordered(parameter, _inverse(layouts.get(name)))
        for name, parameter in own.items()
    }
    for copy, source in renames.tied:
        if copy in own and source not in own:  # an untied head's bias is stored under both names
            tensors[renames.on_disk(source)] = own[copy]
        elif copy in renames.doubled and copy not in own and _is_float(own[source]):
            tensors[renames.on_disk(copy)] = own[source]
    return tensors


def _is_float(tensor: mx.array) -> bool:
    return mx.issubdtype(tensor.dtype, mx.floating)


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


def _shard_names(folder: Path, count: int) -> list[str]:
    """Names of shards, other than those of the index in the folder, which stay until the end."""
    taken = (folder / INDEX).read_text(encoding="utf-8") if (folder / INDEX).is_file() else ""
    width = 6 if f"model-{1:05}-of-{count:05}." in taken else 5
    return [
        f"model-{number:0{width}}-of-{count:0{width}}.safetensors" for number in range(1, count + 1)
    ]


def _remove_others(folder: Path, kept: list[str]) -> None:
    """Take away the weights of an earlier save, which a reader might take for these."""
    for path in (folder / SINGLE, folder / INDEX, *folder.glob("model-*-of-*.safetensors")):
        if path.name not in kept and (path.name != INDEX or len(kept) == 1):
            path.unlink(missing_ok=True)


def _inverse(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(axes.index(axis) for axis in range(len(axes)))
