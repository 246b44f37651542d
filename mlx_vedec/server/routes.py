"""What is at each path, and what is told of the server itself."""

from __future__ import annotations

from typing import Any

from .browser import ABOUT, FILES, about, look, save, site, write_page
from .chat import chat_completions
from .handler import Handler, Routes
from .read import read
from .service import Service


def routes_of(service: Service) -> Routes:
    """The answers for each path and method."""
    return {
        "/v1/chat/completions": {"POST": chat_completions},
        "/v1/read": {"POST": read},
        "/v1/models": {"GET": _models},
        f"/v1/models/{service.name}": {"GET": _model},
        "/health": {"GET": _health},
        **{path: {"GET": site} for path in FILES},
        ABOUT: {"GET": about},
        "/page/look": {"POST": look},
        "/page/write": {"POST": write_page},
        "/page/corrections": {"POST": save},
    }


OPEN = ("/health", *FILES, ABOUT)  # paths that no key is asked for at


def _models(handler: Handler) -> None:
    handler.answer(200, {"object": "list", "data": [_described(handler.service)]})


def _model(handler: Handler) -> None:
    handler.answer(200, _described(handler.service))


def _described(service: Service) -> dict[str, Any]:
    made = service.started
    return {"id": service.name, "object": "model", "created": made, "owned_by": "mlx_vedec"}


def _health(handler: Handler) -> None:
    stopping = handler.service.stopping
    handler.answer(503 if stopping else 200, {"status": "stopping" if stopping else "ok"})
