"""Adapters as files: tensors by their layers' names on disk, and what base they belong to.

`adapters.safetensors` and `adapter_config.json` are mlx-lm's names, as are `lora_a` (inputs, r),
`lora_b` (r, outputs) and `m`. What was trained itself is stored as checkpoints store it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ..checkpoints import saving, weights
from ..checkpoints.config import read_json
from ..checkpoints.hub import required
from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, OptionError, WeightsError
from ..files import write_file, write_json
from ..layers.lora import Kind, adapted, adapted_layers, sides
from ..layers.packed import ADAPTER
from ..layers.quantization_recipes import quantizable_layers
from ..layers.replacing import replace_layers
from . import base as adapter_base

TENSORS, CONFIG = "adapters.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Adapters:
    """Adapters apart from a model.

    layers -- what each layer has, by our names. trained -- our names of the parameters that are
    trained themselves. tensors -- all of them by their names and in their layouts on disk.
    """

    layers: Mapping[str, Kind]
    trained: tuple[str, ...]
    tensors: Mapping[str, mx.array]


def adapters_of(model: Pretrained) -> Adapters:
    """What of a model is adapters, or is trained."""
    layers = {path: leaf.kind for path, leaf in adapted_layers(model).items()}
    own = {f"{path}.{name}" for path in layers for name in ADAPTER}
    trainable = dict(tree_flatten(model.trainable_parameters()))  # pyright: ignore
    trained = tuple(sorted(trainable.keys() - own))
    on_disk = {model.renames.on_disk(name) for name in own & {*weights.parameters(model)}}
    on_disk |= {model.renames.on_disk(name) for name in trained}
    named = saving.named(model, model.renames)
    return Adapters(layers, trained, {name: named[name] for name in sorted(on_disk)})


def save_adapters(model: Pretrained, folder: str | Path) -> None:
    """Write the adapters of a model, and what is trained beside them, into a folder."""
    found, folder = adapters_of(model), Path(folder)
    if not found.tensors:
        raise OptionError("the model has no adapters, and nothing is trained; add_adapters first")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(found.tensors)
    mx.eval(tensors)
    write_file(
        folder / TENSORS,
        lambda path: mx.save_safetensors(str(path), tensors, {"format": "mlx"}),
    )
    write_json(folder / CONFIG, described(model, found))


def described(model: Pretrained, adapters: Adapters) -> dict[str, Any]:
    """The `adapter_config.json` of adapters of a model."""
    names = {path: model.renames.layer_on_disk(path) for path in adapters.layers}
    counted = Counter(adapters.layers.values()).most_common(1)
    usual = counted[0][0] if counted else None
    others = {names[p]: asdict(kind) for p, kind in adapters.layers.items() if kind != usual}
    values: dict[str, Any] = {
        "fine_tune_type": "full" if usual is None else "dora" if usual.dora else "lora",
        "model": model.source,
        "revision": model.revision,
        "base": adapter_base.summary(model),
        "trained": [model.renames.on_disk(name) for name in adapters.trained],
    }
    if usual is not None:
        keys = sorted(names[path] for path in adapters.layers)
        values["lora_parameters"] = {**asdict(usual), "keys": keys}
        values.update({"overrides": others} if others else {})
    return values


def read_adapters(model: Pretrained, folder: Path, *, requantized: bool = False) -> Adapters:
    """The adapters of a folder, checked against the model that they are for.

    requantized -- the model may be quantized otherwise than the one they were trained with.
    """
    config = read_json(required(folder, CONFIG))
    adapter_base.check(model, config, folder / CONFIG, requantized=requantized)
    layers, trained = _parsed(config, folder / CONFIG)
    paths = {model.renames.layer_on_disk(path): path for path in quantizable_layers(model)}
    own = {model.renames.on_disk(name): name for name in weights.parameters(model)}
    strange = sorted({*layers} - {*paths}) + sorted({*trained} - {*own})
    if strange:
        raise WeightsError(
            f"{folder / CONFIG} names {', '.join(strange)}, which the model does not have"
        )
    kinds = {paths[name]: kind for name, kind in layers.items()}
    tensors = weights.read_file(required(folder, TENSORS))
    return Adapters(kinds, tuple(own[name] for name in trained), tensors)


def _parsed(config: Mapping[str, Any], path: Path) -> tuple[dict[str, Kind], list[str]]:
    """The layers with adapters and the parameters that are trained, by their names on disk."""
    try:
        usual, others = config.get("lora_parameters", {"keys": []}), config.get("overrides", {})
        given = {str(name): others.get(name, usual) for name in usual["keys"]}
        kinds = {
            name: Kind(
                int(own["rank"]), float(own["scale"]), float(own["dropout"]), bool(own["dora"])
            )
            for name, own in given.items()
        }
        return kinds, [str(name) for name in config["trained"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not what save_adapters writes ({error!r}); expected trained, and "
            "lora_parameters with rank, scale, dropout, dora and keys"
        ) from error


def put(model: Pretrained, adapters: Adapters, source: str) -> None:
    """Give a model adapters, of which every tensor has to fit; all else is frozen then.

    Adapters keep their type, what was trained itself takes the model's.
    """
    expected = _expected(model, adapters)
    report = weights.Report()
    report.missing = [*expected.keys() - adapters.tensors.keys()]
    report.extra = [*adapters.tensors.keys() - expected.keys()]
    report.misshapen = [
        f"{name} is {tuple(tensor.shape)}, expected {expected[name]}"
        for name, tensor in adapters.tensors.items()
        if name in expected and tuple(tensor.shape) != expected[name]
    ]
    _raise_if_any(report, source)
    attach(model, adapters.layers, adapters.trained)
    layouts, own = weights.layouts_of(model, model.renames), weights.parameters(model)
    for name, tensor in adapters.tensors.items():
        ours = model.renames.ours(name)
        assert ours is not None  # all were expected
        if ours in adapters.trained:
            tensor = weights.reordered(tensor, layouts.get(ours)).astype(own[ours].dtype)
        model.update(tree_unflatten([(ours, tensor)]))
    mx.eval(model.trainable_parameters())


def _expected(model: Pretrained, adapters: Adapters) -> dict[str, tuple[int, ...]]:
    """Shapes by name on disk."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, kind in adapters.layers.items():
        inputs, outputs = sides(quantizable_layers(model)[path])
        own = zip(ADAPTER, ((inputs, kind.rank), (kind.rank, outputs), (outputs,)), strict=True)
        for leaf, shape in [*own][: 3 if kind.dora else 2]:
            shapes[model.renames.on_disk(f"{path}.{leaf}")] = shape
    named = saving.named(model, model.renames) if adapters.trained else {}
    on_disk = [model.renames.on_disk(name) for name in adapters.trained]
    return {**shapes, **{name: tuple(named[name].shape) for name in on_disk}}


def _raise_if_any(report: weights.Report, source: str) -> None:
    kinds = (("missing", report.missing), ("extra", report.extra), ("misshapen", report.misshapen))
    parts = [f"{len(names)} {kind}: {', '.join(sorted(names))}" for kind, names in kinds if names]
    if parts:
        raise WeightsError(f"the adapters of {source} do not fit: {'; '.join(parts)}")


def check_bare(model: nn.Module) -> None:
    """Raise `OptionError` where there are adapters."""
    if adapted_layers(model):
        raise OptionError("the model has adapters already; fuse them, or remove_adapters first")


def attach(model: Pretrained, layers: Mapping[str, Kind], trained: tuple[str, ...]) -> None:
    """Put new adapters into a model; they and `trained` are all that is not frozen then."""
    check_bare(model)
    found = quantizable_layers(model)
    replace_layers(model, {path: adapted(found[path], kind) for path, kind in layers.items()})
    model.freeze()
    modules = dict(model.named_modules())
    for path in layers:
        _unfreeze(modules[path], [name for name in ADAPTER if name in modules[path]])
    for name in trained:
        path, _, leaf = name.rpartition(".")
        _unfreeze(modules[path], [leaf])


def _unfreeze(module: nn.Module, names: list[str]) -> None:
    module.unfreeze(recurse=False, keys=names)
