"""Images of requests, sent or at addresses: which formats are read, and how many pixels at once.

Addresses are those of public hosts only. A name is resolved once, all its addresses are checked,
and the connection goes to the one that was, so that the name cannot mean another machine by then.
Each redirect is checked likewise.
"""

from __future__ import annotations

import base64
import binascii
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

from PIL import Image

from ..images.loading import header_of, load_image
from .limits import PICTURES
from .refusals import Refusal
from .requests import Late

# Pillow's names of the formats that are read: those that pictures come in, and whose readers start
# no other program, as that of EPS does.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF"),
)
IMAGE_FIELD = "messages.content.image_url"  # of a chat, as errors name it
REDIRECTS = 3
SECONDS = 30.0  # of a whole download
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
DATA = re.compile(r"data:[\w.+/-]*((?:;[\w.=+-]+)*),", re.IGNORECASE)


def data_of(uri: str) -> bytes:
    """The bytes of a data URI, in base64."""
    head = DATA.match(uri[:200])
    if head is None or not head[1].lower().endswith(";base64"):
        raise Refusal(
            400,
            f"{IMAGE_FIELD} begins with {ascii(uri[:40])}; expected data:image/png;base64, and the "
            "image",
            param=IMAGE_FIELD,
        )
    try:
        said = uri[head.end() :].encode().translate(None, b" \r\n")  # it may have lines
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError) as error:
        said = f"{IMAGE_FIELD} is not in base64 ({error}); encode it"
        raise Refusal(400, said, param=IMAGE_FIELD) from None


class PictureRoom:
    """Room for the pixels of all images that are being read, and that wait for it."""

    def __init__(self, pixels: int = PICTURES) -> None:
        self.left = pixels
        self._changed = threading.Condition()

    @contextmanager
    def picture(self, content: bytes, deadline: float) -> Iterator[Image.Image]:
        """An image in 8-bit RGB, while the context lasts; `Late` where room comes too late.

        `ImageError` for what is no image or too large, which is known before it is decoded.
        """
        kind, (width, height) = header_of(content)
        if kind not in FORMATS:
            known = ", ".join(FORMATS)
            raise Refusal(400, f"the image is in the format {kind[:20]}; expected one of {known}")
        pixels = width * height
        with self._changed:
            timeout = max(0.0, deadline - time.monotonic())
            if not self._changed.wait_for(lambda: self.left >= pixels, timeout):
                raise Late
            self.left -= pixels
        try:
            yield load_image(content)
        finally:
            with self._changed:
                self.left += pixels
                self._changed.notify_all()


# Downloads


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
