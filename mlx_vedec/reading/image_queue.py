"""Any number of images as one stream of work: read when there is room, results in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import mlx.core as mx
from PIL import Image

from ..generation.flow import Cohort
from ..generation.options import Options
from ..generation.search import Decoded
from ..images.boxes import Box
from ..images.image_processors import ImageSource
from ..images.loading import load_image
from ..layers.decoder_cache import DecoderCache
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..tasks.nougat_repeats import repetition_start
from .image_sizes import match_images
from .parts import parts_of
from .processor import Processor
from .results import GenerationResult
from .word_boxes import Maps, distinct, geometry_of, pixel_box, token_attentions, word_boxes

Ids = Sequence[int]
Asked = tuple[ImageSource, Ids | None]  # an image, and what is given of a prompt
TOGETHER = 8  # texts whose words are placed in one pass,
TOKENS = 2048  # unless they have more tokens than this
AHEAD = 4  # times batch_size: images that are looked at, to find those of one size
IDLE = 1 << 30  # bytes of freed buffers that MLX may hold when images join


@dataclass(eq=False)
class Item:
    """An image that is being read."""

    index: int
    picture: Image.Image
    pixels: mx.array  # (1, H, W, C)
    prompt: Ids | None
    features: mx.array | None = None  # (1, S, D), where they are wanted again
    start: tuple[int, ...] = ()  # the prompt as it was fed, the start token first
    prompt_tps: float = 0.0
    begun: float = 0.0  # seconds, and
    before: int = 0  # tokens of the whole flow, when it began
    tps: float = 0.0  # of the whole flow, from then to its end

    @property
    def group(self) -> tuple[tuple[int, ...], int]:
        """What images that begin together have in common: their size and their prompt's length."""
        return tuple(self.pixels.shape), len(self.prompt or ())


@dataclass(frozen=True)
class Ladder:
    """Further attempts, where a text runs in circles or the model is less sure than wanted.

    steps -- the options of each attempt, in their order
    score -- mean log-probability below which a result is not taken
    """

    steps: Sequence[Options] = ()
    score: float | None = None

    def takes(self, result: GenerationResult) -> bool:
        """Whether a result needs no second attempt."""
        unsure = self.score is not None and result.score < self.score
        return result.error is None and result.finish_reason != "repetition" and not unsure


@dataclass
class ImageQueue:
    """Reads images with a model, a processor and options; `batch_size` images at a time."""

    model: VisionEncoderDecoderModel
    processor: Processor
    options: Options
    batch_size: int = 16
    boxes: bool = False
    ladder: Ladder = Ladder()
    progress: Callable[[GenerationResult], object] | None = None

    def __post_init__(self) -> None:
        match_images(self.model, self.processor)

    def read(self, sources: Iterator[Asked]) -> Iterator[GenerationResult]:
        """Results of images and prompts in their order, each as soon as it is its turn.

        What goes wrong with one image is its result. What `sources` raises comes after the results
        of the images before it.
        """
        work = _Work(self, enumerate(sources))
        following = 0
        while work.busy:
            for index, result in work.advance():
                work.results[index] = result
                if self.progress is not None:
                    self.progress(result)
            while following in work.results:
                yield work.results.pop(following)
                following += 1
        if work.failure is not None:
            raise work.failure

    def item(self, index: int, source: ImageSource, prompt: Ids | None) -> Item:
        """An image as it is read; `ImageError` where it cannot be."""
        picture = load_image(source)
        seen = self.processor.prepared(picture, source)
        pixels = self.model.encoder.narrowed(self.processor.pixels([seen]))
        return Item(index, picture, pixels, prompt)

    def begin(
        self, items: Sequence[Item], features: mx.array, keys: Sequence[Hashable], started: float
    ) -> tuple[Cohort, DecoderCache]:
        """Feed the prompts, of one length, of images with their features (B, S, D).

        started -- when the work on these images began, by `time.perf_counter`
        """
        given = [item.prompt for item in items if item.prompt] or None
        prompt, options = self.model.prompt(len(items), given, self.options)
        begun = self.model.begin(features, prompt, options, keys=keys)
        for place, item in enumerate(items):
            item.start = tuple(prompt[place].tolist())  # pyright: ignore[reportArgumentType]
            if self.boxes:
                item.features = features[place : place + 1]
        mx.eval(begun[0].state.next)
        now = time.perf_counter()
        for item in items:
            item.begun, item.prompt_tps = now, prompt.size / (now - started)
        return begun

    def results(
        self, ended: Sequence[tuple[Item, list[Decoded]]]
    ) -> Iterator[tuple[Item, GenerationResult]]:
        """The results of images that ended."""
        if self.processor.stops_on_repetition:
            ended = [(item, [without_loop(page) for page in decoded]) for item, decoded in ended]
        maps = self._attention([(item, one) for item, decoded in ended for one in decoded])
        for item, decoded in ended:
            try:
                result = self._result(item, decoded, maps)
            except ValueError as error:  # a text that says nothing, such as tags 100 deep
                result = GenerationResult(error=error)
            yield item, result

    def _attention(self, texts: list[tuple[Item, Decoded]]) -> dict[int, Maps]:
        """Where the decoder looked for each token of texts, by the texts' `id`."""
        found: dict[int, Maps] = {}
        texts = [(item, one) for item, one in texts if self.boxes and one.tokens]
        for shape in {item.pixels.shape for item, _ in texts}:
            alike = [pair for pair in texts if pair[0].pixels.shape == shape]
            longest = max(len(item.start) + len(one.tokens) for item, one in alike)
            size = max(1, min(TOGETHER, TOKENS // longest))
            grid = self.model.encoder.grid(*shape[1:3])
            for start in range(0, len(alike), size):
                items, ones = zip(*alike[start : start + size], strict=True)
                features = mx.concatenate([item.features for item in items])
                rows = [item.start for item in items], [one.tokens for one in ones]
                maps = token_attentions(self.model, features, *rows, grid)
                found |= {id(one): own for one, own in zip(ones, maps, strict=True)}
        return found

    def _result(
        self, item: Item, decoded: list[Decoded], maps: Mapping[int, Maps]
    ) -> GenerationResult:
        shared = GenerationResult(
            box=(0, 0, *item.picture.size),
            prompt_tokens=len(item.start),
            prompt_tps=item.prompt_tps,
            generation_tps=item.tps,
            peak_memory=mx.get_peak_memory() / 1e9,
        )
        first, *others = [self._one(item, one, shared, maps.get(id(one))) for one in decoded]
        return self.again(item, replace(first, alternatives=tuple(others)))

    def _one(
        self, item: Item, sequence: Decoded, shared: GenerationResult, maps: Maps | None
    ) -> GenerationResult:
        text, data = self.processor.read(item.start, sequence.tokens)
        found = replace(
            shared,
            text=text,
            data=data,
            tokens=sequence.tokens,
            token_logprobs=sequence.logprobs,
            score=sequence.score,
            finish_reason=sequence.reason,
        )
        if named := self.processor.named_parts(text, data):
            place = partial(self._place, item, maps) if maps is not None else None
            tokenizer, of = self.processor.required_tokenizer, (sequence.tokens, sequence.logprobs)
            found = replace(found, parts=parts_of(tokenizer, *of, named, place))
        if not self.boxes:
            return found
        boxes = word_boxes(
            self.model,
            self.processor,
            item.picture,
            sequence.tokens,
            sequence.logprobs,
            prompt=item.start,
            features=item.features,
            maps=maps,
        )
        return replace(found, boxes=boxes)

    def _place(self, item: Item, maps: Maps, indices: list[int]) -> Box:
        """The box in an image of some of its text's tokens."""
        geometry = geometry_of(self.processor, item.picture)
        grid = self.model.encoder.grid(geometry.size[1], geometry.size[0])
        return geometry.to_original(pixel_box(distinct(maps)[indices], grid.cell))

    def again(self, item: Item, result: GenerationResult) -> GenerationResult:
        """The first attempt's result that is taken, else the one of the highest score."""
        tried = [result]
        for step in self.ladder.steps:
            if self.ladder.takes(tried[-1]):
                break
            again = replace(self, options=step, ladder=Ladder(), progress=None)
            tried += again.read(iter([(item.picture, item.prompt)]))
        if self.ladder.takes(tried[-1]):
            return tried[-1]
        return max((r for r in tried if r.error is None), key=lambda r: r.score)


def without_loop(page: Decoded) -> Decoded:
    """A page that did not end by itself, without its loop, if it has one."""
    start = repetition_start(page.peaks) if page.reason != "stop" else None
    if start is None:
        return page
    kept = page.logprobs[:start]
    return replace(
        page,
        tokens=page.tokens[:start],
        logprobs=kept,
        score=sum(kept) / len(kept) if kept else 0.0,
        reason="repetition",
    )


class _Work:
    """The state of `ImageQueue.read`: items that wait, a flow, results that are not due."""

    def __init__(self, queue: ImageQueue, sources: Iterator[tuple[int, Asked]]):
        self.queue, self.sources = queue, sources
        self.flow = queue.model.stepper(queue.options).flow()
        self.group: tuple[tuple[int, ...], int] = ((), 0)  # that joined the flow last
        self.waiting: list[Item] = []
        self.going: dict[int, Item] = {}
        self.ended: list[tuple[Item, list[Decoded]]] = []  # whose results are to be made
        self.results: dict[int, GenerationResult] = {}
        self.failure: Exception | None = None
        self.dry = False  # nothing more comes from the sources
        self.generated = 0

    @property
    def busy(self) -> bool:
        return not self.dry or bool(self.waiting) or len(self.flow) > 0

    def advance(self) -> Iterator[tuple[int, GenerationResult]]:
        """Fill the flow and take a step; yields the results that this brings."""
        if len(self.flow) <= self.queue.batch_size // 2:
            yield from self._take_in()
        self.generated += len(self.flow)
        for key, decoded in self.flow.advance():
            item = self.going.pop(key)  # pyright: ignore[reportArgumentType]
            seconds = max(time.perf_counter() - item.begun, 1e-9)
            item.tps = (self.generated - item.before) / seconds
            self.ended.append((item, decoded))
        if not self.queue.boxes or len(self.ended) >= TOGETHER or not len(self.flow):
            ended, self.ended = self.ended, []
            yield from ((item.index, result) for item, result in self.queue.results(ended))

    def _take_in(self) -> Iterator[tuple[int, GenerationResult]]:
        if mx.get_cache_memory() > IDLE:  # batches of every size leave buffers of their own
            mx.clear_cache()
        yield from self._look()
        fits = [item for item in self.waiting if not len(self.flow) or self._joins(item)]
        for group in dict.fromkeys(item.group for item in fits):
            items = [item for item in fits if item.group == group]
            if len(self.flow) and not self._joins(items[0]):
                continue  # of another kind than those that came first
            self.waiting = [item for item in self.waiting if item not in items]
            try:
                self._join(items)
            except ValueError as error:
                yield from ((item.index, GenerationResult(error=error)) for item in items)
            else:
                self.group = group

    def _joins(self, item: Item) -> bool:
        """Whether an image can be decoded beside those of the flow: it is as large as they are.

        A window keeps as many tokens as the prompt has, so there prompts are equally long too.
        """
        window = self.queue.options.max_kv_size
        return item.group == self.group or (item.group[0] == self.group[0] and not window)

    def _look(self) -> Iterator[tuple[int, GenerationResult]]:
        """Read as many images as there is room for; yields errors of those that cannot be.

        Where images are of several sizes, some more are read to find those of one.
        """
        room, most = self.flow.room(self.queue.batch_size), AHEAD * self.queue.batch_size
        while not self.dry and len(self.waiting) < most and self._fitting() < room:
            try:
                index, (source, prompt) = next(self.sources)
            except StopIteration:
                self.dry = True
            except Exception as error:  # the caller's own: it is raised when its turn comes
                self.dry, self.failure = True, error
            else:
                try:
                    item = self.queue.item(index, source, prompt)
                except ValueError as error:
                    yield index, GenerationResult(error=error)
                else:
                    self.waiting.append(item)

    def _fitting(self) -> int:
        """How many of those that wait are of one size with the flow, or with the first of them."""
        size = self.group[0] if len(self.flow) or not self.waiting else self.waiting[0].group[0]
        return sum(item.group[0] == size for item in self.waiting)

    def _join(self, items: list[Item]) -> None:
        """Encode images of one size, feed their prompts, and take them into the flow."""
        started = time.perf_counter()
        features = self.queue.model.features(mx.concatenate([item.pixels for item in items]))
        keys = [item.index for item in items]
        begun = self.queue.begin(items, features, keys, started)
        for item in items:
            item.before = self.generated
        self.going |= {item.index: item for item in items}
        self.flow.add(*begun)
