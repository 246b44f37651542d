"""Pages that a client sends back: written in a format for it, or among the corrections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import shown
from ..pages.formats import check_format, to_bytes
from .fields import as_json
from .handler import Handler
from .read import TYPES, received
from .refusals import Refusal
from .sent_pages import layout_of


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
    corrections = service.corrections
    if corrections is None or corrections.problem is not None:
        why = corrections.problem if corrections else "it was started without --corrections"
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
            handler.answer(200, corrections.save(content, picture, layout, after))


def _after(fields: Mapping[str, Any]) -> int | None:
    after = fields.get("after", 0)
    if after is not None and (type(after) is not int or after < 0):
        raise Refusal(400, f"after is {shown(after)}; expected a revision's number, or null")
    return after
