"""Where clients connect: a thread for each connection, and so many of them."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from ..errors import OptionError
from .handler import Handler
from .limits import CONNECTIONS
from .routes import OPEN, routes_of
from .service import Service

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nRetry-After: 1\r\n\r\n"
    b'{"error": {"message": "there are too many connections; ask again later", '
    b'"type": "server_error", "param": null, "code": null}}'
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
            refuse_connection(request)
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


def refuse_connection(request: socket.socket) -> None:
    """Say that there is no room, as far as the client takes it at once."""
    try:
        request.settimeout(0.1)
        request.sendall(FULL)
    except OSError:
        pass
