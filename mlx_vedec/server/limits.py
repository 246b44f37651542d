"""How much a server takes on, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError, check_whole
from ..images.boxes import PIXEL_LIMIT

MEGABYTE = 2**20
HEAD_BYTES = 64 * 2**10  # of a request's line and headers
HEAD_SECONDS = 10.0  # for them to come
IDLE_SECONDS = 60.0  # that a connection may wait for its next request
SEND_SECONDS = 30.0  # that a client may take to receive what is sent
BODY_SECONDS, BODY_RATE = 10.0, 50_000.0  # a body comes at this many bytes a second, after a while
CONNECTIONS = 256  # that are open at once
IMAGES = 100  # of a chat, earlier messages counted
MESSAGES = 1000
OPTION_ITEMS = 1000  # of an option that is a list, lists in it counted
STOPS, STOP_LENGTH = 16, 1000  # texts that end a text, and characters of each
PICTURES = 2 * PIXEL_LIMIT  # pixels of all images that wait, and that are being read
MOST_LIKELIEST = 20  # ids of a step


def _limit(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Limits:
    """What may be set of it."""

    max_batch: int = _limit(
        16, "The number of images that are read at once, fewer with more beams than usual."
    )
    max_queue: int = _limit(
        64, "The number of requests that are taken in at once; others are answered with 429."
    )
    max_body: float = _limit(20.0, "The largest body of a request, in megabytes.")
    timeout: float = _limit(
        120.0, "Seconds that a request may take once it has come; then it is answered with 504."
    )
    grace: float = _limit(
        30.0, "Seconds that the requests that are there have to end when the server is stopped."
    )

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue"):
            check_whole(name, getattr(self, name), 1)
        for name, least in (("max_body", 0.001), ("timeout", 0.001), ("grace", 0)):
            if not least <= getattr(self, name) <= 1e6:
                raise OptionError(
                    f"{name} is {getattr(self, name)}; expected a number from {least} to 1000000"
                )

    @property
    def body_bytes(self) -> int:
        """The largest body in bytes."""
        return int(self.max_body * MEGABYTE)
