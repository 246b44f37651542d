"""The model that adapters were trained with, so that they are not put on another one.

It is known by its types, the shapes of its weights, and how they are quantized. Where it lies is
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
    """What adapters are saved with of their model: its types, its shapes and how it is quantized.

    Types are by part, and shapes by name on disk, with `*` for numbers.
    """
    parts = {path: part for path, part in model.named_modules() if isinstance(part, Pretrained)}
    types = {path or "model": part.config.model_type for path, part in sorted(parts.items())}
    return {
        "model_types": types,
        "shapes": _shapes(model),
        "quantization": quantization_block(model),
    }


def _shapes(model: Pretrained) -> dict[str, str]:
    """Such as "64 x 32, 12 times" by name; a quantized weight counts as the floats that it was."""
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
    """Raise `WeightsError` that names what differs between a model and the one adapters are for.

    config -- of the adapters, read from `path`. requantized -- log another quantization instead.
    """
    there, here = config.get("base"), summary(model)
    if not isinstance(there, Mapping):
        raise ConfigError(
            f"{path} says neither what model it is for, as save_adapters does, nor a peft_type"
        )
    found = [
        f"{key} {difference}"
        for key in ("model_types", "shapes")
        for difference in _differences(there.get(key), here[key])
    ]
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WeightsError(
            f"{path} is for another model: {'; '.join(found[:SHOWN])}{more}; expected the model "
            f"that it was trained with, {config.get('model')}"
        )
    if found := _differences(there.get("quantization"), here["quantization"]):
        message = f"{path} was trained with another quantization: {'; '.join(found[:SHOWN])}"
        if not requantized:
            raise WeightsError(
                f"{message}; load the model as it was then, or give quantize= to have it otherwise"
            )
        LOG.warning("%s", message)
    warn_of_another(config.get("model"), model.source, path)


def _same_folder(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):  # a Hub id, or a folder that is no more
        return False


def warn_of_another(there: str | None, here: str | None, path: Path) -> None:
    """Log that adapters were trained with a model of another name."""
    if there and here and there != here and not _same_folder(there, here):
        LOG.warning("%s was trained with %s, and is loaded into %s", path, there, here)


def _differences(there: Any, here: Any) -> list[str]:
    """What one object of JSON has otherwise than another; null is an object without keys."""
    there, here = there if isinstance(there, Mapping) else {}, here or {}
    return [
        f"{key} is {there.get(key, 'missing')} there and {here.get(key, 'missing')} here"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
