"""What a model should read in the images of a dataset, in the form its processor reads texts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import MetricError
from ..images.deferred import DeferredImage
from ..reading.processor import DonutProcessor, MangaOCRProcessor, Processor, Reading
from ..tasks.donut import token2json
from ..tasks.donut_prompts import ANSWER, QUESTION, added_vocabulary, answer_text
from ..tasks.manga import post_process

if TYPE_CHECKING:
    from ..data.samples import Sample


@dataclass(frozen=True)
class ReadingTask:
    """An image to be read, and every text that would be right to read in it, the references.

    index -- of the sample in the dataset, the first of those that are joined. image -- its path, or
    itself where it is inside a larger file; empty where it is neither. asked -- whether there is a
    question: then only the answer counts
    """

    index: int
    image: str | DeferredImage
    prompt: str | None
    where: str
    references: tuple[Reading, ...]
    asked: bool = False

    def counted(self, reading: Reading) -> Reading:
        """The part that is compared of what a model read: all of it, or the answer."""
        return _answer(reading.data) if self.asked else reading


def reading_tasks(
    dataset: Sequence[Sample], processor: Processor, prompt: str | None = None
) -> list[ReadingTask]:
    """The images of a dataset; neighbours that differ only in their texts are one task.

    prompt -- for samples without their own.
    """
    tasks: list[ReadingTask] = []
    for index, sample in enumerate(dataset):
        task = _task(index, sample, processor, sample.prompt or prompt)
        if tasks and task.image and _place(task) == _place(tasks[-1]):
            references = tasks[-1].references + task.references
            tasks[-1] = replace(tasks[-1], references=references)
        else:
            tasks.append(task)
    if not tasks:
        raise MetricError("the dataset has no samples; expected images with their texts")
    return tasks


def _place(task: ReadingTask) -> tuple[Any, ...]:
    return task.where, task.image, task.prompt, task.asked


def _task(index: int, sample: Sample, processor: Processor, prompt: str | None) -> ReadingTask:
    wanted = reference(processor, sample.text, prompt)
    asked = isinstance(wanted.data, Mapping) and set(wanted.data) == {QUESTION, ANSWER}
    references = (_answer(wanted.data) if asked else wanted,)
    image = sample.image
    if not isinstance(image, DeferredImage):
        image = str(image) if isinstance(image, (str, os.PathLike)) else ""
    return ReadingTask(index, image, prompt, sample.where, references, asked)


def reference(processor: Processor, text: str, prompt: str | None = None) -> Reading:
    """A text of a dataset as `processor.read` gives it where a model reads it without an error.

    >>> reference(Processor(), "tea")
    Reading(text='tea', data=None)
    """
    if isinstance(processor, MangaOCRProcessor) and not processor.has_spaces:
        return Reading(post_process(text))
    if not isinstance(processor, DonutProcessor):
        return Reading(text)
    tags = answer_text((processor.prompt_text(prompt) or "<s>") + text)
    return Reading(tags, token2json(tags, added_vocabulary(processor.required_tokenizer)))


def _answer(data: Any) -> Reading:
    """The answer alone of what was read as a question and its answer."""
    answer = data.get(ANSWER, "") if isinstance(data, Mapping) else ""
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reading(text, {ANSWER: answer})
