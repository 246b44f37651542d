"""What a client's request asks of the model, and what it is told while it is read."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..generation.options import Options
from ..reading.image_queue import Item
from ..reading.results import GenerationResult


@dataclass(frozen=True)
class Token:
    """A token that a text took: the number of the text among those of its image, and the id.

    logprob -- None with beams. likeliest -- ids of the step with their log-probabilities, best
    first, as many as were asked for
    """

    sequence: int
    id: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Read:
    """An image that was read: its number in the request, and its result, which may be an error.

    item -- the image as the model saw it, with its features where the request keeps these
    """

    image: int
    result: GenerationResult
    item: Item | None = None


@dataclass(frozen=True)
class Failed:
    """A request that will not be read to its end."""

    error: Exception


Event = Token | Read | Failed


class Late(Exception):
    """A request has taken longer than it may."""


class Broken(Exception):
    """An image could not be read, and it is not the client's fault."""


class Gone(ConnectionError):
    """The client went away."""


class Closing(Exception):
    """The server takes no more requests."""


def next_of(told: queue.SimpleQueue[Any], deadline: float) -> Any:
    """What is told next; the error of `Failed`, and `Late` at a time of `time.monotonic`."""
    try:
        found = told.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise Late from None
    if isinstance(found, Failed):
        raise found.error
    return found


@dataclass(eq=False)
class Task:
    """Something else that the thread with the model computes, between two steps."""

    function: Callable[[], Any]
    told: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def run(self) -> None:
        """Compute it, and tell what came of it."""
        try:
            self.told.put(self.function())
        except Exception as error:
            self.told.put(Failed(error))


@dataclass(eq=False)
class Request:
    """Images to be read with one prompt and the same options.

    tokens -- tell each token, for requests of one image; likeliest -- with so many ids of each step
    features -- keep what the encoder gives of each image, for those who look at it again
    is_gone -- whether the client went away, asked before every step; cancelled -- nobody waits
    waiting, unread -- the worker's: images that it has not begun, how many have no result yet
    """

    pictures: Sequence[Image.Image]
    options: Options
    prompt: Sequence[int] | None = None
    boxes: bool = False
    features: bool = False
    tokens: bool = False
    likeliest: int = 0
    is_gone: Callable[[], bool] = lambda: False
    cancelled: bool = False
    told: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    waiting: deque[int] = field(init=False)
    unread: int = field(init=False)

    def __post_init__(self) -> None:
        self.unread = len(self.pictures)
        self.waiting = deque(range(self.unread))

    def events(self, deadline: float) -> Iterator[Event]:
        """What it is told until all images are read; `Late` at a time of `time.monotonic`."""
        left = len(self.pictures)
        while left:
            event = next_of(self.told, deadline)
            left -= isinstance(event, Read)
            yield event
