"""`POST /page/look`: other readings of one line, and where the decoder looked for each word."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..images.loading import as_file
from ..pages.reading import WHOLE_PAGES
from ..pages.strips import pieces_of
from ..reading.image_queue import Item
from ..reading.results import GenerationResult
from ..reading.word_boxes import Maps, distinct, geometry_of, token_attentions
from ..text.spelling import words_of
from .handler import Handler
from .read import received
from .refusals import Refusal
from .requests import Read, Request
from .sent_pages import SentLine, line_of
from .service import Service

OTHERS = 5  # beams, and the texts of a line that are told
INK = (214, 88, 0)  # what is laid over the image where the decoder looked


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
    if service.processor.processor_class in WHOLE_PAGES:
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
