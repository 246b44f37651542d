"""Tensors on disk to parameters, strictly: what does not fit is named, all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, WeightsError, listed
from ..files import finish
from . import foreign, pickles
from .config import read_json
from .hub import PICKLES, SAFETENSORS, required
from .renames import Renames, matches, unwrapped

SINGLE, INDEX = SAFETENSORS
ROWS = {  # of a decoder's tables, the fields of its config that count them, or all but a few
    "embed_tokens.weight": "vocab_size",
    "lm_head.weight": "vocab_size",
    "embed_positions.weight": "max_position_embeddings",
    "embed_types.weight": "type_vocab_size",
}
MOST_NAMES = 12  # of tensors that do not fit, in an error
Tensors = dict[str, mx.array]


def read(folder: Path) -> Mapping[str, mx.array]:
    """The tensors of a checkpoint's folder, unread: of the first of transformers' files in it.

    Those are safetensors, whole or in shards, then torch's pickles likewise.
    """
    read_one, paths = _reader_and_files(folder)
    if len(paths) == 1:
        return read_one(paths[0])
    shards = [read_one(path) for path in paths]
    return {name: shard[name] for shard in shards for name in shard}


def files(folder: Path) -> list[Path]:
    """The files of weights in a checkpoint's folder, of which `read` gives the tensors."""
    return _reader_and_files(folder)[1]


def _reader_and_files(folder: Path) -> tuple[Callable[[Path], Mapping[str, mx.array]], list[Path]]:
    finish(folder)
    for (single, index), read_one in ((SAFETENSORS, read_file), (PICKLES, pickles.read)):
        if (folder / single).is_file():
            return read_one, [folder / single]
        if (folder / index).is_file():
            return read_one, _indexed(folder / index)
    return read_file, [required(folder, SINGLE, PICKLES[0])]


def stored_tensors(
    found: Mapping[str, mx.array],
    renames: Renames,
    base: str,
    config: Mapping[str, Any],
    source: str,
) -> Tensors:
    """The tensors that a checkpoint has for a model or a part, by the names that its table has.

    Other libraries' quantized weights are made floats; nothing else is read. found -- all of the
    checkpoint's. base -- as in `Renames.standard`; empty for a whole model. config -- the keys of
    its config that are no fields. source -- the checkpoint, for errors.
    """

    def transposes(layer: str) -> bool:
        return renames.transposes((renames.ours(f"{layer}.weight") or "").removesuffix(".weight"))

    def is_known(name: str) -> bool:
        return any(map(renames.knows, renames.spellings(name, base)))

    foreign.refuse_quantized(found, config, source)
    foreign.refuse_tensors(found, source)
    on_disk = unwrapped(found, is_known, source)
    names = {name: renames.standard(name, base) if base else name for name in on_disk}
    if any(name == f"{base}.{standard}" for name, standard in names.items()):
        # what stands beside a part is the task's, even under a name that the part has: BEiT's norm
        beside = (name for name in names if not name.startswith(f"{base}."))
        names.update({name: None for name in beside if renames.ours(f"{base}.{name}") is None})
    tensors = {
        name: found[on_disk[bare]]
        for bare, name in names.items()
        if name is not None and not renames.ignores(name)
    }
    return foreign.to_floats(tensors, config, transposes, source)


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
        if not path.is_file():
            raise OSError("it is no regular file")
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
    """What does not fit when tensors are loaded, by names on disk where there is one.

    fitting -- fields of the config that are to blame, with the values that would fit. disputed --
    those for which two tables want two values, with the tables' names and rows.
    """

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    fitting: dict[str, int] = field(default_factory=dict)
    disputed: dict[str, dict[str, int]] = field(default_factory=dict)

    def raise_if_any(self, said: str) -> None:
        """Raise one `WeightsError` that says that something does not fit, with the first names."""
        kinds = {"missing": self.missing, "extra": self.extra, "misshapen": self.misshapen}
        kinds = {kind: names for kind, names in kinds.items() if names}
        parts = [
            f"{len(names)} {kind}: {listed(sorted(names), MOST_NAMES // len(kinds))}"
            for kind, names in kinds.items()
        ]
        if parts:
            raise WeightsError(f"{said}: {'; '.join(parts)}{self._way}")

    @property
    def _way(self) -> str:
        if self.disputed:
            key, rows = next(iter(self.disputed.items()))
            tables = " and ".join(f"{name} has {count} rows" for name, count in rows.items())
            return f"; {tables}: these differ, and no {key} fits both; get the checkpoint anew"
        values = [f"{name}={value}" for name, value in self.fitting.items()]
        flags = " ".join(f"--config {text}" for text in values)
        found = f"; {' and '.join(values)} in the config would fit: mlx_vedec convert {flags}"
        return found if values else ""


@dataclass(frozen=True)
class Loaded:
    """Tensors that a model carries without computing with them, and what its file lacked.

    new -- names on disk of parameters that stay as they were made.
    """

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

    Every parameter has to be found, in its shape, unless `may_lack` names it (its path here or a
    module that it is in, `*` for a number), and every tensor to be used. source -- where the
    tensors are from, for the `WeightsError` that names all that does not fit.
    """
    expected = parameters(model)
    layouts = layouts_of(model, renames)
    found: Tensors = {}
    carried: Tensors = {}
    report = Report()
    for name, tensor in tensors.items():
        if renames.ignores(name):
            continue
        ours = renames.ours(name)
        if ours in expected:
            if ours not in found or renames.on_disk(ours) == name:  # other dialects give way
                found[ours] = reordered(tensor, layouts.get(ours))
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
            shapes = f"{tuple(found[name].shape)}, expected {tuple(parameter.shape)}"
            report.misshapen.append(f"{renames.on_disk(name)} is {shapes}")
            report.fitting.update(_fitting(model, name, found[name], parameter))
    report.disputed = _disputed(found, renames)
    report.raise_if_any(f"the weights of {source} do not fit its config.json")
    model.update(tree_unflatten(list(found.items())))
    return Loaded(carried, tuple(new))


def _fitting(model: nn.Module, name: str, got: mx.array, expected: mx.array) -> dict[str, int]:
    """The field that says how many rows a misshapen table has, with the value for those it got."""
    part, point, rest = name.rpartition("decoder.")
    key = ROWS.get(rest)
    if key is None or got.shape[1:] != expected.shape[1:]:
        return {}
    config = getattr(model, "config", None)
    value = getattr(getattr(config, "decoder", config), key, None)
    difference = got.shape[0] - expected.shape[0]
    return {part + point + key: value + difference} if isinstance(value, int) else {}


def _disputed(found: Tensors, renames: Renames) -> dict[str, dict[str, int]]:
    """The fields that count the rows of several tables which differ, with each table's rows."""
    rows: dict[str, dict[str, int]] = {}
    for name, tensor in found.items():
        part, point, rest = name.rpartition("decoder.")
        if rest in ROWS and tensor.ndim == 2:
            rows.setdefault(part + point + ROWS[rest], {})[renames.on_disk(name)] = len(tensor)
    return {key: own for key, own in rows.items() if len({*own.values()}) > 1}


def are_tied(tensors: Mapping[str, mx.array], renames: Renames) -> bool:
    """Whether head and embedding, where a file stores both, are one matrix.

    By the rule of transformers 5, a head that is stored and differs keeps its own values though the
    config ties it.
    """
    by_ours = {renames.ours(name): tensor for name, tensor in tensors.items()}
    pairs = ((by_ours.get(copy), by_ours.get(source)) for copy, source in renames.tied)
    return all(a is None or b is None or bool(mx.array_equal(a, b)) for a, b in pairs)


def complete_ties(tensors: Tensors, renames: Renames, tied: bool = True) -> Tensors:
    """The tensors, and of each tied pair of which only one is stored the other too.

    tied -- whether the config ties them. A tensor that is only carried stands for its copy even if
    not: older versions stored it alone, whatever the config said.
    """
    names = {renames.ours(name): name for name in tensors}
    lent: Tensors = {}
    for pair in renames.tied:
        if tied or renames.carries(renames.on_disk(pair[1])):
            for missing, other in (pair, pair[::-1]):
                if missing not in names and other in names:
                    lent[renames.on_disk(missing)] = tensors[names[other]]
    return {**tensors, **lent}


def parameters(model: nn.Module) -> Tensors:
    """A model's parameters by their path."""
    return dict(tree_flatten(model.parameters()))  # pyright: ignore[reportArgumentType]


def bytes_of(model: nn.Module) -> int:
    """Bytes of a model's parameters."""
    return sum(x.nbytes for x in parameters(model).values())


def layouts_of(model: nn.Module, renames: Renames) -> dict[str, tuple[int, ...]]:
    """The order of axes, by path, that makes MLX's layout of the one on disk, where they differ.

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


def reordered(tensor: mx.array, axes: tuple[int, ...] | None) -> mx.array:
    """A tensor with its axes in this order; as it is without one, or if it has other axes."""
    return tensor if axes is None or tensor.ndim != len(axes) else tensor.transpose(axes)
