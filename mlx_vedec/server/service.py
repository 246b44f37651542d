"""What all that answers requests shares: the model's worker, limits, places, access."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..generation.options import Options
from ..generation.values import SEEDS
from ..reading.generate import settle
from .access import Access
from .corrections import Corrections
from .limits import OPTION_ITEMS, STOP_LENGTH, STOPS, Limits
from .pictures import IMAGE_FIELD, PictureRoom
from .refusals import Refusal
from .worker import Worker

KEPT = 31  # settled options beside the newest, which take a while to settle


class Service:
    """A model under a name, with its worker.

    fetch -- gives the content of an address by a time, up to so many bytes; None where addresses
    are not let. corrections -- where corrected pages are written; None where they are not, and
    `problem` says why if they were to be
    """

    def __init__(
        self,
        worker: Worker,
        name: str,
        limits: Limits,
        access: Access,
        fetch: Callable[[str, float, int], bytes] | None = None,
    ) -> None:
        self.corrections: Corrections | None = None
        self.problem: str | None = None
        self.worker, self.name, self.limits, self.access = worker, name, limits, access
        self.model, self.processor = worker.model, worker.processor
        self.pictures = PictureRoom()
        self.started = int(time.time())
        self._fetch = fetch
        self.stopping = False  # whether no more requests are taken in
        self._here = 0  # requests that have a place
        self._left = threading.Condition()
        self._seconds = 1.0  # that requests took lately
        self._settled: dict[str, Options] = {}  # of requests before, by what they asked for

    def keep_corrections(self, folder: Path) -> None:
        """Write corrected pages to a folder, if that can be."""
        try:
            self.corrections = Corrections(folder, self.processor.line_aspect_ratio)
        except OptionError as error:
            self.problem = str(error)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Within it a request is one of those that were taken in; 429 where there are too many."""
        with self._left:
            if self.stopping:
                raise Refusal(503, "the server is being stopped; ask again later")
            if self._here >= self.limits.max_queue:
                raise Refusal(
                    429,
                    f"{self._here} requests are being read; expected at most "
                    f"{self.limits.max_queue} at once; ask again later",
                    code="rate_limit_exceeded",
                    headers={"Retry-After": str(min(60, math.ceil(self._seconds)))},
                )
            self._here += 1
        began = time.monotonic()
        try:
            yield
        finally:
            with self._left:
                self._here -= 1
                self._seconds += 0.2 * (time.monotonic() - began - self._seconds)
                self._left.notify_all()

    def wait_until_left(self, seconds: float) -> bool:
        """Wait until the requests that have a place are answered, at most so long; if they are."""
        with self._left:
            return self._left.wait_for(lambda: not self._here, seconds)

    def deadline(self) -> float:
        """When a request that has come now is answered with 504, by `time.monotonic`."""
        return time.monotonic() + self.limits.timeout

    def settled(self, options: Mapping[str, Any], *, grammar: bool) -> Options:
        """The options that a text is read by; an `OptionError` where they are wrong.

        Those that draw have a seed: a text that has to be begun again is then the same.
        """
        asked = json.dumps([options, grammar], sort_keys=True)
        found = self._settled.get(asked)
        if found is None:
            found = self._settle(options, grammar=grammar)
            if len(asked) < 1000:
                self._settled = {asked: found, **dict(islice(self._settled.items(), KEPT))}
        if found.do_sample and found.seed is None:
            return replace(found, seed=random.randrange(SEEDS))
        return found

    def _settle(self, options: Mapping[str, Any], *, grammar: bool) -> Options:
        for name, value in options.items():
            if _items(value) > OPTION_ITEMS:
                raise Refusal(
                    400, f"{name} has over {OPTION_ITEMS} items; expected no more", param=name
                )
        found = settle(self.model, self.processor, {**options}, grammar=grammar)
        if not found.do_sample:
            found = replace(found, seed=None)  # alike options are decoded together
        most = self.limits.max_batch * self.worker.usual_rows
        if found.sequences_per_image > most:
            raise Refusal(
                400,
                f"{found.sequences_per_image} texts or beams of an image are asked for; expected "
                f"at most {most}, as many as this server reads at once",
            )
        stops = found.stop_strings
        if len(stops) > STOPS or any(len(stop) > STOP_LENGTH for stop in stops):
            raise Refusal(
                400,
                f"stop has {len(stops)} texts, the longest of {max(map(len, stops))} characters; "
                f"expected at most {STOPS}, of {STOP_LENGTH}",
                param="stop",
            )
        return found

    def fetch(self, url: str, deadline: float) -> bytes:
        """The content of an address, where addresses are let."""
        if self._fetch is None:
            raise Refusal(
                400,
                "images are not downloaded from addresses by this server; send the image itself, "
                "as data:image/png;base64,…, or start the server with --allow-urls",
                param=IMAGE_FIELD,
            )
        return self._fetch(url, deadline, self.limits.body_bytes)


def _items(value: Any) -> int:
    """How many items a list or an object has, those of lists in it counted."""
    if isinstance(value, Mapping):
        value = [*value.items()]
    if not isinstance(value, (list, tuple)):
        return 0
    return len(value) + sum(map(_items, value))
