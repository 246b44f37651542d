"""A dataset looked at before the first step: images, texts and labels, all errors at once."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import near
from ..images.deferred import DeferredImage
from ..images.loading import header_size, is_url
from ..reading.processor import Processor
from .labels import Labeller, SampleIds
from .samples import SHOWN, CollectedErrors, Sample

UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # Unicode's spaces, and characters without a shape
UNBOUNDED = 100_000  # tokens that a text may have where there is no position table


def missing_tokens(samples: Iterable[Sample], processor: Processor) -> list[str]:
    """Donut's tags in the samples that the tokenizer has no token for, in order of appearance."""
    tags = dict.fromkeys(tag for sample in samples for tag in sample.tags)
    token_to_id = processor.required_tokenizer.backend.token_to_id
    return [tag for tag in tags if token_to_id(tag) is None]


def checked_ids(
    samples: Sequence[Sample], labeller: Labeller, *, ask: bool = True
) -> list[SampleIds]:
    """The ids of all samples; a `DataError` lists every sample that cannot be learned from.

    ask -- whether the model, shown the first image that can be read, says how texts begin.

    Images are not decoded: only the headers of files are read. Texts with unknown tokens or longer
    than generation goes, and another start token in the config, are warnings.
    """
    if not len(samples):
        raise DataError("there are no samples; expected one or more")
    errors, checks = CollectedErrors(), _SampleChecks(labeller)
    found: list[SampleIds] = []
    for index in range(len(samples)):
        with errors.at():
            sample = samples[index]
            readable = _has_image(sample, errors)
            if ask and readable:
                ask = False
                with errors.at(sample.where):
                    labeller.leading = labeller.written_first(sample)
            with errors.at(sample.where):
                found.append(checks.ids_of(sample))
    if checks.missing:
        errors.add(
            f"{len(checks.missing)} tags are no tokens yet: {' '.join(checks.missing)}; add them "
            "with mlx_vedec.add_tokens(model, processor, tags)"
        )
    errors.raise_any()
    checks.warn()
    return found


def _has_image(sample: Sample, errors: CollectedErrors) -> bool:
    """Whether an image can be read, by its header where it is a file."""
    image, before = sample.image, len(errors.found)
    if isinstance(image, (str, os.PathLike)) and not is_url(image):
        with errors.at(sample.where):
            if len(errors.found) < SHOWN and not Path(image).exists():
                raise DataError(f"image {image} does not exist; {near(Path(image))}")
            header_size(image)
    if isinstance(image, DeferredImage):
        with errors.at(sample.where):
            image.check()
    return len(errors.found) == before


def _is_visible(text: str) -> bool:
    """Whether a text has anything that is seen, and not only spaces and marks of direction."""
    return any(unicodedata.category(character) not in UNSEEN for character in text)


@dataclass
class _SampleChecks:
    """Checks one sample after another, and keeps what is warned of for all of them together."""

    labeller: Labeller
    missing: dict[str, None] = field(default_factory=dict)
    count: int = 0
    longest: int | None = None  # characters of a token
    unknown: list[tuple[Sample, int]] = field(default_factory=list)
    long: list[tuple[Sample, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = self.labeller.model
        self.positions, self.vocab_size = (
            model.decoder.max_positions,
            model.decoder.config.vocab_size,
        )
        self.room = cache(lambda prompt: model.generation_options(prompt).max_length)

    def ids_of(self, sample: Sample) -> SampleIds:
        """The ids of a sample; an error where no model can learn it, or this one cannot."""
        if not isinstance(sample.text, str) or not _is_visible(sample.text):
            blank = f" but for {ascii(sample.text)[:60]}" if sample.text else ""
            raise DataError(f"the text is empty{blank}; expected what is to be read in the image")
        self._check_length(sample.text)
        tokenizer = self.labeller.processor.required_tokenizer
        missing = missing_tokens([sample], self.labeller.processor)
        self.missing |= dict.fromkeys(missing)
        found = self.labeller(sample)
        if missing:  # their ids are not known yet
            return found
        self._check(found)
        unknown = np.count_nonzero(found.ids[found.prompt : -1] == tokenizer.unk_token_id)
        self.count += 1
        if unknown and tokenizer.unk_token_id != self.labeller.end:
            self.unknown.append((sample, int(unknown)))
        if len(found.ids) > self.room(found.prompt):
            self.long.append((sample, len(found.ids), self.room(found.prompt)))
        return found

    def _check_length(self, text: str) -> None:
        """Refuse a text that no tokens within the position table can spell, without making them."""
        if self.longest is None:
            vocabulary = self.labeller.processor.required_tokenizer.backend.get_vocab()
            self.longest = max(map(len, vocabulary), default=1)
        most = (self.positions or UNBOUNDED) * self.longest
        if len(text) > most and sum(map(len, text.split())) > most:
            raise DataError(
                f"the text has {len(text)} characters, {ascii(text[:40])}…; expected at most "
                f"{most}, as {self.positions or UNBOUNDED} tokens of {self.longest} spell; shorten "
                "it, or leave it out"
            )

    def _check(self, found: SampleIds) -> None:
        if self.positions is not None and len(found.ids) > self.positions:
            raise DataError(
                f"the text has {len(found.ids)} tokens with its prompt and its end, but the "
                f"position table ends at {self.positions}; shorten it, or leave it out"
            )
        if found.ids.max() >= self.vocab_size:
            name = self.labeller.name(int(found.ids.max()))
            raise DataError(
                f"token {name} has the id {found.ids.max()}, but the model's vocabulary has "
                f"{self.vocab_size}; extend it with model.resize_token_embeddings"
            )

    def warn(self) -> None:
        """Warn of what can be trained, but perhaps is not meant."""
        self.labeller.warn_of_start()
        if self.unknown:
            sample, total = self.unknown[0][0], sum(count for _, count in self.unknown)
            tokenizer = self.labeller.processor.required_tokenizer
            warnings.warn(
                f"{len(self.unknown)} of {self.count} texts have what the vocabulary lacks "
                f"({total} tokens are {tokenizer.unk_token}), first at "
                f"{sample.where}: {sample.text[:60]!r}; it cannot be learned",
                stacklevel=4,
            )
        if self.long:
            sample, length, room = self.long[0]
            warnings.warn(
                f"{len(self.long)} of {self.count} labels are longer than generation goes, first "
                f"at {sample.where}: {length} tokens, but max_length is {room}; raise "
                "model.generation_config.max_length",
                stacklevel=4,
            )
