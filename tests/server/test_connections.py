"""Clients that send too much, too slowly, or not to the end; and too many of them."""

import json
import socket
import threading
from contextlib import closing, suppress

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.server import connection, server as listening
from mlx_vedec.server.limits import Limits
from tests.server.conftest import LINE, TEXT
from tests.support.serving import CHAT, asked, chat_of, connection_to, serving


@pytest.fixture(scope="module")
def small(reader):
    """A server that takes one request at a time, of 10,000 bytes, and a second for each."""
    with serving(*reader, Limits(max_queue=1, max_body=10_000 / 2**20)) as found:
        yield found


def raw(server, *pieces):
    """All that is answered to bytes."""
    with socket.create_connection(("127.0.0.1", server.listener.port), 20) as client:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(2**16), b""))


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 10001\r\n\r\n", 413),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", 413),
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Content-Length: +1\r\n\r\n", 400),
        (b"Content-Length: 1_0\r\n\r\n", 400),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"\r\n", 411),
        (b"Content-Length: 500\r\n\r\n{}", 400),
        (b"no header\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"Host: other\r\nContent-Length: 2\r\n\r\n{}", 400),
    ],
)
def test_heads_that_are_refused(small, head, status):
    answer = raw(small, HEAD, head)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b'{"error": {"message":' in answer
    assert answer.count(b"HTTP/1.1") == 1 and b"\r\nConnection: close" in answer


@pytest.mark.parametrize(
    "line",
    [b"\x00\x01\x02", b"GET", b"GET / HTTP/9.9", b"GET / HTTP/1.1 x", b"GET /" + b"a" * 70_000],
)
def test_what_is_no_http(small, line):
    raw(small, line + b"\r\n\r\n")
    assert asked(small, "GET", "/health")[0] == 200


def test_several_requests_on_one_connection(server):
    """Sent without waiting, and answered in their order."""
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = json.dumps(chat_of(LINE)).encode()
    chat = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    nothing = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = raw(server, ask + nothing, ask + ask).split(b"HTTP/1.1 ")
    assert [answer[:3] for answer in answers] == [b"", b"200", b"404", b"200", b"200"]
    with closing(connection_to(server)) as client:
        for _ in range(2):
            client.request("POST", CHAT, body)
            assert json.loads(client.getresponse().read())["choices"]
        client.sock.sendall(chat + ask)
        received = b""
        while received.count(b"HTTP/1.1 ") < 2 or b'"ok"' not in received:
            received += client.sock.recv(2**16)
        assert TEXT.encode() in received.split(b"HTTP/1.1 ")[1]


def test_older_http(server):
    assert raw(server, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").endswith(b'"ok"}')
    body = json.dumps(chat_of(LINE, stream=True)).encode()
    head = HEAD.replace(b"1.1", b"1.0") + b"Content-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.listener.port), 20) as client:
        client.sendall(head + body)
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.endswith(b"data: [DONE]\n\n") and b"chunked" not in answer


def test_a_body_that_is_waited_for(server, small):
    """curl sends a large body only when it is told to, and not to where it is too large."""
    expects = b"Expect: 100-continue\r\n"
    body = json.dumps(chat_of(LINE)).encode()
    with socket.create_connection(("127.0.0.1", server.listener.port), 20) as client:
        client.sendall(HEAD + expects + b"Content-Length: %d\r\n\r\n" % len(body))
        assert client.recv(999) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(99).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", small.listener.port), 20) as client:
        client.sendall(HEAD + expects + b"Content-Length: 10001\r\n\r\n")
        assert client.recv(99).startswith(b"HTTP/1.1 413 ")


def test_who_sends_too_slowly_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.05)
    for sent in (b"GET /health HT", HEAD + b"Content-Length: 99\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", server.listener.port), 20) as client:
            client.sendall(sent)
            answer = b"".join(iter(lambda: client.recv(999), b""))
            assert not answer or answer.startswith(b"HTTP/1.1 408 ")


def test_each_byte_has_not_the_time_of_all(monkeypatch):
    """The clock of a head goes on while its bytes come; that of a body with its rate."""
    now = [0.0]
    monkeypatch.setattr(connection.time, "monotonic", lambda: now[0])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        incoming = connection.Incoming(ours)
        incoming.head()
        for _ in range(4):
            theirs.sendall(b"a")
            assert incoming.readinto(bytearray(9)) == 1
            now[0] += 2.6
        with pytest.raises(TimeoutError):
            incoming.readinto(bytearray(9))
        incoming.body()
        for _ in range(4):
            theirs.sendall(b"a" * 50_000)
            assert sum(incoming.readinto(bytearray(25_000)) for _ in range(2)) == 50_000
            now[0] += 3.0  # of which each 50,000 bytes give one
        theirs.sendall(b"a")
        with pytest.raises(TimeoutError):
            now[0] += 3.0
            incoming.readinto(bytearray(9))


def test_a_full_queue(small):
    """The one place is taken by a client that has not sent its body yet."""
    with socket.create_connection(("127.0.0.1", small.listener.port), 20) as first:
        first.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert first.recv(99).startswith(b"HTTP/1.1 100 ")
        status, answer, headers = asked(small, "POST", CHAT, chat_of(LINE))
        assert status == 429 and int(headers["Retry-After"]) >= 1
        assert answer["error"]["type"] == "rate_limit_error"
        assert asked(small, "GET", "/health")[0] == 200
    assert small.service.wait_until_left(20)
    assert asked(small, "POST", CHAT, chat_of(LINE))[0] == 200


def test_too_many_connections(reader, monkeypatch):
    monkeypatch.setattr(listening, "CONNECTIONS", 2)
    with serving(*reader) as server:
        address = ("127.0.0.1", server.listener.port)
        with socket.create_connection(address) as one, socket.create_connection(address):
            third = b""
            with socket.create_connection(address, 20) as client:
                third = client.recv(99)
            assert third.startswith(b"HTTP/1.1 503 ")
            one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert one.recv(99).startswith(b"HTTP/1.1 200 ")


def test_a_request_past_its_time(reader):
    with serving(*reader, Limits(timeout=0.001)) as server:
        status, answer, _ = asked(server, "POST", CHAT, chat_of(LINE))
        assert status == 504 and "took over 0.001 s" in answer["error"]["message"]
        assert asked(server, "GET", "/health")[0] == 200


def test_a_client_that_goes_away_is_forgotten(reader, monkeypatch):
    """While the model is at work, here held until the client is gone."""
    held, begun = threading.Event(), threading.Event()
    step = type(reader[0]).step

    def waiting(own, tokens, cache, mask):
        begun.set()
        assert held.wait(20)
        return step(own, tokens, cache, mask)

    with serving(*reader) as server:
        monkeypatch.setattr(type(reader[0]), "step", waiting)
        body = json.dumps(chat_of(LINE)).encode()
        with socket.create_connection(("127.0.0.1", server.listener.port), 20) as client:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            assert begun.wait(20)
        held.set()
        assert server.service.wait_until_left(20)
        assert not server.worker.requests and not server.worker.batches


def test_what_has_begun_to_come_is_read_though_the_server_is_stopped(reader):
    """A request that it was told to send on; a new one is not taken in."""
    body = json.dumps(chat_of(LINE)).encode()
    with serving(*reader, Limits(grace=30)) as server:
        address = ("127.0.0.1", server.listener.port)
        with socket.create_connection(address, 20) as client:
            expects = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(HEAD + expects)
            assert client.recv(99).startswith(b"HTTP/1.1 100 ")
            server.stop()
            assert asked(server, "POST", CHAT, chat_of(LINE))[0] == 503
            assert asked(server, "GET", "/health")[:2] == (503, {"status": "stopping"})
            client.sendall(body)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200 ")


def test_what_does_not_end_is_given_up(reader):
    with serving(*reader, Limits(grace=0)) as server:
        address = ("127.0.0.1", server.listener.port)
        with socket.create_connection(address, 20) as client:
            client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            assert client.recv(99).startswith(b"HTTP/1.1 100 ")
            server.stop()
            while not server.worker.closed:  # which it soon is, whatever the client does
                with suppress(OSError):
                    asked(server, "GET", "/health")


def test_limits_that_are_none():
    for wrong in ({"max_batch": 0}, {"max_queue": 1.5}, {"max_body": 0}, {"timeout": -1}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            Limits(**wrong)
    with pytest.raises(OptionError, match="grace is nan"):
        Limits(grace=float("nan"))
