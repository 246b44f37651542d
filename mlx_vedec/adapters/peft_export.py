"""Adapters written as PEFT writes them, for transformers 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..checkpoints import weights
from ..checkpoints.pretrained import Pretrained
from ..checkpoints.renames import Renames
from ..errors import OptionError, as_path, check_type
from ..layers.packed import ADAPTER
from ..layers.quantization_recipes import HEAD, TABLE
from .files import Adapters, adapters_of, write_adapters
from .peft import TENSORS
from .peft_tables import PREFIX

RENAMED = (  # encoders whose modules transformers 5 names otherwise than its files
    *("beit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "swin", "vit", "vit_msn"),
    *("ijepa", "pixio"),
)
SPLIT = ("tipsv2_vision_model",)  # whose layers transformers 5 makes several of in memory


def export_peft(model: Pretrained, folder: str | Path, *, base: str | None = None) -> None:
    """Write the adapters of a model as PEFT reads them, with transformers 5.

    base -- the `base_model_name_or_path`; by default where the model was loaded from. What PEFT has
    no word for is refused by name: parameters that are trained outside whole modules, a part of the
    biases, and training without adapters.
    """
    check_type("base", base, (str, type(None)), "a name, or None")
    found = adapters_of(model)
    if not found.layers:
        raise OptionError("the model has no adapters; save_pretrained writes what was trained")
    if model.has_other_tokens and base is None:
        raise OptionError(
            f"the model has another vocabulary than {model.source or 'what it was made from'}, for "
            "which PEFT's folders have no place; fuse the adapters, or give as base a folder that "
            "the model was saved to with this vocabulary, before it had adapters"
        )
    names = _Names(model)
    bias, modules = _trained(model, found)
    values = _config(model, found, names)
    values |= {"bias": bias, "modules_to_save": sorted(map(names.layer, modules)) or None}
    values["base_model_name_or_path"] = base or model.source
    tensors = _tensors(model, found, names)
    write_adapters(as_path(folder, "folder") / TENSORS, tensors, values, "pt")


class _Names:
    """The names that parameters and layers have in transformers 5 in memory, by path here."""

    def __init__(self, model: Pretrained) -> None:
        self.renames = model.renames
        parts = {path: part for path, part in model.named_modules() if isinstance(part, Pretrained)}
        self.renamed, self.split = (
            tuple(
                f"{path}." if path else ""
                for path, part in parts.items()
                if part.config.model_type in families
            )
            for families in (RENAMED, SPLIT)
        )
        pairs = model.renames.aliases + model.renames.pairs
        self.in_memory = Renames(pairs)

    def __call__(self, name: str) -> str:
        if name.startswith(self.split):
            raise OptionError(
                f"PEFT has no name for {self.renames.on_disk(name)}, since transformers 5 splits "
                "this encoder's layers in memory; expected adapters of the decoder alone; fuse "
                "these, or save them with save_adapters"
            )
        renamed = any(name.startswith(prefix) for prefix in self.renamed)
        return (self.in_memory if renamed else self.renames).on_disk(name)

    def layer(self, path: str) -> str:
        """The name of a layer that has a weight."""
        return self(f"{path}.weight").removesuffix(".weight")


def _trained(model: Pretrained, found: Adapters) -> tuple[str, set[str]]:
    """PEFT's word for the biases that are trained, and the modules that are trained whole."""
    parameters, trained = weights.parameters(model), {*found.trained}
    every = {name for name in parameters if name.endswith("bias")}
    beside = {f"{path}.bias" for path in found.layers} & every
    if trained >= every and beside:
        word, biases = "all", every
    else:
        word, biases = ("lora_only", beside) if trained >= beside and beside else ("none", set())
    rest = trained - biases
    modules = {name.rpartition(".")[0] for name in rest}
    part = {m for m in modules if not _own(m, parameters) <= rest or m in found.layers}
    strange = sorted(
        name
        for name in rest
        if name.rpartition(".")[0] in part or not name.endswith((".weight", ".bias"))
    )
    if strange:
        raise OptionError(
            "PEFT trains whole modules, and the biases of all layers or of all with adapters; it "
            f"cannot say that {', '.join(map(model.renames.on_disk, strange))} are trained alone"
        )
    return word, modules


def _own(module: str, parameters: Mapping[str, mx.array]) -> set[str]:
    return {name for name in parameters if name.rpartition(".")[0] == module}


def _tensors(model: Pretrained, found: Adapters, names: _Names) -> dict[str, mx.array]:
    tensors: dict[str, mx.array] = {}
    for path, own in found.layers.items():
        a, b, *m = (
            found.tensors[model.renames.on_disk(f"{path}.{leaf}")]
            for leaf in ADAPTER[: 3 if own.dora else 2]
        )
        layer = PREFIX + names.layer(path)
        if path.endswith(TABLE):
            ends = {"lora_embedding_A": a.T, "lora_embedding_B": b.T}
        else:
            ends = {"lora_A.weight": a.T, "lora_B.weight": b.T}
        ends |= {"lora_magnitude_vector": m[0]} if m else {}
        tensors |= {f"{layer}.{end}": mx.contiguous(array) for end, array in ends.items()}
        if head := _tied_head(model, path):  # the same change, of a linear layer
            tensors[f"{PREFIX}{names.layer(head)}.lora_A.weight"] = b
            tensors[f"{PREFIX}{names.layer(head)}.lora_B.weight"] = a
    for name in found.trained:
        path, full = name.rpartition(".")[0], PREFIX + names(name)
        key = f"{PREFIX}{names.layer(path)}.base_layer.bias" if path in found.layers else full
        tensors[key] = found.tensors[model.renames.on_disk(name)]
    return tensors


def _tied_head(model: Pretrained, path: str) -> str | None:
    """The head's path, where the layer is the table that it is tied to."""
    return path.removesuffix(TABLE) + HEAD if path.endswith(TABLE) and model.ties_head else None


def _config(model: Pretrained, found: Adapters, names: _Names) -> dict[str, Any]:
    usual = Counter(found.layers.values()).most_common(1)[0][0]
    layers = dict(found.layers)
    layers |= {head: own for path, own in found.layers.items() if (head := _tied_head(model, path))}
    others = {names.layer(path): own for path, own in layers.items() if own != usual}
    if len({(own.dropout, own.dora) for own in found.layers.values()}) > 1:
        raise OptionError("PEFT has one dropout for all layers, and DoRA in all or none")
    if usual.dora and layers.keys() > found.layers.keys():
        raise OptionError("PEFT has no DoRA for an embedding that is the head too; fuse it")
    return {
        "peft_type": "LORA",
        "r": usual.rank,
        "lora_alpha": usual.scale * usual.rank,
        "lora_dropout": usual.dropout,
        "use_dora": usual.dora,
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "fan_in_fan_out": any(model.renames.transposes(path) for path in found.layers),
        "target_modules": sorted(map(names.layer, layers)),
        "rank_pattern": {name: own.rank for name, own in others.items()},
        "alpha_pattern": {name: own.scale * own.rank for name, own in others.items()},
        "task_type": None,
        "auto_mapping": None,
    }
