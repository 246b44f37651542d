"""What a model should read in the images of a dataset, said as its processor says what it read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import MetricError
from ..reading.processor import DonutProcessor, MangaOCRProcessor, Processor, Reading
from ..tasks.donut import token2json
from ..tasks.donut_prompts import ANSWER, QUESTION, added_vocabulary, answer_text
from ..tasks.manga import post_process

if TYPE_CHECKING:
    from ..data.samples import Sample


@dataclass(frozen=True)
class Item:
    """A sample's image and all that would be right to read in it.

    index -- of the sample, the first where neighbours are joined. image -- its path, empty for one
    that comes from elsewhere. asked -- whether there is a question: only the answer counts then
    """

    index: int
    image: str
    prompt: str | None
    where: str
    references: tuple[Reading, ...]
    asked: bool = False

    def counted(self, reading: Reading) -> Reading:
        """What counts of what a model read."""
        return _answer(reading.data) if self.asked else reading


def items_of(
    dataset: Sequence[Sample], processor: Processor, prompt: str | None = None
) -> list[Item]:
    """The images of a dataset; neighbours that differ only in their texts are one.

    prompt -- for samples without their own.
    """
    items: list[Item] = []
    for index, sample in enumerate(dataset):
        item = _item(index, sample, processor, sample.prompt or prompt)
        if items and item.image and _place(item) == _place(items[-1]):
            references = items[-1].references + item.references
            items[-1] = replace(items[-1], references=references)
        else:
            items.append(item)
    if not items:
        raise MetricError("the dataset has no samples; expected images with their texts")
    return items


def _place(item: Item) -> tuple[Any, ...]:
    return item.where, item.image, item.prompt, item.asked


def _item(index: int, sample: Sample, processor: Processor, prompt: str | None) -> Item:
    wanted = expected(processor, sample.text, prompt)
    asked = isinstance(wanted.data, Mapping) and set(wanted.data) == {QUESTION, ANSWER}
    references = (_answer(wanted.data) if asked else wanted,)
    image = str(sample.image) if isinstance(sample.image, (str, os.PathLike)) else ""
    return Item(index, image, prompt, sample.where, references, asked)


def expected(processor: Processor, text: str, prompt: str | None = None) -> Reading:
    """A text of a dataset as `processor.read` gives it back when it is read without an error.

    >>> expected(Processor(), "tea")
    Reading(text='tea', data=None)
    """
    if isinstance(processor, MangaOCRProcessor):
        return Reading(post_process(text))
    if not isinstance(processor, DonutProcessor):
        return Reading(text)
    tags = answer_text((processor.prompt_text(prompt) or "<s>") + text)
    return Reading(tags, token2json(tags, added_vocabulary(processor.required_tokenizer)))


def _answer(data: Any) -> Reading:
    """The answer in a document that is asked."""
    answer = data.get(ANSWER, "") if isinstance(data, Mapping) else ""
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reading(text, {ANSWER: answer})
