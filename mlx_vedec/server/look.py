"""`POST /page/look`: other readings of one line, and where the decoder looked for each word."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from ..pages.layout import Line
from ..pages.reading import WHOLE_PAGES
from ..pages.strips import pieces_of
from ..reading.processor import Processor
from ..reading.results import GenerationResult
from ..reading.word_boxes import Maps, distinct, geometry_of, token_attentions
from ..text.spelling import words_of
from .handler import Handler
from .read import received
from .refusals import Refusal
from .requests import Read, Request
from .sent_pages import line_of
from .service import Service

OTHERS = 5  # beams, and the texts of a line that are told
INK = (214, 88, 0)  # what is laid over the image where the decoder looked


def look(handler: Handler) -> None:
    """Answer with the pieces of a line: their pictures, texts, and a picture for each word.

    The form has the page's `image`, and the `line` as `/v1/read` told it.
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
            request = Request(pieces, settled, is_gone=handler.is_gone)
            results: dict[int, GenerationResult] = {}
            with service.worker.reading(request):
                for event in request.events(deadline):
                    if isinstance(event, Read):
                        results[event.image] = event.result
            found = [
                service.worker.call(lambda p=piece, r=results[i]: _seen(service, p, r), deadline)
                for i, piece in enumerate(pieces)
            ]
        handler.answer(200, {"pieces": found})


def _pieces(service: Service, picture: Image.Image, line: Line) -> list[Image.Image]:
    aspect = service.processor.line_aspect_ratio
    if service.processor.processor_class in WHOLE_PAGES:
        raise Refusal(400, "this model reads whole pages; there are no lines to look at")
    return [piece.picture for piece in pieces_of(picture, line, aspect)]


def _seen(service: Service, picture: Image.Image, result: GenerationResult) -> dict[str, Any]:
    """What is told of a piece that was read; computed by the thread that has the model."""
    if result.error is not None:
        raise result.error
    model, processor = service.model, service.processor
    maps = _maps(service, picture, result) if result.tokens else None
    words = words_of(processor.required_tokenizer, result.tokens)
    return {
        "picture": _data_uri(picture),
        "text": result.text,
        "words": [
            {"text": text, "looked": _data_uri(_overlay(model, processor, picture, maps[places]))}
            for text, places in words
            if maps is not None
        ],
        "alternatives": [
            {"text": other.text, "confidence": round(other.confidence, 6)}
            for other in result.alternatives
        ],
    }


def _maps(service: Service, picture: Image.Image, result: GenerationResult) -> Maps:
    """Where the decoder looked for each token, (T, rows, columns)."""
    model, processor = service.model, service.processor
    pixels = processor.pixels([processor.prepared(picture, "the line")])
    grid = model.encoder.grid(*pixels.shape[1:3])
    start = model.prompt(1, None, service.settled({}, grammar=False))[0]
    features = model.features(pixels)
    rows = [np.array(start)[0].tolist()], [result.tokens]
    [maps] = token_attentions(model, features, *rows, grid)
    return distinct(maps)


def _overlay(model: Any, processor: Processor, picture: Image.Image, maps: Maps) -> Image.Image:
    """A picture as large as the piece, opaque where the tokens of a word looked most."""
    geometry = geometry_of(processor, picture)
    grid = model.encoder.grid(geometry.size[1], geometry.size[0])
    share = maps.max(axis=0)
    share = share / max(float(share.max()), 1e-9)
    height, width = grid.cell
    alpha = np.zeros((picture.height, picture.width))
    for row, column in zip(*np.nonzero(share > 0.02), strict=True):
        cell = column * width, row * height, (column + 1) * width, (row + 1) * height
        left, top, right, bottom = geometry.to_original(cell)
        part = alpha[top:bottom, left:right]
        np.maximum(part, share[row, column], out=part)
    found = Image.new("RGBA", picture.size, INK)
    found.putalpha(Image.fromarray((170 * alpha).astype(np.uint8)))
    return found


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
