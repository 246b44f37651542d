"""The batches of each epoch: they depend on the seed and the epoch's number, on nothing else."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import mlx.core as mx
import numpy as np
from PIL import Image

from ..errors import ConfigError, DataError, OptionError, check_function, check_type, check_whole
from ..images.loading import load_image
from ..layers.token_ids import IGNORED
from ..reading.generate import check_reader
from ..reading.image_sizes import match_images
from .augmentation import Augmentation
from .dataset_checks import checked_ids
from .labels import Labeller, describe
from .samples import Dataset, Sample
from .stored import LineImage

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from ..reading.processor import Processor

A = TypeVar("A")
B = TypeVar("B")

STEP = 16  # label lengths are padded up to multiples of it
ORDER, CHANGE = 0, 1  # random numbers for the order of samples, and for changes of their images


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """The arrays of a training step.

    pixel_values      -- (B, H, W, C) float32
    decoder_input_ids -- (B, L) int32
    labels            -- (B, L) int32, -100 where nothing is counted
    tokens            -- how many labels are counted in the loss
    indices           -- which samples the first rows are; the rows after them fill up the shape
    prompts           -- how many ids of each of these rows generation starts from
    """

    pixel_values: mx.array
    decoder_input_ids: mx.array
    labels: mx.array
    tokens: int
    indices: tuple[int, ...]
    prompts: tuple[int, ...]


class Batches:
    """The batches of a dataset for a model, checked before the first is made.

    dataset    -- of `load_dataset`, or any sequence of pairs (image, text) or mappings
    batch_size -- of all processes together; rank and world -- which of how many this one is
    augment    -- an `Augment`, or a function of an image and a numpy generator to an image
    mask_prompt -- count no labels that are the prompt's
    leading    -- ids that every text begins with; by default the model is asked, see `labels`
    workers    -- threads that prepare the next batches, and ask the dataset for rows; 0 for none

    Texts of about one length come together, in an order drawn anew for each epoch; with
    shuffle=False the dataset's order stays. Each sample comes once. A `DataError` lists, by file
    and line, everything that cannot be learned from.

    >>> import mlx_vedec
    >>> model, processor = mlx_vedec.load()
    >>> lines = [("tests/data/lines/seen_000.png", "_VANE_")]
    >>> (batch,) = Batches(lines, model, processor, batch_size=4).epoch(0)
    >>> batch.pixel_values.shape, batch.labels.tolist()[0][:8], batch.tokens
    ((1, 32, 768, 3), [67, 58, 37, 50, 41, 67, 2, -100], 7)
    """

    def __init__(
        self,
        dataset: Sequence[Any],
        model: VisionEncoderDecoderModel,
        processor: Processor,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        augment: Augmentation | None = None,
        mask_prompt: bool = False,
        rank: int = 0,
        world: int = 1,
        leading: Sequence[int] | None = None,
        workers: int = 2,
    ) -> None:
        numbers = {"batch_size": batch_size, "world": world, "seed": seed, "workers": workers}
        for name, value in {**numbers, "rank": rank}.items():
            check_whole(name, value, int(name in ("batch_size", "world")))
        check_reader(model, processor)
        match_images(model, processor)
        check_function("augment", augment)
        check_type("leading", leading, (list, tuple, type(None)), "token ids, or None")
        for id in leading or ():
            check_whole("an id of leading", id, 0)
        if not 0 <= rank < world:
            raise OptionError(f"rank is {rank} of {world} processes; expected 0 to {world - 1}")
        if processor.image_processor is None:
            raise ConfigError("the processor has no image processor; give one to Processor(...)")
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.processor, self.batch_size, self.seed = processor, batch_size, seed
        self.shuffle, self.augment, self.mask_prompt = shuffle, augment, mask_prompt
        self.rank, self.world, self.workers = rank, world, workers
        self.labeller = Labeller(model, processor, leading=leading or ())
        self.ids = checked_ids(self.dataset, self.labeller, ask=leading is None)
        self.pad = _pad(model, processor)
        self.widths = _widths([sample.length for sample in self.ids], model.decoder.max_positions)
        self._warned = False
        self.rows = -(-min(batch_size, len(self.ids)) // world)

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Generator[TrainingBatch, None, None]:
        """The batches of an epoch from that at `start` on; closing the iterator ends its threads.

        A `DataError` names the sample whose image turns out to be damaged.
        """
        check_whole("epoch", number, 0)
        check_whole("start", start, 0)
        if start > len(self):
            raise OptionError(f"start is {start}; expected at most {len(self)}, the batches")
        return self._batches(number, self.indices(number)[start:])

    def indices(self, epoch: int) -> list[np.ndarray]:
        """The samples of each batch of an epoch, by their places in the dataset.

        A batch is that of all processes together.
        """
        order = np.arange(len(self.ids))
        full, rest = divmod(len(order), self.batch_size)
        sizes = [self.batch_size] * full + [rest] * (rest > 0)
        if not self.shuffle:
            return np.split(order, np.cumsum(sizes)[:-1])
        random = np.random.default_rng([ORDER, self.seed, epoch])
        order = random.permutation(order)
        order = order[np.argsort(self.widths[order], kind="stable")]
        # the short batch is of other lengths in each epoch
        parts = np.split(order, np.cumsum(random.permutation(sizes))[:-1])
        return [parts[i] for i in random.permutation(len(parts))]

    def describe(self, index: int = 0) -> str:
        """One sample as the model learns it: its text, what the decoder is fed, the labels."""
        return describe(self.labeller, self.dataset[index], mask_prompt=self.mask_prompt)

    def _batches(
        self, epoch: int, parts: Sequence[np.ndarray]
    ) -> Generator[TrainingBatch, None, None]:
        def make(part: np.ndarray) -> np.ndarray:
            return self._pixels(epoch, part)

        with closing(prefetched(make, parts, workers=self.workers)) as made:
            for part, pixels in zip(parts, made, strict=True):
                yield self._batch(part, pixels)

    def _batch(self, part: np.ndarray, pixels: np.ndarray) -> TrainingBatch:
        """This process's share of a batch, filled up with rows that count for nothing."""
        own = part[self.rank :: self.world]
        shape = self.rows, int(self.widths[part].max())
        inputs, labels = np.full(shape, self.pad, np.int32), np.full(shape, IGNORED, np.int32)
        for row, index in enumerate(own):
            sample = self.ids[index]
            fed = sample.ids[: shape[1]]
            inputs[row, : len(fed)] = fed
            labels[row, : sample.length] = sample.labels(mask_prompt=self.mask_prompt)
        return TrainingBatch(
            mx.array(pixels),
            mx.array(inputs),
            mx.array(labels),
            int(np.count_nonzero(labels != IGNORED)),
            tuple(own.tolist()),
            tuple(self.ids[index].prompt for index in own),
        )

    def _pixels(self, epoch: int, part: np.ndarray) -> np.ndarray:
        """The pixels of a share; zeros in the rows that fill it up."""
        own = part[self.rank :: self.world]
        images = [self._image(epoch, int(index)) for index in (own if len(own) else part[:1])]
        try:
            pixels = np.concatenate(images)
        except ValueError as error:
            shapes = sorted({image.shape[1:] for image in images})
            raise DataError(
                f"images come out in shapes {shapes}; expected one for all; give the image "
                "processor a size of height and width"
            ) from error
        filled = np.zeros((self.rows, *pixels.shape[1:]), np.float32)
        filled[: len(own)] = pixels[: len(own)]
        return filled

    def _image(self, epoch: int, index: int) -> np.ndarray:
        """The pixels (1, H, W, C) of a sample."""
        sample = self.dataset[index]
        try:
            assert self.processor.image_processor is not None
            image = self._picture(sample)
            self._warn_of_shape(image, sample.where)
            if self.augment is not None:
                random = np.random.default_rng([CHANGE, self.seed, epoch, index])
                image = self.augment(image, random)
            return self.processor.image_processor([image])
        except Exception as error:  # also of an augmentation that is the caller's own
            raise DataError(f"{sample.where}: {error}") from error

    def _picture(self, sample: Sample) -> Image.Image:
        """A sample's image as the checkpoint reads it: lines of pages as `read_page` draws them."""
        aspect = self.processor.line_aspect_ratio
        if isinstance(sample.image, LineImage) and aspect is not None:
            pieces = sample.image.pieces(aspect)
            if len(pieces) == 1:
                return pieces[0]
        return self.processor.on_canvas(load_image(sample.image))

    def _warn_of_shape(self, image: Image.Image, where: str) -> None:
        """Warn of the first image that is no line, where the checkpoint reads lines."""
        if not self._warned and (said := self.processor.shape_warning(image, where)):
            self._warned = True
            advice = "it is learned squeezed; cut it and its text in two, or leave it out"
            warnings.warn(f"{said}; {advice}", stacklevel=2)


def _widths(lengths: Sequence[int], most: int | None) -> np.ndarray:
    """Lengths rounded up to few different ones, at most the length of the position table."""
    padded = -(-np.array(lengths) // STEP) * STEP
    return padded if most is None else np.minimum(padded, most)


def _pad(model: VisionEncoderDecoderModel, processor: Processor) -> int:
    """The id that rows of the decoder's input are filled up with; no label there counts."""
    named = model.config.pad_token_id, model.config.decoder.pad_token_id
    ids = (*named, processor.required_tokenizer.pad_token_id, 0)
    return next(id for id in ids if id is not None)


def prefetched(
    make: Callable[[A], B], items: Iterable[A], *, workers: int = 2, ahead: int = 2
) -> Generator[B, None, None]:
    """`map(make, items)`, in order, with up to `ahead` results computed beforehand.

    What `make` raises is raised where its result would come. Closing the iterator waits for the
    calls that threads have begun, and ends the threads. An MLX array belongs to one thread, so
    `make` returns none. With workers=0 there are no threads.
    """
    if not workers:
        yield from map(make, items)
        return
    remaining = iter(items)
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mlx_vedec-data") as pool:
        try:
            while True:
                for item in remaining:
                    waiting.append(pool.submit(make, item))
                    if len(waiting) > ahead:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
