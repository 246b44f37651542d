"""Images that clients send: which formats are read, and how many pixels at once."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
