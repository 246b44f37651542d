"""A server in a thread of this process, and requests to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_vedec.server.limits import Limits
from mlx_vedec.server.server import Server


@contextlib.contextmanager
def serving(
    model: Any, processor: Any, limits: Limits | None = None, **how: Any
) -> Iterator[Server]:
    """A server that answers while the context lasts."""
    server = Server(model, processor, port=0, limits=limits or Limits(grace=5), **how)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(60)
        yield server
    finally:
        server.stop()
        thread.join()


def connection_to(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.listener.port, timeout=60)


def asked(
    server: Server, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """The status, the content (of JSON its values) and the headers of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        named.setdefault("Content-Type", "application/json")
    with contextlib.closing(connection_to(server)) as connection:
        connection.request(method, path, body, named)
        response = connection.getresponse()
        content: Any = response.read()
        if (response.getheader("Content-Type") or "").startswith("application/json") and content:
            content = json.loads(content)
        return response.status, content, dict(response.getheaders())


def events_of(content: bytes) -> list[Any]:
    """What server-sent events say, the last of them, [DONE], aside."""
    *events, done, rest = content.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def form_of(**fields: Any) -> tuple[bytes, dict[str, str]]:
    """The body of a form, and the header that says so; what is neither bytes nor text is JSON."""
    parts = []
    for name, value in fields.items():
        head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
        if not isinstance(value, bytes):
            value = (value if isinstance(value, str) else json.dumps(value)).encode()
        parts.append(head.encode() + value)
    body = b"\r\n".join([*parts, b"--xyz--\r\n"])
    return body, {"Content-Type": "multipart/form-data; boundary=xyz"}


def page_of(content: bytes) -> dict[str, Any]:
    """A page as the browser has it: the lines of a stream, in the regions of its first event."""
    first, *lines, _ = events_of(content)
    told = iter(sorted(lines, key=lambda line: line["number"]))
    for region in first["regions"]:
        region["lines"] = [next(told) for _ in region["lines"]]
    return first


def data_uri(image: Path | bytes) -> str:
    content = image if isinstance(image, bytes) else image.read_bytes()
    return "data:image/png;base64," + base64.b64encode(content).decode()


def chat_of(image: Path | bytes | str, text: str = "What does it say?", **fields: Any) -> dict:
    """The body of a chat about an image."""
    url = image if isinstance(image, str) else data_uri(image)
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}], **fields}


CHAT = "/v1/chat/completions"
