"""What was lost when a model was changed: both read the same images, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..checkpoints.weights import bytes_of
from ..errors import OptionError
from ..images.loading import ImageSource
from ..layers.packed import bits_per_weight
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from ..text.error_rates import characters, metric
from .arguments import check_arguments, listed_images
from .likelihoods import Written, side_by_side, written
from .references import reference
from .verification_report import ChangedText, Side, Verification


def verify(
    original: VisionEncoderDecoderModel,
    changed: VisionEncoderDecoderModel,
    processor: Processor,
    images: Iterable[ImageSource],
    labels: Sequence[str] | None = None,
    *,
    prompt: str | None = None,
    batch_size: int = 16,
    sizes: tuple[int, int] | None = None,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Verification:
    """Compare a model with what it was before, on images and, where they are known, their texts.

    Texts are written by the checkpoint's options, those of this call before them, and not drawn by
    chance. sizes -- bytes of both as they are stored, for models that were widened to be run; by
    default as they are in memory. While it runs, the original's layers are wrapped: do not use it
    from another thread.

    >>> from mlx_vedec import load
    >>> (model, processor), (small, _) = load(), load(quantize=8)
    >>> found = verify(model, small, processor, ["tests/data/lines/seen_000.png"], ["_VANE_"])
    >>> found.texts_unchanged, found.token_agreement, found.changed.error_rate
    (1.0, 1.0, 0.0)
    """
    images = [*listed_images(images)]
    check_arguments(original=original, changed=changed, processor=processor, batch_size=batch_size)
    optional = {"labels": labels, "prompt": prompt, "sizes": sizes, "progress": progress}
    check_arguments(*optional, **optional)
    _check(original, changed, images, labels)
    if labels is not None:
        labels = [reference(processor, label, prompt).text for label in labels]
    done = count(1)

    def step() -> None:
        if progress is not None:
            progress(next(done), 3 * len(images))

    def read(model: VisionEncoderDecoderModel, size: int | None) -> tuple[list[Written], Side]:
        begun = time.perf_counter()
        given = {"prompt": prompt, "batch_size": batch_size, "step": step, **options}
        texts = written(model, processor, images, **given)
        return texts, _side(model, texts, time.perf_counter() - begun, size, labels)

    before, original_side = read(original, sizes and sizes[0])
    after, changed_side = read(changed, sizes and sizes[1])
    likelihoods, layers = side_by_side(original, changed, processor, before, batch_size, step)
    pairs = [*zip(before, after, strict=True)]
    return Verification(
        images=len(images),
        tokens=sum(len(text.tokens) for text in before),
        original=original_side,
        changed=changed_side,
        texts_unchanged=sum(a.text == b.text for a, b in pairs) / len(pairs),
        sequences_unchanged=sum(a.tokens == b.tokens for a, b in pairs) / len(pairs),
        **likelihoods._asdict(),
        error_rate=_error_rate(after, [a.text for a in before]),
        texts=_changed_texts(pairs, labels),
        layers=layers,
    )


def _check(
    original: VisionEncoderDecoderModel,
    changed: VisionEncoderDecoderModel,
    images: Sequence[ImageSource],
    labels: Sequence[str] | None,
) -> None:
    was, now = (model.config.decoder.vocab_size for model in (original, changed))
    if was != now:
        raise OptionError(
            f"the models cannot be compared: the vocabulary is {was} in the original and {now} in "
            "the other; expected one model before and after a change"
        )
    if not images:
        raise OptionError("there are no images to compare the models on; give one or more")
    if labels is not None and len(labels) != len(images):
        raise OptionError(
            f"there are {len(images)} images and {len(labels)} labels; expected as many; give each "
            "image its label, or none"
        )


def _side(
    model: VisionEncoderDecoderModel,
    texts: Sequence[Written],
    seconds: float,
    size: int | None,
    labels: Sequence[str] | None,
) -> Side:
    in_memory = bytes_of(model)
    stored = in_memory if size is None else size
    rate = None if labels is None else _error_rate(texts, labels)
    return Side(stored, bits_per_weight(model) * stored / in_memory, seconds, rate)


def _changed_texts(
    pairs: Sequence[tuple[Written, Written]], labels: Sequence[str] | None
) -> tuple[ChangedText, ...]:
    found = []
    for index, (a, b) in enumerate(pairs):
        if a.text != b.text:
            edits = characters(b.text, a.text)
            name = Path(a.image).name if isinstance(a.image, (str, Path)) else f"image {index + 1}"
            label = None if labels is None else labels[index]
            found.append((edits.ratio, ChangedText(name, a.text, b.text, label, int(edits.part))))
    return tuple(text for _, text in sorted(found, key=lambda pair: -pair[0]))


def _error_rate(texts: Sequence[Written], references: Sequence[str]) -> float | None:
    """The character error rate; None where no reference has a character."""
    return metric("cer", [text.text for text in texts], references) if any(references) else None
