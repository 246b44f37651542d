"""The size of the images that a processor makes, where the model was built for another."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoders.encoder import ProcessorSize
from ..encoders.patches import Pair, pair
from ..errors import ConfigError, OptionError
from ..images.image_processors import OWN_FILE, ImageProcessor

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from .processor import Processor

LOG = logging.getLogger("mlx_vedec")
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


def restore_images(
    model: VisionEncoderDecoderModel, processor: Processor, folder: str | Path
) -> None:
    """Make the image size that a folder of adapters names the model's, if it names one."""
    if not (Path(folder) / OWN_FILE).is_file():
        return
    processor.image_processor = ImageProcessor.from_pretrained(Path(folder) / OWN_FILE)
    made = processor.image_processor.made_size
    own = getattr(model.encoder.config, "image_size", None)
    if made is not None and own is not None and made != pair(own):
        model.encoder.resize_images(made)
