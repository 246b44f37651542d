"""Adapters: put on a model to be trained, saved and loaded, merged into it, or taken off.

>>> import mlx_vedec
>>> from mlx_vedec.adapters.wrapping import LoraConfig, add_adapters, fuse
>>> model, processor = mlx_vedec.load()
>>> add_adapters(model, LoraConfig(rank=4, targets=("decoder", "attention")))
>>> report = fuse(model)  # after training
>>> len(report)
16
"""

from __future__ import annotations

from pathlib import Path

import mlx.nn as nn

from ..checkpoints.config import read_json
from ..checkpoints.hub import required
from ..checkpoints.pretrained import Pretrained
from ..layers.lora import adapted_layers, bare, check_no_adapters
from ..layers.packed import unfreeze
from ..layers.replacing import replace_layers
from .config import LoraConfig as LoraConfig
from .files import CONFIG, attach, put, read_adapters, save_adapters as save_adapters
from .fusing import FusedLayer as FusedLayer, fuse as fuse
from .peft import import_peft as import_peft
from .peft_export import export_peft as export_peft
from .targets import targets_of


def add_adapters(model: Pretrained, config: LoraConfig | None = None) -> None:
    """Put adapters on a model, which change nothing yet, and freeze all that is not to be trained.

    What is trained then is `model.trainable_parameters()`. A model that has adapters is used as any
    other; it cannot be quantized, nor saved as a checkpoint, before they are fused or removed.
    """
    config = config or LoraConfig()
    check_no_adapters(model, "others are put on it")
    targets = targets_of(model, config)
    attach(model, dict.fromkeys(targets.layers, config.settings), targets.trained)


def remove_adapters(model: nn.Module) -> None:
    """Take the adapters off and unfreeze the model; what else was trained stays as it is."""
    replace_layers(model, {path: bare(layer) for path, layer in adapted_layers(model).items()})
    unfreeze(model)


def load_adapters(model: Pretrained, folder: str | Path, *, requantized: bool = False) -> None:
    """Put the adapters of a folder on a model: of `save_adapters`, or of PEFT.

    They have to be for a model of these types and shapes, quantized as this one; requantized --
    which may be quantized otherwise.
    """
    folder = Path(folder)
    if "peft_type" in read_json(required(folder, CONFIG)):
        import_peft(model, folder)
    else:
        put(model, read_adapters(model, folder, requantized=requantized), str(folder))
