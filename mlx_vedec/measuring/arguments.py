"""The arguments of this room's functions, checked at their border by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from reprlib import repr  # bounded in length and depth
from typing import Any

from ..data.samples import Dataset, Sample
from ..errors import OptionError
from ..generation.values import is_int
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from ..text.error_rates import Normalization
from .processes import Group

MODEL = (lambda v: isinstance(v, VisionEncoderDecoderModel), "a model, the first that `load` gives")
PROCESSOR = (lambda v: isinstance(v, Processor), "a processor, the second that `load` gives")
FUNCTION = (callable, "a function")
MOST = 2**24  # of what is counted: images at once, runs, samples


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(text, str) for text in value)


def _several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(is_int(v) and v > 0 for v in value)


# Whether a value fits, and what does, in words; None fits where it is the argument's default.
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("model", "original", "changed"), MODEL),
    "processor": PROCESSOR,
    "dataset": (
        lambda v: isinstance(v, Dataset) or (_several(v) and all(isinstance(s, Sample) for s in v)),
        "samples, as `load_dataset` gives them",
    ),
    "images": (_several, "several images, in a list"),
    "labels": (lambda v: not isinstance(v, str) and _texts(v), "a text for each image, in a list"),
    "metrics": (lambda v: not isinstance(v, str) and _texts(v), "names of metrics, in a list"),
    "prompt": (lambda v: isinstance(v, str), "a text"),
    "normalization": (lambda v: isinstance(v, Normalization), "a `Normalization`"),
    "group": (lambda v: isinstance(v, Group), "a group of `mx.distributed`"),
    "sizes": (_sizes, "the bytes of both models, two whole numbers"),
    **dict.fromkeys(("progress", "clock"), FUNCTION),
    **dict.fromkeys(
        ("batch_size", "num_trials"),
        (lambda v: is_int(v) and 1 <= v <= MOST, f"1 or more, to {MOST:,}"),
    ),
    "warmup": (lambda v: is_int(v) and 0 <= v <= MOST, f"0 or more, to {MOST:,}"),
    "seed": (lambda v: is_int(v) and 0 <= v < 2**64, "a whole number of 0 to 2**64 - 1"),
}


def check_arguments(*optional: str, **given: Any) -> None:
    """Raise `OptionError` for an argument of another kind; optional -- those that may be None."""
    for name, value in given.items():
        fits, expected = KINDS[name]
        if not (fits(value) or (value is None and name in optional)):
            raise OptionError(f"{name} is {repr(value)}; expected {expected}")


def listed_images(images: Any) -> Any:
    """One image as a list; several as they are, and an error for what is neither."""
    if isinstance(images, (str, bytes, Path)):
        return [images]
    check_arguments(images=images)
    return images
