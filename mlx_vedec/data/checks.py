"""What is looked at before the first step: images, texts, labels; one error for all of it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ..errors import DataError
from ..images.loading import check_header
from .labels import Labeller, Target
from .problems import Problems
from .samples import Sample

URL = re.compile("https?://", re.IGNORECASE)


def checked_targets(
    samples: Sequence[Sample], labeller: Labeller, *, ask: bool = True
) -> list[Target]:
    """The targets of samples, all of them good; else a `DataError` that lists what is wrong.

    ask -- whether the model, shown the first image that can be read, says how texts begin.

    Images are not decoded, only the headers of files are read. Unknown tokens, labels that are
    longer than generation goes, and another start token in the config are warnings.
    """
    if not len(samples):
        raise DataError("there are no samples; expected one or more")
    problems, notes = Problems(), _Notes(labeller)
    targets: list[Target] = []
    for index in range(len(samples)):
        with problems.at():
            sample = samples[index]
            readable = _has_image(sample, problems)
            if ask and readable:
                ask = False
                with problems.at(sample.where):
                    labeller.leading = labeller.written_first(sample)
            with problems.at(sample.where):
                targets.append(notes.checked(sample))
    if notes.missing:
        problems.add(
            f"{len(notes.missing)} tags are no tokens yet: {' '.join(notes.missing)}; add them "
            "with mlx_vedec.add_tokens(model, processor, tags)"
        )
    problems.raise_any()
    notes.warn()
    return targets


def _has_image(sample: Sample, problems: Problems) -> bool:
    """Whether an image can be read, by its header where it is a file."""
    image, before = sample.image, len(problems.found)
    if isinstance(image, (str, os.PathLike)) and not URL.match(str(image)):
        with problems.at(sample.where):
            check_header(image)
    return len(problems.found) == before


@dataclass
class _Notes:
    """Checks one sample after another, and keeps what is said about all of them."""

    labeller: Labeller
    missing: dict[str, None] = field(default_factory=dict)
    count: int = 0
    unknown: list[tuple[Sample, int]] = field(default_factory=list)
    long: list[tuple[Sample, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = self.labeller.model
        self.positions, self.width = model.decoder.max_positions, model.decoder.config.vocab_size
        self.room = cache(lambda prompt: model.generation_options(prompt).max_length)

    def checked(self, sample: Sample) -> Target:
        """The target of a sample; an error where no model can learn it, or this one."""
        if not isinstance(sample.text, str) or not sample.text.strip():
            raise DataError("the text is empty; expected what is to be read in the image")
        reader = self.labeller.processor.reader
        missing = [tag for tag in sample.tags if reader.backend.token_to_id(tag) is None]
        self.missing |= dict.fromkeys(missing)
        target = self.labeller(sample)
        if missing:  # what its ids are is not known yet
            return target
        self._check(target)
        unknown = np.count_nonzero(target.ids[target.prompt : -1] == reader.unk_token_id)
        self.count += 1
        if unknown and reader.unk_token_id != self.labeller.end:
            self.unknown.append((sample, int(unknown)))
        if len(target.ids) > self.room(target.prompt):
            self.long.append((sample, len(target.ids), self.room(target.prompt)))
        return target

    def _check(self, target: Target) -> None:
        if self.positions is not None and len(target.ids) > self.positions:
            raise DataError(
                f"the text has {len(target.ids)} tokens with its prompt and its end, but the "
                f"position table ends at {self.positions}; shorten it, or leave it out"
            )
        if target.ids.max() >= self.width:
            name = self.labeller.name(int(target.ids.max()))
            raise DataError(
                f"token {name} has the id {target.ids.max()}, but the model's vocabulary has "
                f"{self.width}; extend it with model.resize_token_embeddings"
            )

    def warn(self) -> None:
        """Warn of what can be trained, but perhaps is not meant."""
        self.labeller.warn_of_start()
        if self.unknown:
            sample, total = self.unknown[0][0], sum(count for _, count in self.unknown)
            warnings.warn(
                f"{len(self.unknown)} of {self.count} texts have what the vocabulary lacks "
                f"({total} tokens are {self.labeller.processor.reader.unk_token}), first at "
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
