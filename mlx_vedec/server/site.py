"""The page in the browser: its three files, and what it is told of the server."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..pages.formats import ENDINGS
from ..pages.reading import WHOLE_PAGES
from ..reading.processor import TrOCRProcessor
from ..version import __version__
from .handler import Handler

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
    corrections = service.corrections
    handler.answer(
        200,
        {
            "model": service.name,
            "version": __version__,
            "key": bool(service.access.keys),
            "whole": processor.processor_class in WHOLE_PAGES,
            "lines": isinstance(processor, TrOCRProcessor) or bool(processor.line_aspect_ratio),
            "formats": ENDINGS,
            "corrections": corrections is not None and corrections.problem is None,
            "corrections_problem": corrections and corrections.problem,
        },
    )
