"""`mlx_vedec lora` with another vocabulary: its options checked, and carried out on the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import OptionError

if TYPE_CHECKING:
    from ..data.samples import Sample
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from ..reading.processor import Processor
    from ..text.vocabularies import Vocabulary


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `OptionError` for options of the vocabulary that do not go together."""
    names = ("new_vocabulary", "shrink_vocabulary", "vocabulary_size")
    new, shrunk, size = map(options.get, names)
    if new and shrunk:
        raise OptionError(
            "new_vocabulary and shrink_vocabulary are both given; expected one: a new vocabulary "
            "has no tokens that the texts do not need"
        )
    if size is not None and not new:
        raise OptionError("vocabulary_size is given without new_vocabulary; give both")
    if (new or shrunk) and options.get("resume_adapter_file"):
        raise OptionError(
            "--resume-adapter-file brings adapters that are for their own vocabulary; leave out "
            "--new-vocabulary and --shrink-vocabulary"
        )


def other_vocabulary(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    samples: Iterable[Sample],
    options: Mapping[str, Any],
) -> Vocabulary | None:
    """Learn or shrink the vocabulary from samples, as the options say; None where they say neither.

    The model and the processor have it then.
    """
    from ..reading.vocabularies import new_vocabulary, shrink_vocabulary

    if options.get("new_vocabulary"):
        size = options.get("vocabulary_size")
        return new_vocabulary(model, processor, _texts(samples, processor), vocabulary_size=size)
    if options.get("shrink_vocabulary"):
        return shrink_vocabulary(model, processor, _texts(samples, processor))
    return None


def _texts(samples: Iterable[Sample], processor: Processor) -> list[str]:
    """The texts and prompts of samples; those that are no texts are told of with the batches."""
    from ..text.inputs import has_half_character

    return [
        text
        for sample in samples
        for text in (sample.text, sample.prompt and processor.prompt_text(sample.prompt))
        if isinstance(text, str) and not has_half_character(text)
    ]
