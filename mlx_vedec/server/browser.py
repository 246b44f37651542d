"""What the page in the browser asks for: its three files, other readings of a line, corrections.

A page that it sends back is as `/v1/read` told it, its texts corrected.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..images.loading import as_file
from ..pages.formats import ENDINGS, check_format, to_bytes
from ..pages.strips import pieces_of
from ..reading.image_queue import Item
from ..reading.processor import TrOCRProcessor
from ..reading.results import GenerationResult
from ..reading.word_boxes import Maps, distinct, geometry_of, token_attentions
from ..text.streaming import words_of
from ..version import __version__
from .fields import as_json
from .handler import Handler
from .read import TYPES, received
from .refusals import Refusal, wrong
from .requests import Read, Request
from .sent_pages import SentLine, layout_of, line_of
from .service import Service

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
ABOUT = "/page/about"
# The page asks nobody but this server, and no other site shows it in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
OTHERS = 5  # beams, and the texts of a line that are told
INK = (214, 88, 0)  # what is laid over the image where the decoder looked


def site(handler: Handler) -> None:
    """Answer with a file of the page."""
    name, kind = FILES[handler.path.partition("?")[0]]
    handler.answer(200, _content(name), {"Content-Security-Policy": POLICY}, kind)


@cache
def _content(name: str) -> bytes:
    return (Path(__file__).parent / name).read_bytes()


def about(handler: Handler) -> None:
    """Answer with what the page shows of the server, and lets be done there.

    whole -- the model reads pages, so no lines are found. lines -- whether it is one for lines
    """
    service, processor = handler.service, handler.service.processor
    handler.answer(
        200,
        {
            "model": service.name,
            "version": __version__,
            "key": bool(service.access.keys),
            "whole": processor.reads_whole_pages,
            "lines": isinstance(processor, TrOCRProcessor) or bool(processor.line_aspect_ratio),
            "formats": ENDINGS,
            "corrections": service.corrections is not None,
            "corrections_problem": service.problem,
        },
    )


# Pages that are sent back


def write_page(handler: Handler) -> None:
    """Answer with a page that the client sends, in a format of `pages/`: `{"page", "format"}`."""
    values = as_json(handler.body())
    name = check_format(values.get("format", "page"))
    if name == "pdf":
        raise Refusal(400, "a PDF needs the image; ask /v1/read for it", param="format")
    layout = layout_of(values.get("page"))
    handler.answer(200, to_bytes(layout, name), kind=TYPES[name])


def save(handler: Handler) -> None:
    """Write a form's corrected `page` with its `image`; `after` is the revision it came from."""
    service = handler.service
    if service.corrections is None:
        why = service.problem or "it was started without --corrections"
        raise Refusal(403, f"this server saves no corrections: {why}", code="no_corrections")
    with service.place():
        content, fields = received(handler)
        layout = layout_of(fields.get("page"))
        after = _after(fields)
        with service.pictures.picture(content, service.deadline()) as picture:
            if layout.size != picture.size:
                size = f"{picture.width}x{picture.height}"
                raise Refusal(
                    400, f"the page is {layout.size[0]}x{layout.size[1]} and its image {size}"
                )
            handler.answer(200, service.corrections.save(content, picture, layout, after))


def _after(fields: Mapping[str, Any]) -> int | None:
    after = fields.get("after", 0)
    if after is not None and (type(after) is not int or after < 0):
        raise wrong("after", after, "a revision's number, or null")
    return after


# Looks at a line


def look(handler: Handler) -> None:
    """Answer with the pieces of a line: their pictures, texts, and a picture for each word.

    The form has the page's `image`, and the `line` as `/v1/read` told it: the texts and words are
    those of its pieces there, else those of the best beam.
    """
    service = handler.service
    with service.place():
        content, fields = received(handler)
        line = line_of(fields.get("line"), "line")
        deadline = service.deadline()
        options = {"num_beams": OTHERS, "num_return_sequences": OTHERS}
        most = service.limits.max_batch
        settled = service.settled(options if most >= OTHERS else {}, grammar=False)
        with service.pictures.picture(content, deadline) as picture:
            pieces = _pieces(service, picture, line)
            request = Request(pieces, settled, features=True, is_gone=handler.is_gone)
            read: dict[int, Read] = {}
            with service.worker.reading(request):
                for event in request.events(deadline):
                    assert isinstance(event, Read)
                    read[event.image] = event
            told = line.read if len(line.read) == len(pieces) else (None,) * len(pieces)
            found = [
                service.worker.call(lambda r=read[i], t=text: _seen(service, r, t), deadline)
                for i, text in enumerate(told)
            ]
        handler.answer(200, {"pieces": found})


def _pieces(service: Service, picture: Image.Image, line: SentLine) -> list[Image.Image]:
    aspect = service.processor.line_aspect_ratio
    if service.processor.reads_whole_pages:
        raise Refusal(400, "this model reads whole pages; there are no lines to look at")
    return [piece.picture for piece in pieces_of(picture, line, aspect)]


def _seen(service: Service, read: Read, told: str | None) -> dict[str, Any]:
    """What is told of a piece that was read; computed by the thread that has the model."""
    if read.result.error is not None:
        raise read.result.error
    assert read.item is not None
    readings = (read.result, *read.result.alternatives)
    text = read.result.text if told is None else told
    tokens = _tokens(service, readings, text)
    words = words_of(service.processor.required_tokenizer, tokens)
    maps = _maps(service, read.item, tokens) if words else np.zeros(0, np.float32)
    return {
        "picture": _data_uri(read.item.picture),
        "text": text,
        "words": [
            {"text": word, "looked": _data_uri(_overlay(service, read.item, maps[places]))}
            for word, places in words
        ],
        "alternatives": [
            {"text": other.text, "confidence": round(other.confidence, 6)}
            for other in readings
            if other.text != text
        ],
    }


def _tokens(service: Service, readings: Sequence[GenerationResult], text: str) -> list[int]:
    """The tokens of a text: those of a reading that has it, else the tokenizer's own."""
    for reading in readings:
        if reading.text == text:
            return [*reading.tokens]
    most = service.settled({}, grammar=False).max_length
    return service.processor.required_tokenizer.encode(text, add_special_tokens=False)[:most]


def _maps(service: Service, item: Item, tokens: Sequence[int]) -> Maps:
    """Where the decoder looked for each token, (T, rows, columns)."""
    assert item.features is not None
    grid = service.model.encoder.grid(*item.pixels.shape[1:3])
    [maps] = token_attentions(service.model, item.features, [item.start], [tokens], grid)
    return distinct(maps)


def _overlay(service: Service, item: Item, maps: Maps) -> Image.Image:
    """A picture as large as the piece, opaque where the tokens of a word looked most."""
    geometry = geometry_of(service.processor, item.picture)
    share = maps.max(axis=0)
    share = share / max(float(share.max()), 1e-9)
    height, width = service.model.encoder.grid(*item.pixels.shape[1:3]).cell
    alpha = np.zeros((item.picture.height, item.picture.width))
    for row, column in zip(*np.nonzero(share > 0.02), strict=True):
        cell = column * width, row * height, (column + 1) * width, (row + 1) * height
        left, top, right, bottom = geometry.to_original(cell)
        part = alpha[top:bottom, left:right]
        np.maximum(part, share[row, column], out=part)
    found = Image.new("RGBA", item.picture.size, INK)
    found.putalpha(Image.fromarray((170 * alpha).astype(np.uint8)))
    return found


def _data_uri(picture: Image.Image) -> str:
    return "data:image/png;base64," + b64encode(as_file(picture, "PNG")).decode()
