"""How well a model reads images whose texts are known: `evaluate`, and `compare` for two models."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import mlx.core as mx

from ..data.samples import Sample
from ..data.stored import LineImage
from ..errors import MetricError
from ..images.deferred import DeferredImage
from ..images.line_images import is_too_wide
from ..images.lines import find_lines
from ..images.loading import ImageSource, header_size, is_url, load_image
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..pages.layout import FoundLine
from ..pages.reading import joined
from ..pages.strips import pieces_of
from ..reading.generate import batch_generate
from ..reading.processor import Processor, Reading
from ..reading.results import GenerationResult
from ..text.donut_scores import field_share, tree_share
from ..text.error_rates import AS_IS, ERRORS, SHARES, Normalization, Share, check_names, total
from .arguments import check_arguments
from .confidences import Bin, calibration
from .intervals import Difference, Estimate, check_bootstrap, differences, estimates
from .processes import in_shares
from .references import ReadingTask, reading_tasks

DATA_SHARES = {"field_f1": field_share, "tree_accuracy": tree_share}  # of documents
METRICS = (*SHARES, *DATA_SHARES)
DEFAULT = ("cer", "wer", "mean_cer", "exact_match", "similarity")

ResultValues = dict[str, Any]  # the fields of a `GenerationResult` that count, as JSON


@dataclass(frozen=True)
class Row:
    """What was read in one sample.

    where        -- file and line. image -- its path, or itself where it is inside a larger file;
                    empty for one that was given otherwise
    references   -- what was to be read; of several, each metric takes the one that fits best
    prediction   -- what was read; empty where `error` says why there is nothing
    edits, cer   -- of characters, after normalization; cer is edits / reference characters
    confidence, finish_reason -- those of `GenerationResult`
    """

    where: str
    image: str | DeferredImage
    references: tuple[str, ...]
    prediction: str
    edits: int
    cer: float
    confidence: float
    finish_reason: str | None
    error: str | None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a dataset.

    metrics -- each with its interval. rows -- one per sample, in their order. shares -- of each
    metric, what each sample adds to it. seconds -- that reading the images took
    """

    metrics: Mapping[str, Estimate]
    rows: tuple[Row, ...]
    shares: Mapping[str, Sequence[Share]]
    seconds: float

    @property
    def unread(self) -> tuple[Row, ...]:
        """The samples that could not be read."""
        return tuple(row for row in self.rows if row.error is not None)

    @property
    def calibration(self) -> tuple[Bin, ...]:
        """The samples that could be read, by confidence: how many of each group were right.

        Empty where no sample has a text to compare with, as on pages whose lines alone are known.
        """
        if not any(text for row in self.rows for text in row.references):
            return ()
        read = [row for row in self.rows if row.error is None]
        return calibration([row.confidence for row in read], [not row.edits for row in read])

    def worst(self, count: int) -> tuple[Row, ...]:
        """The rows with the most edits, none without; of as many edits, the highest rate first."""
        ranked = sorted(self.rows, key=lambda row: (-row.edits, -row.cer))
        return tuple(row for row in ranked[:count] if row.edits)


def evaluate(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    dataset: Sequence[Sample],
    *,
    batch_size: int = 16,
    metrics: Sequence[str] | None = None,
    normalization: Normalization = AS_IS,
    bootstrap: int = 1000,
    seed: int = 0,
    prompt: str | None = None,
    group: mx.distributed.Group | None = None,
    progress: Callable[[GenerationResult], object] | None = None,
    **options: Any,
) -> Evaluation:
    """Read every image of a dataset, and compare the texts with those that are known.

    metrics -- names of `METRICS`; by default `DEFAULT`, for Donut also those of documents.
    bootstrap, seed -- of `intervals.estimates`. prompt -- for samples without their own. group --
    its processes each read a share, and each has the whole result. progress and all other options
    -- `batch_generate`'s.

    An image that cannot be read counts as one in which nothing was read. Neighbours in the dataset
    that differ only in their texts are one sample with several references. A picture of a line
    that is too wide for a checkpoint of lines is read in pieces, as `read_page` reads it.

    >>> from mlx_vedec import load
    >>> data = [Sample("tests/data/lines/seen_000.png", "_VANE_"), Sample("missing.png", "tea")]
    >>> found = evaluate(*load(), data, metrics=["cer"], bootstrap=0)
    >>> found.metrics["cer"].value, found.rows[0].prediction, len(found.unread)
    (0.3333333333333333, '_VANE_', 1)
    """
    check_arguments(processor=processor, dataset=dataset, batch_size=batch_size)
    check_arguments(normalization=normalization, seed=seed)
    optional = {"metrics": metrics, "prompt": prompt, "group": group, "progress": progress}
    check_arguments(*optional, **optional)
    check_bootstrap(bootstrap)
    tasks = reading_tasks(dataset, processor, prompt)
    names = _names(metrics, tasks)
    _check_references(names, tasks, normalization)

    read_all = partial(batch_generate, model, processor, batch_size=batch_size, **options)

    def read(share: Sequence[ReadingTask]) -> list[ResultValues]:
        images = (dataset[task.index].image for task in share)
        prompts = [task.prompt for task in share]
        if processor.line_aspect_ratio is not None and not any(prompts):
            results = _lines(images, processor.line_aspect_ratio, progress, read_all)
        else:
            results = read_all(images, prompts, progress=progress)
        return [_values(result) for result in results] if share else []

    started = time.perf_counter()
    found: list[ResultValues] = in_shares(read, tasks, group)
    seconds = time.perf_counter() - started
    readings = [t.counted(Reading(f["text"], f["data"])) for t, f in zip(tasks, found, strict=True)]
    counted = _shares((*names, "cer"), tasks, readings, normalization)
    shares = {name: counted[name] for name in names}
    return Evaluation(
        metrics=estimates(shares, bootstrap=bootstrap, seed=seed),
        rows=tuple(map(_row, tasks, readings, counted["cer"], found)),
        shares=shares,
        seconds=seconds,
    )


def compare(
    evaluation: Evaluation, other: Evaluation, *, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """How much higher each metric is than in another model's evaluation on the same samples."""
    if [row.where for row in evaluation.rows] != [row.where for row in other.rows]:
        raise MetricError(
            f"the evaluations are of {len(evaluation.rows)} and {len(other.rows)} samples that are "
            "not the same; expected one dataset for both"
        )
    return differences(evaluation.shares, other.shares, bootstrap=bootstrap, seed=seed)


def _names(metrics: Sequence[str] | None, tasks: Sequence[ReadingTask]) -> list[str]:
    """The metrics to compute: those asked for, or the defaults that fit the texts."""
    check_names(metrics or (), METRICS)
    documents = tasks[0].references[0].data is not None
    if not metrics:
        anls = ["anls"] if any(task.asked for task in tasks) else []
        return [*DEFAULT, *anls, *(DATA_SHARES if documents else ())]
    if not documents and (wrong := [name for name in metrics if name in DATA_SHARES]):
        raise MetricError(
            f"{' and '.join(wrong)} need a model that writes JSON, as Donut does; this one's "
            f"processor reads text; expected {', '.join(SHARES)}"
        )
    return [*metrics]


def _check_references(
    names: Sequence[str], tasks: Sequence[ReadingTask], normalization: Normalization
) -> None:
    """Refuse texts that a metric cannot be computed for, before anything is read."""
    nothing = [Reading("")] * len(tasks)
    texts = [name for name in names if name in SHARES]
    for name, shares in _shares(texts, tasks, nothing, normalization).items():
        total(name, shares)


def _lines(
    images: Iterable[ImageSource],
    aspect: float,
    progress: Callable[[GenerationResult], object] | None,
    read: Callable[..., Iterator[GenerationResult]],
) -> Iterator[GenerationResult]:
    """The lines that images hold; one that is too wide is read in pieces, as on a page."""
    counts: deque[int] = deque()

    def pieces() -> Iterator[ImageSource]:
        for image in images:
            found = _pieces(image, aspect)
            counts.append(len(found))
            yield from found

    results = read(pieces())
    for result in results:
        whole = joined([result, *islice(results, counts.popleft() - 1)])
        if progress is not None:
            progress(whole)
        yield whole


def _pieces(image: ImageSource, aspect: float) -> list[ImageSource]:
    """The pieces of a line that is too wide for a checkpoint's aspect; else the image as it is.

    A line of a page is in any case drawn as `read_page` draws it.
    """
    try:
        if isinstance(image, LineImage):
            return [*image.pieces(aspect)] or [image]
        if isinstance(image, (str, os.PathLike)) and not is_url(image):
            width, height = header_size(image)  # of a picture that may lie on its side
            if not (is_too_wide((width, height), aspect) or is_too_wide((height, width), aspect)):
                return [image]
        picture = load_image(image)
    except ValueError:  # which reading it says, too
        return [image]
    lines = find_lines(picture) if is_too_wide(picture.size, aspect) else []
    if len(lines) != 1:
        return [image]
    found = pieces_of(picture, FoundLine(ink=lines[0]), aspect)
    return [piece.picture for piece in found] or [image]


def _values(result: GenerationResult) -> ResultValues:
    return {
        "text": result.text,
        "data": result.data,
        "confidence": result.confidence,
        "finish_reason": result.finish_reason,
        "error": None if result.error is None else str(result.error),
    }


def _shares(
    names: Iterable[str],
    tasks: Sequence[ReadingTask],
    readings: Sequence[Reading],
    normalization: Normalization,
) -> dict[str, list[Share]]:
    """For each metric a share per sample, by the reference that fits best."""

    def share(name: str, task: ReadingTask, reading: Reading) -> Share:
        best = min if name in ERRORS else max
        shares = (_share(name, reading, wanted, normalization) for wanted in task.references)
        return best(shares, key=lambda share: share.ratio)

    return {
        name: [share(name, *pair) for pair in zip(tasks, readings, strict=True)]
        for name in dict.fromkeys(names)
    }


def _share(name: str, found: Reading, wanted: Reading, normalization: Normalization) -> Share:
    if name in DATA_SHARES:
        return DATA_SHARES[name](found.data, wanted.data, normalization)
    return SHARES[name](normalization(found.text), normalization(wanted.text))


def _row(task: ReadingTask, reading: Reading, count: Share, found: ResultValues) -> Row:
    return Row(
        where=task.where,
        image=task.image,
        references=tuple(wanted.text for wanted in task.references),
        prediction=reading.text,
        edits=int(count.part),
        cer=count.ratio,
        **{name: found[name] for name in ("confidence", "finish_reason", "error")},
    )
