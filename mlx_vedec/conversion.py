"""A checkpoint's folder rewritten: its weights in another type, its other files beside them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import mlx.core as mx

from .errors import CheckpointError
from .hub import fetch
from .model import VisionEncoderDecoderModel
from .pretrained import parse_dtype
from .processor import Processor


def convert(
    hf_path: str | Path,
    mlx_path: str | Path = "mlx_model",
    *,
    dtype: str | mx.Dtype | None = None,
    revision: str | None = None,
) -> Path:
    """Write the checkpoint of a folder or a Hub id to `mlx_path`, which must not exist yet.

    The result keeps Hugging Face's names and layouts, so transformers reads it too. dtype -- of the
    weights; by default they keep theirs. Written beside its place and renamed at the end.
    """
    wanted, target = parse_dtype(dtype), Path(mlx_path)
    if target.exists():
        raise CheckpointError(f"{target} exists; give another path, or remove it first")
    source = fetch(hf_path, revision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        model = VisionEncoderDecoderModel.from_folder(source)
        if wanted is not None:
            model.astype(wanted)
        model.save_pretrained(folder)
        Processor.from_pretrained(source).save_pretrained(folder)
        shutil.move(folder, target)
    return target
