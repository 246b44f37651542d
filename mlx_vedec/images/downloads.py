"""The bytes of an image on the net or on standard input, bounded in size and time."""

from __future__ import annotations

import queue
import sys
import threading
import time

from ..errors import ImageError

BYTE_LIMIT = 100 * 2**20  # of a download, and of standard input
TIMEOUT = 30.0  # seconds without a byte from a server,
DEADLINE = 120.0  # and seconds of a whole download


def standard_input() -> bytes:
    """All that standard input holds."""
    return _bounded(sys.stdin.buffer.read(BYTE_LIMIT + 1), "standard input")


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > BYTE_LIMIT:
        raise ImageError(
            f"{name} has over {BYTE_LIMIT} bytes, the limit; shrink it, or give a file"
        )
    return content


def download(url: str) -> bytes:
    """The content of an address, within `DEADLINE`.

    A thread waits for the server, since one that sends a byte now and then, headers too, meets
    every limit there is for a single read.
    """
    done: queue.SimpleQueue[bytes | ImageError] = queue.SimpleQueue()
    threading.Thread(target=lambda: done.put(_content(url)), daemon=True).start()
    try:
        content = done.get(timeout=DEADLINE)
    except queue.Empty:
        content = ImageError(
            f"{url} takes over {DEADLINE:g} seconds; expected an image by then; download it, and "
            "give the file"
        )
    if isinstance(content, ImageError):
        raise content
    return _bounded(content, url)


def _content(url: str) -> bytes | ImageError:
    """What a server sends, up to a byte more than the limit, or what is wrong with it."""
    from http.client import HTTPException  # these start slowly, and few images come from the net
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"User-Agent": "mlx_vedec"})
        content, end = bytearray(), time.monotonic() + DEADLINE
        with urlopen(request, timeout=TIMEOUT) as response:
            while len(content) <= BYTE_LIMIT and time.monotonic() < end:
                piece = response.read1(2**16)
                if not piece:
                    break
                content += piece
        return bytes(content)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it keeps the connection
        return ImageError(
            f"{url[:200]} cannot be downloaded ({str(error)[:200]}); check the address, or give a "
            "file"
        )
