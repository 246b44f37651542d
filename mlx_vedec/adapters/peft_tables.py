"""What PEFT stores of tables of tokens: rows of a larger vocabulary, and rows trained alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from ..checkpoints import weights
from ..checkpoints.pretrained import Pretrained
from ..errors import ConfigError, WeightsError
from ..layers.packed import Quantized
from ..layers.quantization_recipes import HEAD, TABLE, quantizable_layers

LOG = logging.getLogger("mlx_vedec")
PREFIX = "base_model.model."
TOKENS = ".token_adapter.trainable_tokens_delta"
INDICES = "trainable_token_indices"  # of the config: a list, or a list for each module
PER_TOKEN = (f"{TABLE}.weight", f"{HEAD}.weight", f"{HEAD}.bias", "head_bias")


def plain_name(name: str) -> str:
    """The name that transformers has in memory for a tensor that PEFT stores whole."""
    bare = name.removeprefix(PREFIX)
    return bare.replace(".base_layer.", ".").replace(".modules_to_save.", ".")


def table_of(model: Pretrained, name: str, end: str) -> str:
    """Our name of the weight of the module whose name stands before an end of PEFT's."""
    return model.renames.ours(f"{name.removeprefix(PREFIX).removesuffix(end)}.weight") or ""


def grow(
    model: Pretrained, tensors: Mapping[str, mx.array], config: Mapping[str, Any]
) -> dict[str, mx.array]:
    """Extend a model's vocabulary to the adapters', and return what is left to be read.

    New rows are those that are stored, and where none are as `resize_token_embeddings` draws them.
    Tables that are stored whole and are the model's own then say no more.
    """
    whole = {name: model.renames.ours(plain_name(name)) or "" for name in tensors}
    whole = {n: ours for n, ours in whole.items() if ours.endswith(PER_TOKEN) and tensors[n].ndim}
    own = weights.parameters(model)
    before = max((len(own[ours]) for ours in own if ours.endswith(PER_TOKEN)), default=0)
    rows = max([_rows(model, n, x, config, before) for n, x in tensors.items()], default=0)
    if before and rows > before:
        LOG.warning(
            "the vocabulary grows from %d to %d, as the adapters have it; if the model's tokenizer "
            "lacks the new tokens, give theirs: processor=, --processor",
            *(before, rows),
        )
        model.resize_token_embeddings(rows)
        own = weights.parameters(model)
        for name, ours in whole.items():
            table, stored = own.get(ours), tensors[name]
            if table is not None and table.shape == stored.shape:
                new = mx.concatenate([table[:before], stored[before:].astype(table.dtype)])
                model.update(tree_unflatten([(ours, new)]))
        own = weights.parameters(model)
    return {n: x for n, x in tensors.items() if n not in whole or not _is(x, own.get(whole[n]))}


def _rows(
    model: Pretrained, name: str, tensor: mx.array, config: Mapping[str, Any], before: int
) -> int:
    """How many tokens a tensor is for; 0 of one that has no rows for tokens.

    before -- how many there are; of rows trained alone, no more can be new than are stored
    """
    if tensor.ndim == 0:
        return 0
    if name.endswith(TOKENS):
        indices = indices_of(config, name)
        most = max(indices, default=-1) + 1
        return most if most <= before + len(indices) else 0
    if name.endswith(".lora_embedding_A"):
        return tensor.shape[-1]
    if name.endswith(".lora_B.weight"):
        of_head = table_of(model, name, ".lora_B.weight").endswith(f"{HEAD}.weight")
        return len(tensor) if of_head else 0
    return len(tensor) if (model.renames.ours(plain_name(name)) or "").endswith(PER_TOKEN) else 0


def _is(stored: mx.array, own: mx.array | None) -> bool:
    if own is None or own.shape != stored.shape or not mx.issubdtype(stored.dtype, mx.floating):
        return False
    return bool(mx.array_equal(stored.astype(own.dtype), own).item())


def indices_of(config: Mapping[str, Any], name: str) -> list[int]:
    """The tokens that rows of a tensor are for, by the config; a `ConfigError` for none."""
    given, module = config.get(INDICES), name.removeprefix(PREFIX).removesuffix(TOKENS)
    if isinstance(given, Mapping):
        given = next((v for k, v in given.items() if f".{module}".endswith(f".{k}")), None)
    if not isinstance(given, list) or not all(type(i) is int and i >= 0 for i in given):
        raise ConfigError(f"{INDICES} for {module} are {repr(given)[:80]}; expected token ids")
    return given


def with_rows(
    model: Pretrained, name: str, rows: mx.array, config: Mapping[str, Any], folder: Path
) -> tuple[str, mx.array]:
    """The table, by our name, in which rows that were trained alone take the place of its own."""
    ours, indices = table_of(model, name, TOKENS), indices_of(config, name)
    path = ours.removesuffix(".weight")
    layer = quantizable_layers(model).get(path)
    if layer is None:
        raise WeightsError(f"{folder} has {name}, which is of no table here")
    if isinstance(layer, Quantized):
        raise WeightsError(
            f"{folder} has trained rows of {model.renames.on_disk(ours)}, which is quantized here; "
            "load them on the model's floats, fuse, and then quantize"
        )
    table = layer.weight
    expected = (len(indices), table.shape[1])
    if rows.shape != expected or max(indices, default=0) >= len(table):
        raise WeightsError(
            f"{folder} has {name} of {rows.shape} for {len(indices)} tokens up to "
            f"{max(indices, default=0)}; expected {expected} in a table of {len(table)}"
        )
    table = mx.array(table)
    table[mx.array(indices, mx.int32)] = rows.astype(table.dtype)
    return ours, table
