"""A checkpoint and its adapters written as one checkpoint, which any reader of the first opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..adapters.wrapping import FusedLayer, fuse, load_adapters
from ..checkpoints import quantizing, weights
from ..checkpoints.folders import check_apart, check_target, replacing, settle
from ..checkpoints.hub import fetch
from ..checkpoints.saving import SHARD_SIZE, Saving
from ..errors import as_path, check_function
from ..layers.lora import adapted_layers
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_sizes import restore_images
from ..reading.load import processor_of
from ..reading.new_tokens import restore_added
from ..reading.vocabularies import restore_vocabulary
from . import model_card
from .convert import stamps_of, write_folder


def fuse_checkpoint(
    model: str | Path,
    adapter_path: str | Path = "adapters",
    save_path: str | Path = "fused_model",
    *,
    dequantize: bool = False,
    processor: str | Path | None = None,
    image_steps: str | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    max_shard_size: int = SHARD_SIZE,
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write the checkpoint of a folder or a Hub id, with adapters merged into it, to `save_path`.

    All keeps the type it has in the file, and quantized layers their format unless `dequantize`
    makes the model floats. processor -- the folder or Hub id whose processor is taken in place of
    the model's; image_steps -- `load`'s. The other options, and how the folder is written, are
    `convert`'s.
    """
    check_function("say", say)
    target, adapters = as_path(save_path, "save_path"), as_path(adapter_path, "adapter_path")
    settle(target)
    check_target(target, overwrite)
    source = fetch(model, revision)
    for read in (source, adapters):
        check_apart(read, target)
    reads, stamps = (
        processor_of(source, processor, image_steps=image_steps),
        stamps_of(weights.files(source)),
    )
    whole = VisionEncoderDecoderModel.from_folder(source)
    whole.source = str(model)
    restore_vocabulary(whole, reads, adapter_path)
    restore_added(whole, reads, adapter_path)
    restore_images(whole, reads, adapter_path)
    load_adapters(whole, adapter_path)
    for line in _merge(whole, dequantize):
        if say is not None:
            say(line)
    with replacing(target) as new:
        write_folder(whole, reads, new, Saving(max_shard_size, release=True), stamps)
        model_card.leave(new, source, model, tuned=True)
        check_target(target, overwrite)
    return target


def _merge(model: VisionEncoderDecoderModel, dequantize: bool) -> Iterator[str]:
    """Merge what there is, which is nothing where the weights themselves were trained."""
    if adapted_layers(model):
        yield from _told(fuse(model, dequantize=dequantize))
    elif dequantize:
        quantizing.dequantize(model)


def _told(report: Sequence[FusedLayer]) -> Iterator[str]:
    """What merging did, the layer that lost most by name."""
    changes = [layer.change for layer in report]
    yield (
        f"{len(report)} layers changed, by {min(changes):.2%} to {max(changes):.2%} of their norm"
    )
    rounded = [layer for layer in report if layer.rounding is not None]
    if rounded:
        worst = max(rounded, key=lambda layer: layer.lost)
        typical = sorted(layer.lost for layer in rounded)[len(rounded) // 2]
        yield (
            f"{len(rounded)} of them quantized again, which is off by {typical:.2f} times the "
            f"change in the middle, and {worst.lost:.2f} times in {worst.name}; --dequantize "
            "keeps the change whole"
        )
