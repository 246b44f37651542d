"""The one thread that has the model: the images of all requests, read in running batches.

MLX computes in one thread only, so all its work is done in `run`; other threads submit requests and
are told of tokens and results. Images join a batch where they fit beside those there, whatever
their options, and each leaves as it ends. Batches of unequal kinds take their steps in turn.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import mlx.core as mx

from ..errors import ProcessError
from ..generation.options import Options
from ..generation.search import Decoded
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.image_queue import IDLE, ImageQueue, Item
from ..reading.processor import Processor
from ..reading.results import GenerationResult
from .batch import Batch, Job
from .requests import Broken, Closing, Failed, Gone, Read, Request, Task, next_of

Result = TypeVar("Result")
LOG = logging.getLogger("mlx_vedec")
REST = 10.0  # seconds without a request, after which MLX gives the memory back that it keeps


class Worker:
    """Reads what is submitted with a model, at most `max_batch` images at a time.

    One with more rows than an image has by the checkpoint's own options counts as several.
    """

    def __init__(
        self, model: VisionEncoderDecoderModel, processor: Processor, max_batch: int = 16
    ) -> None:
        self.model, self.processor, self.max_batch = model, processor, max_batch
        self.usual_rows = model.generation_options(**processor.task_options()).sequences_per_image
        self.submitted: queue.SimpleQueue[Request | Task | None] = queue.SimpleQueue()
        self.requests: dict[Request, None] = {}  # those that are not read yet
        self.turns: deque[Request] = deque()  # those with images that wait
        self.again: list[Job] = []  # whose batch has failed
        self.batches: dict[Hashable, Batch] = {}
        self.ends: float | None = None  # when what is still there is given up
        self.closed = False
        self._closing = threading.Lock()

    @contextmanager
    def reading(self, request: Request) -> Iterator[None]:
        """Within it a request is read; `Closing` where no more are."""
        self._submit(request)
        try:
            yield
        finally:
            request.cancelled = True  # which changes nothing once it is read

    def call(self, function: Callable[[], Result], deadline: float) -> Result:
        """What a function gives in the thread with the model; `Late` where that comes late."""
        task = Task(function)
        self._submit(task)
        return next_of(task.told, deadline)

    def _submit(self, asked: Request | Task) -> None:
        with self._closing:
            if self.closed:
                raise Closing
            self.submitted.put(asked)

    def stop(self, grace: float = 0.0) -> None:
        """Let `run` return when all is read, or after so many seconds."""
        self.ends = time.monotonic() + grace
        self.submitted.put(None)

    def run(self) -> None:
        """Read until `stop` is called."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of one image or prompt, for its reader
            while True:
                self._receive()
                if self.ends is not None and (not self.requests or time.monotonic() > self.ends):
                    break
                try:
                    self._go_on()
                except Exception:
                    LOG.error("reading failed: %s", traceback.format_exc())
                    self._give_up(Broken())
        with self._closing:
            self.closed = True
        self._receive()
        self._give_up(Closing())

    def _go_on(self) -> None:
        """Forget, begin, and take a step in each batch."""
        self._forget()
        self._take_in()
        for kind, batch in [*self.batches.items()]:
            self._advance(batch)
            if not batch.jobs:
                del self.batches[kind]

    def _give_up(self, error: Exception) -> None:
        """Fail all requests."""
        for request in self.requests:
            request.told.put(Failed(error))
        for held in (self.requests, self.turns, self.again, self.batches):
            held.clear()

    def _receive(self) -> None:
        """Take what was submitted; where nothing is being read, wait for it."""
        if not self.requests and self.ends is None:
            try:
                first = self.submitted.get(timeout=REST)
            except queue.Empty:
                mx.clear_cache()
                first = self.submitted.get()
            self._enter(first)
        while not self.submitted.empty():
            self._enter(self.submitted.get())

    def _enter(self, request: Request | Task | None) -> None:
        if isinstance(request, Task):
            request.run()
        elif request is not None and request.waiting:
            self.requests[request] = None
            self.turns.append(request)

    def _forget(self) -> None:
        """Drop the rows of requests whose clients are not there any more."""
        for request in [r for r in self.requests if r.cancelled or r.is_gone()]:
            self._fail(request, Gone())

    def _fail(self, request: Request, error: Exception) -> None:
        """Drop all that there is of a request, and tell it why."""
        if request not in self.requests:
            return
        del self.requests[request]
        if request in self.turns:
            self.turns.remove(request)
        self.again = [job for job in self.again if job.request is not request]
        for batch in self.batches.values():
            batch.leave(request)
        request.told.put(Failed(error))

    def _break(self, request: Request) -> None:
        """Fail a request by an exception that is being handled."""
        LOG.error("an image could not be read: %s", traceback.format_exc())
        self._fail(request, Broken())

    # From requests to batches

    def weight(self, options: Options, item: Item | None = None) -> float:
        """As how many images one with these options counts; a narrow one as a part of that."""
        part = 1.0 if item is None else self.model.encoder.part(item.pixels)
        return part * -(-options.sequences_per_image // self.usual_rows)

    def _take_in(self) -> None:
        """Begin reading as many images as there is room for."""
        if mx.get_cache_memory() > IDLE:
            mx.clear_cache()
        jobs = [*self.again, *self._chosen()]
        self.again = []
        for _, alike in _grouped(jobs, lambda job: job.kind):
            self._begin(alike)

    def _chosen(self) -> list[Job]:
        """The images whose turn it is, one of each request after another.

        They wait until half of the batch is free: those that begin together cost less.
        """
        jobs: list[Job] = []
        jobs_there = [job for batch in self.batches.values() for job in batch.jobs.values()]
        room = self.max_batch - sum(self.weight(j.request.options, j.item) for j in jobs_there)
        if self.batches and room < self.max_batch / 2:
            return jobs
        while self.turns:
            request = self.turns[0]
            weight = self.weight(request.options)
            if weight > room and (jobs or self.batches):
                break
            self.turns.popleft()
            image = request.waiting.popleft()
            if request.waiting:
                self.turns.append(request)
            try:
                item = self._queue(request).item(image, request.pictures[image], request.prompt)
            except ValueError as error:
                self._tell(request, image, GenerationResult(error=error))
            except Exception:
                self._break(request)
            else:
                jobs.append(Job(request, image, item))
                room -= self.weight(request.options, item)
        return jobs

    def _queue(self, request: Request) -> ImageQueue:
        return ImageQueue(self.model, self.processor, request.options, boxes=request.boxes)

    def _begin(self, jobs: list[Job]) -> None:
        """Encode images of one kind, and take them into its batch."""
        try:
            features = self.model.features(mx.concatenate([job.item.pixels for job in jobs]))
        except Exception as error:
            self._undo(jobs, error)
            return
        batch = self.batches.setdefault(jobs[0].kind, Batch(self.model))
        places = {job: place for place, job in enumerate(jobs)}
        for _, alike in _grouped(jobs, lambda job: job.group):
            own = features[mx.array([places[job] for job in alike])]
            queue = self._queue(alike[0].request)
            queue.boxes = any(job.request.boxes or job.request.features for job in alike)
            items, keys = [job.item for job in alike], [job.key for job in alike]
            try:
                begun = queue.begin(items, own, keys, time.perf_counter())
            except Exception as error:
                self._undo(alike, error)
                continue
            try:
                batch.join(alike, *begun)
            except Exception as error:
                self._undo(batch.left(), error)

    def _undo(self, jobs: list[Job], error: Exception) -> None:
        """Where something went wrong with several images, read each alone; else tell of it."""
        if len(jobs) > 1:
            for job in jobs:
                job.alone = True
            self.again += jobs
        else:
            [job] = jobs
            if isinstance(error, ValueError) and not isinstance(error, ProcessError):
                self._tell(job.request, job.image, GenerationResult(error=error))
            else:
                self._break(job.request)

    # From batches to results

    def _advance(self, batch: Batch) -> None:
        try:
            ended = [*batch.advance()]
        except Exception as error:
            self._undo(batch.left(), error)
            return
        for boxes in (False, True):
            own = [pair for pair in ended if pair[0].request.boxes == boxes]
            if own:
                self._results(own)

    def _results(self, ended: list[tuple[Job, list[Decoded]]]) -> None:
        """Make and tell the results of images that ended together."""
        jobs = {id(job.item): job for job, _ in ended}
        queue = self._queue(ended[0][0].request)
        try:
            for item, result in queue.results([(job.item, decoded) for job, decoded in ended]):
                job = jobs.pop(id(item))
                self._tell(job.request, job.image, result, item)
        except Exception as error:
            self._undo([*jobs.values()], error)

    def _tell(
        self, request: Request, image: int, result: GenerationResult, item: Item | None = None
    ) -> None:
        request.told.put(Read(image, result, item))
        request.unread -= 1
        if not request.unread:
            self.requests.pop(request, None)


def _grouped(
    jobs: Iterable[Job], key: Callable[[Job], Hashable]
) -> Iterable[tuple[Hashable, list[Job]]]:
    """Jobs by a key, in the order in which each comes first."""
    groups: dict[Hashable, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return groups.items()
