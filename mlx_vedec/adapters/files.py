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
from mlx.utils import tree_flatten, tree_unflatten

from ..checkpoints import saving, weights
from ..checkpoints.config import LARGEST, read_json
from ..checkpoints.hub import required
from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, OptionError, WeightsError, as_path
from ..files import make_folder, staged, write_json, write_tensors
from ..layers.lora import AdapterSettings, adapted, adapted_layers, check_no_adapters
from ..layers.packed import ADAPTER, replace_layers
from ..layers.quantization_recipes import quantizable_layers
from . import base_model

TENSORS, CONFIG = "adapters.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Adapters:
    """Adapters apart from a model.

    layers -- the adapter of each layer that has one, by path. trained -- the parameters that are
    trained themselves, by path. tensors -- of both, by their names and in their layouts on disk.
    """

    layers: Mapping[str, AdapterSettings]
    trained: tuple[str, ...]
    tensors: Mapping[str, mx.array]


def adapters_of(model: Pretrained) -> Adapters:
    """The adapters of a model, and what is trained beside them."""
    layers = {path: layer.settings for path, layer in adapted_layers(model).items()}
    own = {f"{path}.{name}" for path in layers for name in ADAPTER}
    trainable = dict(tree_flatten(model.trainable_parameters()))  # pyright: ignore
    trained = tuple(sorted(trainable.keys() - own))
    on_disk = {model.renames.on_disk(name) for name in own & {*weights.parameters(model)}}
    on_disk |= {model.renames.on_disk(name) for name in trained}
    named = saving.tensors_on_disk(model)
    return Adapters(layers, trained, {name: named[name] for name in sorted(on_disk)})


def save_adapters(model: Pretrained, folder: str | Path) -> None:
    """Write the adapters of a model, and what is trained beside them, into a folder."""
    found = adapters_of(model)
    if not found.tensors:
        raise OptionError("the model has no adapters, and nothing is trained; add_adapters first")
    write_adapters(as_path(folder, "folder") / TENSORS, found.tensors, _config(model, found), "mlx")


def write_adapters(
    path: Path, tensors: Mapping[str, mx.array], config: Mapping[str, Any], layout: str
) -> None:
    """Write tensors to a file, whose folder is made, and the config of the adapters beside it."""
    make_folder(path.parent)
    found = dict(tensors)
    mx.eval(found)
    with staged(path.parent):
        write_tensors(path, found, {"format": layout})
        write_json(path.with_name(CONFIG), config)


def _config(model: Pretrained, adapters: Adapters) -> dict[str, Any]:
    """The `adapter_config.json` of adapters of a model."""
    names = {path: model.renames.layer_on_disk(path) for path in adapters.layers}
    counted = Counter(adapters.layers.values()).most_common(1)
    usual = counted[0][0] if counted else None
    others = {names[path]: asdict(own) for path, own in adapters.layers.items() if own != usual}
    values: dict[str, Any] = {
        "fine_tune_type": "full" if usual is None else "dora" if usual.dora else "lora",
        "model": model.source,
        "revision": model.revision,
        "base": base_model.summary(model),
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
    base_model.check(model, config, folder / CONFIG, requantized=requantized)
    layers, trained = _parsed(config, folder / CONFIG)
    paths = {model.renames.layer_on_disk(path): path for path in quantizable_layers(model)}
    own = {model.renames.on_disk(name): name for name in weights.parameters(model)}
    strange = sorted({*layers} - {*paths}) + sorted({*trained} - {*own})
    if strange:
        raise WeightsError(
            f"{folder / CONFIG} names {', '.join(strange)}, which the model does not have"
        )
    tensors = weights.read_file(required(folder, TENSORS))
    settings = {paths[name]: found for name, found in layers.items()}
    return Adapters(settings, tuple(own[name] for name in trained), tensors)


def _parsed(config: Mapping[str, Any], path: Path) -> tuple[dict[str, AdapterSettings], list[str]]:
    """The layers with adapters and the parameters that are trained, by their names on disk."""
    try:
        usual, others = config.get("lora_parameters", {"keys": []}), config.get("overrides", {})
        given = {str(name): others.get(name, usual) for name in usual["keys"]}
        layers = {name: _settings(own) for name, own in given.items()}
        return layers, [str(name) for name in config["trained"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not what save_adapters writes ({error!r}); expected trained, and "
            "lora_parameters with rank, scale, dropout, dora and keys"
        ) from error


def _settings(own: Mapping[str, Any]) -> AdapterSettings:
    """The adapter of a layer, of values that are checked: a ValueError for those of no adapter."""
    rank, scale, dropout, dora = (own[name] for name in ("rank", "scale", "dropout", "dora"))
    numbers = all(type(value) in (int, float) for value in (scale, dropout))
    if type(rank) is not int or type(dora) not in (bool, int) or not numbers:
        raise ValueError(f"{dict(own)!r}")
    if not (1 <= rank <= LARGEST and abs(scale) <= LARGEST and 0 <= dropout < 1 and dora in (0, 1)):
        raise ValueError(f"{dict(own)!r}")
    return AdapterSettings(rank, float(scale), float(dropout), bool(dora))


def put(model: Pretrained, adapters: Adapters, source: str) -> None:
    """Give a model adapters, of which every tensor has to fit; all else is frozen then.

    Adapters keep their type, what was trained itself takes the model's.
    """
    expected = _expected(model, adapters)
    report = weights.Report()
    report.missing = [*expected.keys() - adapters.tensors.keys()]
    report.extra = [*adapters.tensors.keys() - expected.keys()]
    report.misshapen = [
        f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, expected floats {expected[name]}"
        for name, tensor in adapters.tensors.items()
        if name in expected
        and (tuple(tensor.shape) != expected[name] or not mx.issubdtype(tensor.dtype, mx.floating))
    ]
    report.raise_if_any(f"the adapters of {source} do not fit")
    attach(model, adapters.layers, adapters.trained)
    layouts, own = weights.layouts_of(model, model.renames), weights.parameters(model)
    found: list[tuple[str, mx.array]] = []
    for name, tensor in adapters.tensors.items():
        ours = model.renames.ours(name)
        assert ours is not None  # all were expected
        if ours in adapters.trained:
            tensor = weights.reordered(tensor, layouts.get(ours)).astype(own[ours].dtype)
        found.append((ours, tensor))
    model.update(tree_unflatten(found))
    mx.eval(model.trainable_parameters())


def _expected(model: Pretrained, adapters: Adapters) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that adapters have to have, by its name on disk."""
    shapes: dict[str, tuple[int, ...]] = {}
    layers, on_disk = quantizable_layers(model), model.renames.on_disk
    for path, settings in adapters.layers.items():
        own = settings.shapes(layers[path])
        shapes.update({on_disk(f"{path}.{name}"): shape for name, shape in own.items()})
    named = saving.tensors_on_disk(model) if adapters.trained else {}
    shapes.update({on_disk(name): named[on_disk(name)].shape for name in adapters.trained})
    return shapes


def attach(
    model: Pretrained, layers: Mapping[str, AdapterSettings], trained: tuple[str, ...]
) -> None:
    """Put new adapters into a model; they and `trained` are all that is not frozen then."""
    check_no_adapters(model, "others are put on it")
    found = quantizable_layers(model)
    own = {path: adapted(found[path], settings) for path, settings in layers.items()}
    replace_layers(model, own)
    model.freeze()
    for layer in own.values():
        layer.unfreeze(recurse=False, keys=[name for name in ADAPTER if name in layer])
    modules = dict(model.named_modules())
    for name in trained:
        path, _, leaf = name.rpartition(".")
        modules[path].unfreeze(recurse=False, keys=leaf)
