"""Tensors on disk to parameters and back, strictly: what does not fit is named, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from safetensors import SafetensorError, safe_open

from .config import read_json
from .errors import CheckpointError, WeightsError
from .files import write_file, write_json
from .formats import foreign, pickles
from .hub import PICKLES, SAFETENSORS, required
from .renames import Renames, matches

SINGLE, INDEX = SAFETENSORS
SHARD_SIZE = 5 * 10**9  # bytes, as mlx-lm's
Tensors = dict[str, mx.array]


def read(folder: Path) -> Mapping[str, mx.array]:
    """The tensors of a checkpoint's folder, unread: of the first of transformers' files in it.

    Those are safetensors, whole or in shards, then torch's pickles likewise.
    """
    for (single, index), read_one in ((SAFETENSORS, read_file), (PICKLES, pickles.read)):
        if (folder / single).is_file():
            return read_one(folder / single)
        if (folder / index).is_file():
            shards = [read_one(path) for path in _indexed(folder / index)]
            return {name: shard[name] for shard in shards for name in shard}
    return read_file(required(folder, SINGLE, PICKLES[0]))


def stored(folder: Path, renames: Renames, base: str, config: Mapping[str, Any]) -> Tensors:
    """What a folder has for one part, as floats and by the names of its table; the rest is unread.

    base -- as of `Renames.standard`; empty for a whole model. config -- what else the config says.
    """

    def turned(layer: str) -> bool:
        return renames.transposes((renames.ours(f"{layer}.weight") or "").removesuffix(".weight"))

    found = read(folder)
    foreign.refuse(found, config, str(folder))
    names = {name: renames.standard(name, base) if base else name for name in found}
    tensors = {
        name: found[on_disk]
        for on_disk, name in names.items()
        if name is not None and not renames.ignores(name)
    }
    return foreign.to_floats(tensors, config, turned, str(folder))


def _indexed(index: Path) -> list[Path]:
    """The files that an index of shards names."""
    names = read_json(index).get("weight_map", {})
    shards = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
    missing = [name for name in shards if not (index.parent / name).is_file()]
    outside = [name for name in shards if Path(name).name != name]
    if missing or outside or not shards:
        raise CheckpointError(
            f"{index} names {missing or outside or 'no files'}; download them again"
        )
    return [index.parent / name for name in shards]


def read_file(path: Path) -> Tensors:
    """The tensors of one safetensors file, unread; a file that was cut short is refused here."""
    try:
        with safe_open(str(path), "numpy"):  # checks what MLX takes on trust
            tensors = mx.load(str(path), format="safetensors")
    except (SafetensorError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{path} is not a safetensors file, or not all of one ({error}); download it again"
        ) from error
    assert isinstance(tensors, dict)
    return tensors


@dataclass
class Report:
    """What a load found: names on disk, except where a tensor has none."""

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def raise_if_any(self, source: str) -> None:
        """Raise one `WeightsError` that names everything."""
        kinds = (("missing", self.missing), ("extra", self.extra), ("misshapen", self.misshapen))
        parts = [
            f"{len(names)} {kind}: {', '.join(sorted(names))}" for kind, names in kinds if names
        ]
        if parts:
            raise WeightsError(
                f"the weights of {source} do not fit its config.json: {'; '.join(parts)}"
            )


@dataclass(frozen=True)
class Loaded:
    """What a load leaves: tensors to carry, and names on disk of parameters that stay as made."""

    carried: Tensors
    new: tuple[str, ...]


def load(
    model: nn.Module,
    tensors: Tensors,
    renames: Renames,
    source: str,
    may_lack: tuple[str, ...] = (),
) -> Loaded:
    """Give a model its parameters, unread.

    Every parameter has to be found, in its shape, unless `may_lack` names it (our name or a module
    of ours, `*` for a number), and every tensor to be used.
    """
    expected = parameters(model)
    layouts = _layouts(model, renames)
    found: Tensors = {}
    carried: Tensors = {}
    report = Report()
    for name, tensor in tensors.items():
        if renames.ignores(name):
            continue
        ours = renames.ours(name)
        if ours in expected:
            if ours not in found or renames.on_disk(ours) == name:  # other dialects give way
                found[ours] = _reorder(tensor, layouts.get(ours))
        elif renames.carries(name):
            carried[name] = tensor
        elif ours is None or not any(ours == left for left, _ in renames.tied):
            report.extra.append(name)
    new: list[str] = []
    for name, parameter in expected.items():
        if name not in found:
            lacking = new if matches(may_lack, name) else report.missing
            lacking.append(renames.on_disk(name))
        elif found[name].shape != parameter.shape:
            report.misshapen.append(_misfit(renames.on_disk(name), found[name], parameter))
    report.raise_if_any(source)
    model.update(tree_unflatten(list(found.items())))
    return Loaded(carried, tuple(new))


def _misfit(name: str, got: mx.array, expected: mx.array) -> str:
    return f"{name} is {tuple(got.shape)}, expected {tuple(expected.shape)}"


def ties(tensors: Mapping[str, mx.array], renames: Renames) -> bool:
    """Whether a head that the config ties is one with the embedding in the file too.

    The rule of transformers 5: a head that is stored and differs keeps its own values.
    """
    by_ours = {renames.ours(name): tensor for name, tensor in tensors.items()}
    pairs = ((by_ours.get(copy), by_ours.get(source)) for copy, source in renames.tied)
    return all(a is None or b is None or _equal(a, b) for a, b in pairs)


def complete_ties(tensors: Tensors, renames: Renames, tied: bool = True) -> Tensors:
    """The tensors with both of a tied pair, where only one of the two was stored.

    tied -- whether the config ties them. A source that is only carried is lent even if not: older
    versions stored it alone, whatever the config said.
    """
    names = {renames.ours(name): name for name in tensors}
    lent: Tensors = {}
    for pair in renames.tied:
        if tied or renames.carries(renames.on_disk(pair[1])):
            for missing, other in (pair, pair[::-1]):
                if missing not in names and other in names:
                    lent[renames.on_disk(missing)] = tensors[names[other]]
    return {**tensors, **lent}


def _equal(a: mx.array, b: mx.array) -> bool:
    return a.shape == b.shape and bool(mx.array_equal(a, b).item())


def save(
    model: nn.Module,
    folder: Path,
    renames: Renames,
    carried: Mapping[str, mx.array],
    max_shard_size: int = SHARD_SIZE,
    *,
    layout: str = "pt",
    release: bool = False,
) -> None:
    """Write the parameters under their names and in their layouts on disk, and what is carried.

    One file, or several of at most `max_shard_size` bytes with an index; a tensor larger than that
    has a file of its own. layout -- "pt" is Hugging Face's, which all its readers accept; "mlx" for
    quantized layers. release -- take the parameters from the model, so that no more than one file
    of them is in memory at a time.
    """
    shards = _shards({**_named(model, renames), **carried}, max_shard_size)
    names = [SINGLE] if len(shards) == 1 else _shard_names(len(shards))
    index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    size = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    if release:
        model.update(tree_unflatten([(name, mx.zeros((0,))) for name in parameters(model)]))
    for name in names:
        _write(folder / name, shards.pop(0), layout)
    if len(names) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": index})
    _remove_others(folder, names)


def _named(model: nn.Module, renames: Renames) -> Tensors:
    """The parameters by their names and in their layouts on disk."""
    layouts, own = _layouts(model, renames), parameters(model)
    tensors = {
        renames.on_disk(name): _reorder(parameter, _inverse(layouts.get(name)))
        for name, parameter in own.items()
    }
    for copy, source in renames.tied:
        if copy in own and source not in own:  # an untied head's bias is stored under both names
            tensors[renames.on_disk(source)] = own[copy]
    return tensors


def _write(path: Path, tensors: Tensors, layout: str) -> None:
    metadata = {"format": layout}
    for tensor in tensors.values():
        mx.eval(tensor)  # one by one: what each is made of is let go before the next is read
    write_file(path, lambda temporary: mx.save_safetensors(str(temporary), tensors, metadata))


def _shards(tensors: Tensors, limit: int) -> list[Tensors]:
    shards: list[Tensors] = [{}]
    room = limit
    for name in sorted(tensors):
        if tensors[name].nbytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = tensors[name]
        room -= tensors[name].nbytes
    return shards


def _shard_names(count: int) -> list[str]:
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def _remove_others(folder: Path, kept: list[str]) -> None:
    """Take away the weights of an earlier save, which a reader might take for these."""
    for path in (folder / SINGLE, folder / INDEX, *folder.glob("model-*-of-*.safetensors")):
        if path.name not in kept and (path.name != INDEX or len(kept) == 1):
            path.unlink(missing_ok=True)


def parameters(model: nn.Module) -> Tensors:
    """A model's parameters by their path."""
    return dict(tree_flatten(model.parameters()))  # pyright: ignore[reportArgumentType]


def _layouts(model: nn.Module, renames: Renames) -> dict[str, tuple[int, ...]]:
    """Axes that bring a parameter from disk to MLX, where the two orders differ.

    A quantized layer's never do: its rows are packed, and a family that stores (in, out) would have
    to unpack them, so all store (out, packed in).
    """
    layouts: dict[str, tuple[int, ...]] = {}
    for name, leaf in model.named_modules():
        if isinstance(leaf, nn.Conv2d):
            layouts[f"{name}.weight"] = (0, 2, 3, 1)
        elif isinstance(leaf, nn.Linear) and renames.transposes(name):
            layouts[f"{name}.weight"] = (1, 0)
    return layouts


def _reorder(tensor: mx.array, axes: tuple[int, ...] | None) -> mx.array:
    return tensor if axes is None or tensor.ndim != len(axes) else tensor.transpose(axes)


def _inverse(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(axes.index(axis) for axis in range(len(axes)))
