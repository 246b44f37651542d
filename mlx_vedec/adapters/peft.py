"""Adapters of Hugging Face's PEFT, read and written.

PEFT names a layer as transformers has it in memory, which in transformers 5 is another name than on
disk for some encoders; both are read, and the one of transformers 5 is written. Its `lora_A` is
(r, inputs) and its `lora_B` (outputs, r); a table's have no `.weight` behind them.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..checkpoints import pickles, weights
from ..checkpoints.config import read_json
from ..checkpoints.hub import required
from ..checkpoints.pretrained import Pretrained
from ..checkpoints.renames import without_wrappers
from ..errors import ConfigError, WeightsError, as_path, listed
from ..layers.lora import AdapterSettings, check_no_adapters
from ..layers.packed import Quantized
from ..layers.quantization_recipes import TABLE, quantizable_layers
from . import base_model
from .files import CONFIG, Adapters, put
from .patterns import matches
from .peft_tables import INDICES, PREFIX, TOKENS, grow, plain_name, table_of, with_rows

LOG = logging.getLogger("mlx_vedec")
TENSORS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
LEAVES = (  # the end of PEFT's name, ours, whether it is the other way round
    (".lora_A.weight", "lora_a", True),
    (".lora_B.weight", "lora_b", True),
    (".lora_embedding_A", "lora_a", True),
    (".lora_embedding_B", "lora_b", True),
    (".lora_magnitude_vector", "m", False),
    (".lora_magnitude_vector.weight", "m", False),
)
NUMBER = (int, float)
KNOWN: dict[str, tuple[type, ...]] = {  # what may be set, and to what; all else changes the layers
    **dict.fromkeys(("lora_alpha", "lora_dropout"), NUMBER),
    **dict.fromkeys(("r", "qalora_group_size"), (int,)),
    **dict.fromkeys(("use_dora", "use_rslora", "fan_in_fan_out", "inference_mode"), (bool,)),
    **dict.fromkeys(("rank_pattern", "alpha_pattern", "auto_mapping", "megatron_config"), (dict,)),
    **dict.fromkeys(("loftq_config", "eva_config", "corda_config", "lora_ga_config"), (dict,)),
    **dict.fromkeys(("velora_config", "runtime_config"), (dict,)),
    **dict.fromkeys(("target_modules", "exclude_modules", "layers_pattern"), (str, list)),
    **dict.fromkeys(("peft_type", "peft_version", "task_type", "bias", "revision"), (str,)),
    **dict.fromkeys(("base_model_name_or_path", "megatron_core"), (str,)),
    **dict.fromkeys(("layers_to_transform",), (int, list)),
    "modules_to_save": (list,),
    "init_lora_weights": (bool, str),
    "ensure_weight_tying": (bool,),
    INDICES: (list, dict),
}
CHANGED_BASE = ("corda", "loftq", "lora_ga", "olora", "pissa")  # initialisers that need their base


@dataclass
class _Found:
    """The tensors of a PEFT file.

    adapters -- of each layer, by its path here and then by their names here. names -- PEFT's of
    these layers. kernels -- as adapters, of convolutions. rows -- of tables, of tokens that were
    trained alone, by PEFT's name. trained, tables -- parameters that were trained whole, and tables
    that are stored beside their adapter, by path here. extra -- PEFT's names of tensors that are of
    no layer here.
    """

    adapters: dict[str, dict[str, mx.array]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    kernels: dict[str, dict[str, mx.array]] = field(default_factory=dict)
    rows: dict[str, mx.array] = field(default_factory=dict)
    trained: dict[str, mx.array] = field(default_factory=dict)
    tables: dict[str, mx.array] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)


def import_peft(model: Pretrained, folder: str | Path) -> None:
    """Put the adapters of a PEFT folder on a model.

    LoRA and DoRA with `rank_pattern`, `alpha_pattern`, rslora, biases, `modules_to_save` and
    `trainable_token_indices` are read; adapters of the pooler are left out, since no decoder reads
    it. PEFT changes a tied embedding and its head each by itself, so the head gets a matrix of its
    own then. Where the adapters have a larger vocabulary, the model's grows to it. LoRA of the
    convolution over patches is merged into its kernel, which counts as trained itself.
    """
    check_no_adapters(model, "others are put on it")
    folder = as_path(folder, "folder")
    config = read_json(required(folder, CONFIG))
    _check(config, folder / CONFIG)
    tensors = grow(model, {without_wrappers(n): x for n, x in _read(folder).items()}, config)
    _untie(model, tensors)
    found = _sorted(model, tensors)
    if found.extra:
        raise WeightsError(f"{folder} has tensors of no layer here: {listed(found.extra)}")
    _check_tables(model, found, folder)
    found.trained |= dict(with_rows(model, n, x, config, folder) for n, x in found.rows.items())
    found.trained |= {f"{p}.weight": _kernel(model, p, found, config) for p in found.kernels}
    base_model.warn_of_another(config.get("base_model_name_or_path"), model.source, folder / CONFIG)
    layers = {p: _settings(config, found.names[p], own) for p, own in found.adapters.items()}
    on_disk = {
        model.renames.on_disk(f"{path}.{leaf}"): array.astype(mx.float32)
        for path, own in found.adapters.items()
        for leaf, array in own.items()
    }
    on_disk |= {model.renames.on_disk(name): array for name, array in found.trained.items()}
    put(model, Adapters(layers, tuple(sorted(found.trained)), on_disk), str(folder))


def _read(folder: Path) -> Mapping[str, mx.array]:
    if (folder / PICKLE).is_file() and not (folder / TENSORS).is_file():
        return pickles.read(folder / PICKLE)
    return weights.read_file(required(folder, TENSORS, PICKLE))


def _check(config: Mapping[str, Any], path: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise ConfigError(f"{path} is of type {config.get('peft_type')}; expected LORA")
    refused = [name for name, value in config.items() if value and name not in KNOWN]
    if refused:
        raise ConfigError(f"{path} has {', '.join(refused)}, which there is not here")
    for name, kinds in KNOWN.items():
        value = config.get(name)
        if value is not None and (type(value) not in kinds or not _is_finite(value)):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ConfigError(f"{path} has {name} as {value!r}; expected {expected}")
    alphas = _alphas(config).items()
    if strange := {k: v for k, v in alphas if type(v) not in NUMBER or not _is_finite(v)}:
        raise ConfigError(f"{path} has {strange} in alpha_pattern; expected numbers")
    if not 0 <= (config.get("lora_dropout") or 0) < 1:
        raise ConfigError(
            f"{path} has lora_dropout {config['lora_dropout']}; expected 0 to below 1"
        )
    if config.get("ensure_weight_tying"):
        LOG.warning("%s: ensure_weight_tying has no effect in these models, in PEFT 0.21", path)
    initial = str(config.get("init_lora_weights")).lower()
    if initial.startswith(CHANGED_BASE):
        raise ConfigError(
            f"{path} was initialised by {initial}, which changes the base; in PEFT, convert it to "
            "plain LoRA with path_initial_model_for_weight_conversion"
        )


def _sorted(model: Pretrained, tensors: Mapping[str, mx.array]) -> _Found:
    """The tensors of a PEFT file, each where it belongs."""
    found, parameters = _Found(), weights.parameters(model)
    paths = {*quantizable_layers(model)}
    convolutions = {p for p, leaf in model.named_modules() if isinstance(leaf, nn.Conv2d)}
    for name, tensor in tensors.items():
        bare = name.removeprefix(PREFIX)
        leaf = next((leaf for leaf in LEAVES if bare.endswith(leaf[0])), None)
        module = bare.removesuffix(leaf[0]) if leaf else bare.rpartition(".")[0]
        path = table_of(model, module, "").removesuffix(".weight")
        plain = plain_name(name)
        ours = model.renames.ours(plain) or ""
        if _is_unused(model, plain):
            LOG.info("%s is of what is not computed with, and left out", name)
        elif leaf and path in paths:
            part = tensor.T if leaf[2] and tensor.ndim == 2 else tensor
            found.adapters.setdefault(path, {})[leaf[1]] = part
            found.names[path] = module
        elif leaf and path in convolutions:
            found.kernels.setdefault(path, {})[leaf[1]] = tensor
            found.names[path] = module
        elif name.endswith(TOKENS):
            found.rows[name] = tensor
        elif leaf is None and ours in parameters:
            kept = found.tables if plain != bare and ours.endswith(".weight") else found.trained
            kept[ours] = tensor
        else:
            found.extra.append(name)
    return found


def _is_unused(model: Pretrained, name: str) -> bool:
    """Whether no parameter here is the tensor: it is carried, or is a tied one's second name."""
    ours = model.renames.ours(name)
    copies = {copy for copy, _ in model.renames.tied}
    return model.renames.carries(name) or (ours in copies and model.ties_head)


def _check_tables(model: Pretrained, found: _Found, folder: Path) -> None:
    """Raise `WeightsError` if a table that PEFT stored beside its adapter is not the one here."""
    parameters, layers = weights.parameters(model), quantizable_layers(model)
    for name, table in found.tables.items():
        if "lora_a" not in found.adapters.get(name.removesuffix(".weight"), {}):
            found.trained[name] = table
        elif not isinstance(layers[name.removesuffix(".weight")], Quantized):
            here = parameters[name]
            if here.shape != table.shape or not mx.allclose(here, table, rtol=1e-2, atol=1e-3):
                raise WeightsError(
                    f"{folder} stores {model.renames.on_disk(name)}, which differs from the one "
                    "here; expected the model that it was trained with"
                )


def _settings(config: Mapping[str, Any], name: str, own: Mapping[str, mx.array]) -> AdapterSettings:
    """The adapter of one layer. The rank is that of its tensors; `put` says what is missing."""
    a = own.get("lora_a")
    shape = (config.get("r") or 8,) if a is None else tuple(a.shape)
    rank = shape[-1] if len(shape) == 2 or a is None else 0
    if rank < 1:
        raise WeightsError(f"the rank of {name} is {rank}, of a lora_A {shape}; expected 1 or more")
    # PEFT's rule: the first pattern that is the end of the name
    alphas = (value for pattern, value in _alphas(config).items() if matches(pattern, name))
    alpha = next(alphas, config.get("lora_alpha") or 8)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    dora = "m" in own or bool(config.get("use_dora"))
    return AdapterSettings(rank, scale, float(config.get("lora_dropout") or 0.0), dora)


def _kernel(model: Pretrained, path: str, found: _Found, config: Mapping[str, Any]) -> mx.array:
    """A convolution's kernel (out, in, h, w) with its adapter merged into it: of A and B."""
    own, name = found.kernels[path], found.names[path]
    a, b = own.get("lora_a"), own.get("lora_b")
    kernel = weights.parameters(model)[f"{path}.weight"].transpose(0, 3, 1, 2)
    if "m" in own or config.get("use_dora"):
        raise WeightsError(f"{name} is a convolution with DoRA, which there is not here; merge it")
    shapes = [None if x is None else tuple(x.shape) for x in (a, b)]
    rank = shapes[0][0] if shapes[0] else 0
    if shapes != [(rank, *kernel.shape[1:]), (len(kernel), rank, 1, 1)]:
        raise WeightsError(
            f"{name} is a convolution of {kernel.shape} whose lora_A and lora_B are {shapes[0]} "
            f"and {shapes[1]}; expected {(rank, *kernel.shape[1:])}, {(len(kernel), rank, 1, 1)}"
        )
    assert a is not None and b is not None  # they have these shapes
    low, high = (x.astype(mx.float32).flatten(1) for x in (a, b))
    scale = _settings(config, name, {"lora_a": low.T}).scale
    return kernel + scale * (high @ low).reshape(kernel.shape).astype(kernel.dtype)


def _alphas(config: Mapping[str, Any]) -> Mapping[str, float]:
    return config.get("alpha_pattern") or {}


def _is_finite(value: object) -> bool:
    """Whether a value is no number, or one that a scale can be made of."""
    return not isinstance(value, NUMBER) or abs(value) < 2**31


def _untie(model: Pretrained, tensors: Mapping[str, mx.array]) -> None:
    """Part a tied embedding and head that PEFT changed: it changes each by itself."""
    if not model.ties_head:
        return
    pair = {name for names in model.renames.tied for name in names if name.endswith(".weight")}
    for name in tensors:
        bare = name.removeprefix(PREFIX)
        module = re.split(r"\.(?:lora_|base_layer\.|token_adapter\.)|\.weight$", bare)[0]
        if model.renames.ours(f"{module}.weight") in pair and not bare.endswith(".bias"):
            _part(model)
            return


def _part(model: Pretrained) -> None:
    layers = quantizable_layers(model).items()
    if any(isinstance(layer, Quantized) and path.endswith(TABLE) for path, layer in layers):
        raise WeightsError(
            "the adapters are of the embedding or the head alone, which are one quantized matrix "
            "here; load them on the model's floats, fuse, and then quantize"
        )
    model.untie()
