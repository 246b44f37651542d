"""One request after another of a connection: checked, led to what answers it, answered."""

from __future__ import annotations

import io
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from .connection import HeadTooLong, Incoming, is_gone, linger
from .refusals import Refusal
from .requests import Broken, Closing, Late
from .service import Service

LOG = logging.getLogger("mlx_vedec")
MALFORMED = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
BROKEN = Refusal(500, "the request could not be done; what the server has printed says why")
STREAM = "text/event-stream; charset=utf-8"


Routes = Mapping[str, Mapping[str, Callable[["Handler"], None]]]


class Handler(BaseHTTPRequestHandler):
    """Answers for a service, by what is at each path; at open ones no key is asked for."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # head and body are sent as one
    disable_nagle_algorithm = True
    service: Service
    routes: Routes
    open: Sequence[str]
    connection: Any

    def setup(self) -> None:
        """Let what the client sends come through `Incoming`."""
        super().setup()
        self.incoming = Incoming(self.connection)
        self.rfile = io.BufferedReader(self.incoming)  # pyright: ignore[reportAttributeAccessIssue]

    def finish(self) -> None:
        """End the connection."""
        with suppress(OSError):
            super().finish()
        linger(self.connection)

    def handle_one_request(self) -> None:
        """Answer the next request, if one comes."""
        self.unread, self.started, self.allowed = False, False, {}
        self.command = self.requestline = self.request_version = ""
        try:
            self.incoming.idle()
            if not self.rfile.peek(1):  # pyright: ignore[reportAttributeAccessIssue]
                self.close_connection = True
                return
            self.incoming.head()
            super().handle_one_request()
        except HeadTooLong:
            self.send_error(431, "the request's line and headers are over 64 KiB; shorten them")
        except OSError:  # the client is gone, or receives nothing
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Let a body come later: not before the head is checked."""
        return True

    def _respond(self) -> None:
        """Answer a request, whatever its method."""
        began, self.status = time.monotonic(), 0
        coming = self.headers.get("Content-Length", "0") != "0"
        self.unread = coming or "Transfer-Encoding" in self.headers
        path = unquote(self.path.partition("?")[0])
        with self._refusing():
            self._check()
            self._led(path)
        known = path if path in self.routes else "(unknown path)"
        took = time.monotonic() - began
        LOG.info("%s %s %s, %.3f s", self.command, known, self.status, took)

    def _led(self, path: str) -> None:
        """Let what is at a path answer."""
        answers = self.routes.get(path)
        if answers is None:
            known = ", ".join(self.routes)
            raise Refusal(404, f"there is nothing at this path; expected one of {known}")
        if self.command == "OPTIONS":
            self._preflight([*answers])
            return
        method = "GET" if self.command == "HEAD" else self.command
        if method not in answers:
            raise Refusal(
                405,
                f"{self.command} is not for {path}; expected {' or '.join(answers)}",
                headers={"Allow": ", ".join(answers)},
            )
        if path not in self.open:
            self.service.access.check_key(self.headers.get("Authorization"))
        answers[method](self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _respond

    def _check(self) -> None:
        """Raise `Refusal` for a head that is not to be trusted, nor what comes after it."""
        keeps, self.close_connection = self.close_connection, True
        malformed = any(isinstance(defect, MALFORMED) for defect in self.headers.defects)
        if malformed or self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refusal(
                400,
                "the request's head is malformed, or not of HTTP/1; send it whole",
            )
        host = self.service.access.check_host(self.headers.get_all("Host") or [])
        self.allowed = self.service.access.check_origin(self.headers.get("Origin"), host)
        self.close_connection = keeps

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Within it, what goes wrong is answered."""
        try:
            yield
        except Refusal as refusal:
            self._refuse(refusal)
        except Late:
            seconds = f"{self.service.limits.timeout:g}"
            self._refuse(Refusal(504, f"the request took over {seconds} s; ask for less, or later"))
        except Closing:
            self._refuse(Refusal(503, "the server is being stopped; ask again later"))
        except ValueError as error:
            self._refuse(Refusal(400, str(error)))
        except OSError:  # the client's connection
            raise
        except RecursionError:
            self._refuse(Refusal(400, "the request is nested too deeply; send it flatter"))
        except Broken:
            self._refuse(BROKEN)
        except Exception:
            LOG.error("a request failed: %s", traceback.format_exc())
            self._refuse(BROKEN)

    def _refuse(self, refusal: Refusal) -> None:
        if self.started:  # a stream: its status is out
            self.event(refusal.body)
            self._end_stream()
            return
        self.answer(refusal.status, refusal.body, refusal.headers)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses."""
        self.close_connection = True
        said = message or self.responses.get(code, ("the request is malformed",))[0]
        self.answer(code, Refusal(code, ascii(said)[1:-1][:300]).body)

    # The body

    def body(self) -> bytes:
        """The request's body, once it is sure that it may come."""
        length = self._length()
        if length > self.service.limits.body_bytes:
            most = f"{self.service.limits.max_body:g} MB"
            raise Refusal(413, f"the body has {length} bytes; expected at most {most}; shrink it")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        self.incoming.body()
        try:
            content = self.rfile.read(length)
        except TimeoutError:
            raise Refusal(408, "the body comes too slowly; send it faster") from None
        if len(content) < length:
            self.close_connection = True
            raise Refusal(400, f"the body ends after {len(content)} of its {length} bytes")
        self.unread = False
        return content

    def _length(self) -> int:
        keeps, self.close_connection = self.close_connection, True
        if "Transfer-Encoding" in self.headers:
            raise Refusal(411, "Transfer-Encoding is not taken; send Content-Length")
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths:
            raise Refusal(411, "the request has no Content-Length; send it")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
            raise Refusal(400, "Content-Length is no whole number; expected the body's bytes")
        if len(lengths[0]) > 15:
            raise Refusal(413, "Content-Length is too large; shrink the body")
        self.close_connection = keeps
        return int(lengths[0])

    def is_gone(self) -> bool:
        """Whether the client went away."""
        return is_gone(self.connection)

    # Answers

    def answer(
        self,
        status: int,
        content: Any,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:
        """Answer with bytes, or with JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(data))}, headers)
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def _preflight(self, methods: list[str]) -> None:
        """Tell a browser what a page may ask."""
        asked = self.headers.get("Access-Control-Request-Headers", "")
        named = asked if re.fullmatch(r"[\w, -]{1,2000}", asked, re.ASCII) else ""
        allowed = {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": named or "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
        }
        self._head(204, {"Allow": ", ".join(methods)}, allowed if self.allowed else None)

    def _head(self, status: int, *headers: dict[str, str] | None) -> None:
        self.status = status
        if self.unread:
            self.close_connection = True
        self.send_response(status)
        for own in (HEADERS, self.allowed, *headers):
            for name, value in (own or {}).items():
                self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def event(self, value: Any) -> None:
        """Send a server-sent event, the first after the head of the stream."""
        if not self.started:
            self.started = True
            self.chunked = self.request_version == "HTTP/1.1"
            self.close_connection |= not self.chunked
            encoding = {"Transfer-Encoding": "chunked"} if self.chunked else None
            self._head(200, {"Content-Type": STREAM}, encoding)
        said = value if isinstance(value, str) else json.dumps(value)
        self._send(f"data: {said}\n\n".encode())

    def end_events(self) -> None:
        """Say that the stream is whole."""
        self.event("[DONE]")
        self._end_stream()

    def _end_stream(self) -> None:
        if self.chunked:
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()

    def _send(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
        self.wfile.flush()

    def version_string(self) -> str:
        """The server's name, without the versions of what it is made of."""
        return "mlx_vedec"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `_respond` logs each request."""
