"""`POST /v1/read`: an image, or a page line by line, in the formats of `pages/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from ..pages.formats import WITH_WORDS, as_dict, check_format, line_dict
from ..pages.page import Page
from ..pages.reading import PageWork, begin_page, name_of
from ..pages.sheets import Sheet
from ..reading.generate import batch_generate
from ..reading.results import GenerationResult
from .chat_fields import check_model
from .fields import (
    OWN,
    boundary_of,
    collected,
    multipart,
    options_of,
    query_fields,
    refuse_unknown,
    text_or_none,
)
from .handler import Handler
from .refusals import Refusal, wrong
from .requests import Read, Request
from .service import Service

IMAGE = ("image", "file")  # names of a form's field that is the image
FIELDS = frozenset({"model", "split_lines", "boxes", "grammar", "format", "stream", "prompt"})
TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "page": "application/xml",
    "alto": "application/xml",
    "hocr": "application/xhtml+xml",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "pdf": "application/pdf",
}
TRUTHS = {True: True, False: False, "": True}  # 1 and 0 are among them


@dataclass(frozen=True)
class PageRequest:
    """What is to be read, and what is answered."""

    options: dict[str, Any]
    format: str = "json"
    prompt: str | None = None
    split_lines: bool = False
    boxes: bool = False
    grammar: bool = False
    stream: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any], model: str) -> PageRequest:
        """What fields say; `Refusal` for other fields or values."""
        fields = {name: value for name, value in fields.items() if value is not None}
        refuse_unknown(fields, FIELDS | OWN)
        check_model(fields.get("model"), model)
        format = check_format(fields.get("format", "json"))
        stream = _truth(fields, "stream")
        if stream and format != "json":
            raise Refusal(400, f"a stream is JSON, not {format}; leave one of them out")
        return cls(
            options=options_of(fields, {}),
            format=format,
            prompt=text_or_none(fields, "prompt"),
            split_lines=_truth(fields, "split_lines"),
            boxes=_truth(fields, "boxes") or (format != "json" and format in WITH_WORDS),
            grammar=_truth(fields, "grammar"),
            stream=stream,
        )


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, (bool, int, str)) or value not in TRUTHS:
        raise wrong(name, value, "true or false")
    return TRUTHS[value]


def read(handler: Handler) -> None:
    """Answer with what an image says."""
    service = handler.service
    with service.place():
        content, fields = received(handler)
        asked = PageRequest.of(fields, service.name)
        deadline = service.deadline()
        options = service.settled(asked.options, grammar=asked.grammar)
        processor = service.processor
        whole = not asked.split_lines or processor.reads_whole_pages
        if asked.prompt is not None and not whole:
            raise Refusal(400, "a prompt is for whole images; leave out prompt or split_lines")
        prompt = processor.prompt_ids(asked.prompt) if whole else None
        with service.pictures.picture(content, deadline) as picture:
            work, pieces = _begun(service, picture, deadline, whole=whole)
            request = Request(pieces, options, prompt, boxes=asked.boxes, is_gone=handler.is_gone)
            with service.worker.reading(request):
                if asked.stream:
                    handler.event({"type": "page", **as_dict(work.page)})
                for event in request.events(deadline):
                    assert isinstance(event, Read)
                    work.results[event.image] = event.result
                    for said in _lines(work, event.image) if asked.stream else ():
                        handler.event(said)
        page = work.finished()
        if whole and page.lines[0].error is not None:
            raise page.lines[0].error
        if asked.stream:
            handler.event({"type": "done", **_answer(page)})
            handler.end_events()
        elif asked.format == "json":
            handler.answer(200, _answer(page))
        else:
            handler.answer(200, page.to_bytes(asked.format), kind=TYPES[asked.format])


def received(handler: Handler) -> tuple[bytes, Mapping[str, Any]]:
    """The image's content, and the fields of the query and the form."""
    queried = query_fields(urlsplit(handler.path).query)
    kind = handler.headers.get("Content-Type", "")
    content = handler.body()
    form: list[tuple[str, bytes]] = []
    if kind.lower().startswith("multipart/form-data"):
        form = multipart(content, boundary_of(kind))
        images = [value for name, value in form if name in IMAGE]
        if len(images) != 1:
            raise Refusal(
                400, f"the form has {len(images)} fields named image; expected one", param="image"
            )
        [content] = images
    if not content:
        raise Refusal(400, "the body is empty; expected an image, or a form with the field image")
    texts = ((name, value.decode("utf-8", "replace")) for name, value in form if name not in IMAGE)
    return content, collected(iter([*queried, *texts]))


def _begun(
    service: Service, picture: Image.Image, deadline: float, *, whole: bool
) -> tuple[PageWork, list[Image.Image]]:
    """The page of a picture with its lines, and the pictures that are to be read."""
    model, processor, worker = service.model, service.processor, service.worker

    def read(lines: list[Image.Image]) -> list[GenerationResult]:
        return worker.call(lambda: [*batch_generate(model, processor, lines)], deadline)

    sheet, aspect = Sheet("the image", "page", lambda: picture), processor.line_aspect_ratio
    work, pieces = begin_page(sheet, False, name_of(model), read, whole=whole, aspect=aspect)
    if work.page.error is not None:
        raise work.page.error
    return work, pieces


def _lines(work: PageWork, image: int) -> Iterator[dict[str, Any]]:
    """The lines that the result of an image completes, as they are told in a stream."""
    for number, (line, places) in enumerate(zip(work.page.lines, work.places, strict=True)):
        if image in places and all(place in work.results for place in places):
            said = line_dict(work.read(line, places))
            pieces = [work.results[place].text for place in places]
            yield {"type": "line", "number": number, **said, "pieces": pieces}


def _answer(page: Page) -> dict[str, Any]:
    """A page as JSON; with `data` what Donut's tags say."""
    found = as_dict(page)
    results = [line.result for line in page.lines if line.result is not None]
    if len(results) == 1:
        found["finish_reason"] = results[0].finish_reason
        if results[0].data is not None:
            found["data"] = results[0].data
    return found
