"""The server: where clients connect, what is at each path, and what reads, until it is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlx.core as mx
from PIL import Image

from ..errors import OptionError, as_path
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import check_reader, generate
from ..reading.processor import Processor
from .access import Access, checked_keys
from .browser import ABOUT, FILES, about, look, save, site, write_page
from .chat import chat_completions
from .handler import Handler, Routes
from .limits import CONNECTIONS, Limits
from .pictures import fetch
from .read import read
from .refusals import Refusal
from .service import Service
from .worker import Worker

FULL = Refusal(503, "there are too many connections; ask again later")
OPEN = ("/health", *FILES, ABOUT)  # paths that no key is asked for at
FAREWELL = 5.0  # seconds that answers have to be sent in, when all is read


class Server:
    """A model and its processor at an address; `run` reads until `stop` is called.

    name -- of the model, in requests and answers. port -- 0 is any that is free. api_keys -- of
    which a request has to name one; none lets all in. cors -- origins whose pages may ask. hosts --
    names that the server is asked by, besides its address and localhost. allow_urls -- whether
    images are downloaded from addresses in requests, public ones only. corrections -- the folder
    that pages corrected in the browser are written to.

    The thread that calls `run` does all computing.
    """

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        processor: Processor,
        *,
        name: str = "default",
        host: str = "127.0.0.1",
        port: int = 8080,
        limits: Limits | None = None,
        api_keys: Sequence[str] = (),
        cors: Sequence[str] = (),
        hosts: Sequence[str] = (),
        allow_urls: bool = False,
        corrections: str | Path | None = None,
    ) -> None:
        check_reader(model, processor)
        mx.eval(model.parameters())  # another thread could not read them
        self.limits = limits or Limits()
        self.worker = Worker(model, processor, self.limits.max_batch)
        access = Access(checked_keys(api_keys), [host, *hosts], cors)
        download = fetch if allow_urls else None
        self.service = Service(self.worker, name, self.limits, access, download)
        if corrections is not None:
            self.service.keep_corrections(as_path(corrections, "corrections"))
        self.listener = Listener(host, port, self.service)
        self.host = host

    @property
    def url(self) -> str:
        """The address that it is asked at."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.listener.port}"

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Answer requests; ready -- is called when the first can be."""
        self._warm_up()
        listening = threading.Thread(target=self.listener.serve_forever, args=(0.1,), daemon=True)
        listening.start()
        try:
            ready()
            self.worker.run()
            self.service.wait_until_left(FAREWELL)
        finally:
            self.listener.shutdown()
            self.listener.server_close()
            listening.join()

    def stop(self) -> None:
        """Have `run` return, when all that was taken in is answered or the grace is over."""
        if not self.service.stopping:
            self.service.stopping = True
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self.service.wait_until_left(self.limits.grace)
        self.worker.stop()

    def _warm_up(self) -> None:
        """Read something, as the first text takes longer."""
        aspect = self.worker.processor.line_aspect_ratio or 12
        with contextlib.suppress(ValueError):  # some checkpoints need a question
            generate(
                self.worker.model,
                self.worker.processor,
                Image.new("RGB", (round(32 * aspect), 32), "white"),
                max_new_tokens=2,
            )


class Listener(ThreadingHTTPServer):
    """Connections at an address, whose requests a service answers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, service: Service) -> None:
        self.address_family = _family(host)
        self.open = 0  # connections
        self.room_changed = threading.Condition()
        own = {"service": service, "routes": routes_of(service), "open": OPEN}
        handler = type("Handler", (Handler,), own)
        with listening(host, port):
            super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind, without asking the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    @property
    def port(self) -> int:
        """The port, also where any free one was asked for."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, where there is room for one more."""
        with self.room_changed:
            full = self.open >= CONNECTIONS
            self.open += not full
        if full:
            _refuse(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._ended()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._ended()

    def _ended(self) -> None:
        with self.room_changed:
            self.open -= 1
            self.room_changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that broke."""


@contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    """Within it, an address that cannot be listened at is an `OptionError`."""
    if not host:
        raise OptionError("host is empty; expected an address, or 0.0.0.0 for all of this machine")
    if not 0 <= port <= 65535:
        raise OptionError(f"port is {port}; expected a whole number from 0 to 65535")
    try:
        yield
    except OSError as error:
        number = getattr(error, "errno", None) or 0  # below 0 of names that lead nowhere
        said = os.strerror(number) if number > 0 else getattr(error, "strerror", error)
        raise OptionError(
            f"{host} port {port} cannot be listened at ({said}); stop what listens there, or give "
            "another --port or --host"
        ) from error


def check_address(host: str, port: int) -> None:
    """Raise `OptionError` where an address cannot be listened at."""
    with listening(host, port):
        socket.create_server((host, port), family=_family(host)).close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _refuse(request: socket.socket) -> None:
    """Say that there is no room, as far as the client takes it at once."""
    head = (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nRetry-After: 1\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        request.settimeout(0.1)
        request.sendall(head + json.dumps(FULL.body).encode())


# What is at each path, and what is told of the server itself


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
