"""What model adapters belong to, so that they are not put on another one.

That is the model's types, the shapes of its weights, and how they are quantized. Where it lies is
only recorded: folders move.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints import weights
from ..checkpoints.pretrained import Pretrained
from ..checkpoints.quantizing import quantization_block
from ..errors import ConfigError, WeightsError
from ..layers.packed import ADAPTER, weight_shape
from ..layers.quantization_recipes import quantizable_layers

LOG = logging.getLogger("mlx_vedec")
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
SHOWN = 4  # differences that an error names


def summary(model: Pretrained) -> dict[str, Any]:
    """Types by part, shapes of weights by name with `*` for numbers, and the block of bits."""
    parts = {path: part for path, part in model.named_modules() if isinstance(part, Pretrained)}
    types = {path or "model": part.config.model_type for path, part in sorted(parts.items())}
    return {
        "model_types": types,
        "shapes": _shapes(model),
        "quantization": quantization_block(model),
    }


def _shapes(model: Pretrained) -> dict[str, str]:
    """As "outputs x inputs, 12 times", of quantized weights as of floats."""
    layers = quantizable_layers(model)
    counts: dict[str, Counter[str]] = {}
    for name, array in weights.parameters(model).items():
        path, _, leaf = name.rpartition(".")
        if leaf in ADAPTER or (path in layers and leaf in ("scales", "biases")):
            continue
        shape = weight_shape(layers[path]) if leaf == "weight" and path in layers else array.shape
        pattern = NUMBER.sub("*", model.renames.on_disk(name))
        counts.setdefault(pattern, Counter())[" x ".join(map(str, shape))] += 1
    return {
        pattern: "; ".join(f"{shape}, {times} times" for shape, times in sorted(found.items()))
        for pattern, found in sorted(counts.items())
    }


def check(model: Pretrained, config: Mapping[str, Any], path: Path, *, requantized: bool) -> None:
    """Raise `WeightsError` that names what differs between a model and adapters' own."""
    there, here = config.get("base"), summary(model)
    if not isinstance(there, Mapping):
        raise ConfigError(
            f"{path} says neither what model it is for, as save_adapters does, nor a peft_type"
        )
    found = [
        f"{part} {key} is {_told(theirs)} there and {_told(ours)} here"
        for part, word in (("model_types", ""), ("shapes", ""))
        for key, theirs, ours in _differences(there.get(part), here[part])
    ]
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WeightsError(
            f"{path} is for another model: {'; '.join(found[:SHOWN])}{more}; expected the model "
            f"that it was trained with, {config.get('model')}"
        )
    _check_quantization(there.get("quantization"), here["quantization"], path, requantized)
    warn_of_another(config.get("model"), model.source, path)


def _check_quantization(there: Any, here: Any, path: Path, requantized: bool) -> None:
    found = [f"{k} is {_told(a)} there, {_told(b)} here" for k, a, b in _differences(there, here)]
    if not found:
        return
    message = f"{path} was trained with another quantization: {'; '.join(found[:SHOWN])}"
    if not requantized:
        raise WeightsError(
            f"{message}; load the model as it was then, or give quantize= to have it otherwise"
        )
    LOG.warning("%s", message)


def warn_of_another(there: str | None, here: str | None, path: Path) -> None:
    """Log that adapters were trained with a model of another name."""
    if there and here and there != here:
        LOG.warning("%s was trained with %s, and is loaded into %s", path, there, here)


def _differences(there: Any, here: Any) -> list[tuple[str, Any, Any]]:
    there, here = there or {}, here or {}
    keys = sorted({*there, *here})
    return [(key, there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)]


def _told(value: Any) -> str:
    return "missing" if value is None else str(value)
