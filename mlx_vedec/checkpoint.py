"""A model's folder: which files, which types, and which ties its weights settle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from . import weights
from .errors import ConfigError
from .generation.options import GenerationConfig

if TYPE_CHECKING:
    from .model import VisionEncoderDecoderModel

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def load_checkpoint(
    model: VisionEncoderDecoderModel,
    folder: Path,
    dtype: str | mx.Dtype | None,
    *,
    widen: bool = True,
) -> None:
    """Give a model built from a folder's config that folder's weights, unread, and options.

    dtype -- of the parameters; None keeps the file's, but widens half types on a CPU if `widen`.
    """
    wanted = parse_dtype(dtype)
    model.generation_config = GenerationConfig.from_folder(folder, model.config.to_dict())
    tensors = weights.read(folder)
    decoder = model.config.decoder
    if decoder.tie_word_embeddings and not weights.ties(tensors, model.renames):
        model.decoder.untie()
    tensors = weights.complete_ties(tensors, model.renames)
    model._carried = weights.load(model, tensors, model.renames, str(folder))
    if wanted is None and widen and mx.default_device().type == mx.DeviceType.cpu:
        wanted = mx.float32
    if wanted is not None:
        model.set_dtype(wanted)
    model.eval()


def save_checkpoint(model: VisionEncoderDecoderModel, folder: Path) -> None:
    """Write a model's folder, every file to a temporary name first."""
    types = {str(x.dtype).removeprefix("mlx.core.") for x in weights.parameters(model).values()}
    model.config.extra["dtype"] = types.pop() if len(types) == 1 else "float32"
    model.config.extra.pop("torch_dtype", None)
    model.config.save_pretrained(folder)
    model.generation_config.save(folder)
    weights.save(model, folder / weights.SINGLE, model.renames, model._carried)


def parse_dtype(dtype: str | mx.Dtype | None) -> mx.Dtype | None:
    """A type by its name, as in `torch_dtype` of Hugging Face's configs."""
    if dtype is None:
        return None
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("mlx.core.")
    if name not in DTYPES:
        raise ConfigError(f"dtype is {name}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]
