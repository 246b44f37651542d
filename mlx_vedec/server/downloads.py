"""Images from addresses in requests: of public hosts only, within bounds of size and time.

A name is resolved once, all its addresses are checked, and the connection goes to the one that was,
so that the name cannot mean another machine by then. Each redirect is checked likewise.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urljoin, urlsplit

from .pictures import IMAGE_FIELD
from .refusals import Refusal

REDIRECTS = 3
SECONDS = 30.0  # of a whole download
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, deadline: float, most: int) -> bytes:
    """The content of an address, of at most so many bytes, by a time of `time.monotonic`."""
    deadline = min(deadline, time.monotonic() + SECONDS)
    for _ in range(REDIRECTS + 1):
        with _response(url, deadline) as response:
            moved = response.getheader("Location")
            if response.status in (301, 302, 303, 307, 308) and moved:
                url = urljoin(url, moved)
                continue
            if response.status != 200:
                raise _refusal(url, f"its server answers {response.status}")
            content = response.read(most + 1)
            if len(content) > most:
                raise _refusal(url, f"it has over {most} bytes")
            if time.monotonic() > deadline:
                raise _refusal(url, "it takes too long")
            return content
    raise _refusal(url, f"it is led on more than {REDIRECTS} times")


@contextmanager
def _response(url: str, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """What the server of an address answers."""
    parts = _checked(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connected: socket.socket | None = None
    watch = None
    try:
        address = _public_address(parts.hostname or "", port)
        connected = socket.create_connection((str(address), port), deadline - time.monotonic())
        watch = threading.Timer(deadline - time.monotonic(), _cut, (connected,))
        watch.start()
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=parts.hostname)
        connection = http.client.HTTPConnection(parts.hostname or "", port)
        connection.sock = connected
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        agent = {"User-Agent": "mlx_vedec", "Accept": "image/*", "Connection": "close"}
        connection.request("GET", target, headers=agent)
        response = connection.getresponse()
        with contextlib.closing(response):
            yield response
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _refusal(url, f"it cannot be downloaded ({type(error).__name__})") from None
    finally:
        if watch is not None:
            watch.cancel()
        if connected is not None:
            connected.close()


def _cut(connected: socket.socket) -> None:
    """End a connection that takes too long, whatever is being waited for."""
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        port = parts.port
    except ValueError:
        fits, parts, port = False, urlsplit(""), None
    unsafe = any(ord(character) <= 32 or ord(character) > 126 for character in url)
    if not fits or unsafe or len(url) > 4000 or port == 0:
        raise _refusal(url, "expected http:// or https:// and a host, without a user's name")
    return parts


def _public_address(host: str, port: int) -> Address:
    """An address of a host, all of whose addresses are public."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _refusal(host, "it is no public address; send the image itself")
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether an address is of a machine on the net, and not of this one or one near it.

    >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "10.0.0.1", "::1")]
    [True, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo
    ):
        return False  # an address of IPv4 within one of IPv6
    return address.is_global and not address.is_multicast and not address.is_reserved


def _refusal(url: str, why: str) -> Refusal:
    named = re.sub("//[^/@]*@", "//…@", url[:200])
    return Refusal(400, f"the image {ascii(named)}: {why}", param=IMAGE_FIELD)
