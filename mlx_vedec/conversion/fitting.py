"""Quantization fitted to images: bits chosen, weights rounded anew, and what was lost written down.

Each function takes a source, which is a folder or a Hub id, and most the folder that `convert` made
of it. `images` are what `labelled_images` takes: a folder, files, or None for the lines that come
with the bundled model. `progress` is called with the number of steps done, and of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..checkpoints import weights
from ..checkpoints.hub import fetch
from ..checkpoints.saving import SHARD_SIZE
from ..data.datasets import LabelledImages, Paths, labelled_images
from ..layers.quantization_config import QuantizationConfig
from ..measuring.verification import Verification, verify
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_sizes import match_images
from ..reading.load import processor_of
from ..reading.processor import Processor
from .calibration import Calibration, calibrate
from .sensitivity import choose, measure, unmeasured

Images = Paths | Iterable[Paths] | None


def images_for(
    source: str | Path,
    images: Images,
    revision: str | None = None,
    processor: str | Path | None = None,
    image_steps: str | None = None,
) -> LabelledImages:
    """The images and their labels; an error where there are none, before anything is computed."""
    reads = processor_of(source, processor, image_steps=image_steps, revision=revision)
    return labelled_images(images, line_aspect_ratio=reads.line_aspect_ratio)


def choose_bits(
    source: str | Path,
    images: Images,
    bits_per_weight: float,
    *,
    group_size: int = 64,
    revision: str | None = None,
    processor: str | Path | None = None,
    image_steps: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> QuantizationConfig:
    """The bits of each layer that cost least on the images, for a size of the whole model.

    bits_per_weight -- that size: the mean over all weights, scales and floats included. processor
    -- the folder or Hub id whose processor is taken in place of the source's. image_steps --
    `load`'s.
    """
    model, reads, found = _read(source, images, revision, processor, image_steps)
    choose(unmeasured(model, group_size=group_size), bits_per_weight)  # whether it is in reach
    costs = measure(model, reads, found.images, group_size=group_size, progress=progress)
    return choose(costs, bits_per_weight)


def calibrate_folder(
    folder: str | Path,
    source: str | Path,
    images: Images,
    *,
    revision: str | None = None,
    max_shard_size: int = SHARD_SIZE,
    progress: Callable[[int, int], object] | None = None,
) -> Calibration:
    """Bring the quantized model of a folder nearer to its source, and write it there again."""
    teacher, processor, found = _read(source, images, revision, folder)
    model = VisionEncoderDecoderModel.from_folder(Path(folder))
    match_images(model, processor)
    calibration = calibrate(model, teacher, processor, found.images, progress=progress)
    if calibration.after < calibration.before:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
    return calibration


def verify_folder(
    folder: str | Path,
    source: str | Path,
    images: Images,
    *,
    revision: str | None = None,
    say: Callable[[str], object] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Compare a folder's model with its source on images; the report is written to the folder."""
    original, processor, found = _read(source, images, revision, folder)
    changed = VisionEncoderDecoderModel.from_pretrained(folder)
    sizes = _stored(fetch(source, revision)), _stored(Path(folder))
    verification = verify(
        original, changed, processor, found.images, found.labels, sizes=sizes, progress=progress
    )
    verification.save(folder, say=say)
    return verification


def _read(
    source: str | Path,
    images: Images,
    revision: str | None,
    processor: str | Path | None,
    image_steps: str | None = None,
) -> tuple[VisionEncoderDecoderModel, Processor, LabelledImages]:
    """The source's model, a processor for it, and the images, which have to be there."""
    reads = processor_of(source, processor, image_steps=image_steps, revision=revision)
    found = labelled_images(images, line_aspect_ratio=reads.line_aspect_ratio)
    model = VisionEncoderDecoderModel.from_pretrained(source, revision=revision)
    match_images(model, reads)
    return model, reads, found


def _stored(folder: Path) -> int:
    """Bytes of a folder's files of weights."""
    return sum(path.stat().st_size for path in weights.files(folder))
