"""A client's connection: what it sends by a deadline, and whether it is still there."""

from __future__ import annotations

import io
import select
import socket
import time
from typing import Any

from .limits import (
    BODY_RATE,
    BODY_SECONDS,
    HEAD_BYTES,
    HEAD_SECONDS,
    IDLE_SECONDS,
    SEND_SECONDS,
)

LINGER_SECONDS, LINGER_BYTES = 1.0, 2**24  # what is read and dropped before a connection ends


class HeadTooLong(Exception):
    """A request's line and headers have more bytes than they may."""


class Incoming(io.RawIOBase):
    """The bytes that a client sends; `TimeoutError` where they come too slowly.

    A client may wait between requests, but once a head has begun it has to come, and so has a body,
    at a rate: each byte may not have the time that all of it has.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.idle()

    def idle(self) -> None:
        """Wait for a request."""
        self._expect(IDLE_SECONDS, HEAD_BYTES)

    def head(self) -> None:
        """Wait for the head of the request that has begun."""
        self._expect(HEAD_SECONDS, HEAD_BYTES)

    def body(self) -> None:
        """Wait for a request's body."""
        self._expect(BODY_SECONDS, None, BODY_RATE)

    def _expect(self, seconds: float, room: int | None, rate: float = 0.0) -> None:
        self.deadline, self.room, self.rate = time.monotonic() + seconds, room, rate

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come, or comes in time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client sends too slowly")
        if self.room is not None and self.room <= 0:
            raise HeadTooLong
        self.connection.settimeout(left)
        try:
            count = self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(SEND_SECONDS)
        if self.room is not None:
            self.room -= count
        if self.rate:
            self.deadline += count / self.rate
        return count


def is_gone(connection: socket.socket) -> bool:
    """Whether a client has closed its connection, at least for what it sends."""
    try:
        ready = select.poll()
        ready.register(connection, select.POLLIN)
        return bool(ready.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True


def linger(connection: socket.socket) -> None:
    """Drop what a client still sends, for a moment: a close would take the answer from it."""
    end, left = time.monotonic() + LINGER_SECONDS, LINGER_BYTES
    try:
        connection.shutdown(socket.SHUT_WR)
        while left > 0 and (seconds := end - time.monotonic()) > 0:
            connection.settimeout(seconds)
            dropped = len(connection.recv(2**16))
            if not dropped:
                return
            left -= dropped
    except OSError:
        return
