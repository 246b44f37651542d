"""The size of the images that a processor makes, where the model was built for another."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.config import read_json
from ..encoders.encoder import ProcessorSize
from ..encoders.patches import Pair, pair
from ..errors import ConfigError, OptionError, shown
from ..files import write_json
from ..images.image_processors import ImageProcessor
from ..images.processor_files import OWN_FILE

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from .processor import Processor

LOG = logging.getLogger("mlx_vedec")
RESIZED = "image_size.json"  # beside adapters that were trained at another size than their base's
LARGEST = 2**14  # pixels of a side; a model that is fed with more has no memory for it


def match_images(model: VisionEncoderDecoderModel, processor: Processor) -> None:
    """Let a model take images of the size that its processor makes, whatever its config says.

    Its positions are then interpolated, as transformers does with `interpolate_pos_encoding=True`.
    One warning names both sizes, since the processor of another checkpoint looks the same.
    """
    images, encoder = processor.image_processor, model.encoder
    made = None if images is None else images.made_size
    own = getattr(encoder.config, "image_size", None)
    if made is None or own is None or encoder.takes_any_size or made == pair(own):
        encoder.processor_size = None
    elif encoder.processor_size != ProcessorSize(*made):
        encoder.processor_size = ProcessorSize(*made)
        LOG.warning(
            "the processor makes images of %s (preprocessor_config.json) and the model was built "
            "for %s (config.json): its positions are interpolated to the processor's; where that "
            "is the wrong processor, give another with processor= or --processor",
            "×".join(map(str, made)),
            "×".join(map(str, pair(own))),
        )


def resize_images(
    model: VisionEncoderDecoderModel, processor: Processor, image_size: int | tuple[int, ...]
) -> None:
    """Make images of this size, (height, width) in pixels, the model's and its processor's own.

    Position tables are interpolated for good, so that the model reads such images without a flag,
    here and in transformers. `ConfigError` where patches or windows do not divide the size.
    """
    size = pair(image_size, "image_size")
    if max(size) > LARGEST:
        raise OptionError(f"image_size is {size[0]}×{size[1]}; expected sides of {LARGEST} at most")
    images = processor.image_processor
    if images is None:
        raise OptionError("the processor has no image processor, which image_size would change")
    _store(processor, images, size)
    model.encoder.resize_images(size)


def _store(processor: Processor, images: ImageProcessor, size: Pair) -> None:
    """Give an image processor another size, in whichever of its fields that is."""
    lengths = dict(zip(("height", "width"), size, strict=True))
    changes = {"size": lengths}
    if images.crop_size is not None:
        changes["crop_size"] = lengths
    if images.pad_size is not None:
        changes["pad_size"] = lengths
    changed = replace(images, **changes)
    if changed.made_size != size:
        raise ConfigError(
            f"image_size is {size[0]}×{size[1]}, but a {type(images).__name__} with these settings "
            f"makes {changed.made_size or 'images of many sizes'}; set do_resize in "
            f"{OWN_FILE}, or give another --processor"
        )
    processor.image_processor = changed


def save_images(
    model: VisionEncoderDecoderModel, processor: Processor, folder: Path, *, resized: bool
) -> None:
    """Write beside adapters the image processor they were trained with, and the size if it is new.

    resized -- whether `resize_images` made the size the model's
    """
    if processor.image_processor is not None:
        processor.image_processor.save_pretrained(folder)
    if resized:
        write_json(folder / RESIZED, {"image_size": pair(model.encoder.config.image_size)})


def restore_images(
    model: VisionEncoderDecoderModel, processor: Processor, folder: str | Path
) -> tuple[bool, bool]:
    """Take the image processor and the image size that adapters were trained with, if they say.

    Returns whether they said the one, and the other.
    """
    if read := (Path(folder) / OWN_FILE).is_file():
        processor.image_processor = ImageProcessor.from_pretrained(Path(folder) / OWN_FILE)
    path = Path(folder) / RESIZED
    if resized := path.is_file():
        given = read_json(path).get("image_size")
        if not isinstance(given, list) or [*map(type, given)] != [int, int]:
            raise ConfigError(f"{path} says image_size {shown(given)}; expected [height, width]")
        model.encoder.resize_images((given[0], given[1]))
    return read, resized
