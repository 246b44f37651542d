"""Hostile requests to a server: malformed, cut short, huge, many at once, left in the middle."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from copy import deepcopy
from random import Random
from urllib.parse import quote

from mlx_vedec.generation.options import OPTIONS
from tests.hostile.pictures import pictures
from tests.hostile.values import PLAIN, RAW, short, spoiled_bytes, spoiled_json
from tests.support.serving import CHAT, chat_of

LAST = "Connection: close"
SECONDS = 30  # that an answer may take; a server that does not answer hangs
STATUSES = (
    100,
    200,
    204,
    400,
    401,
    403,
    404,
    405,
    408,
    411,
    413,
    414,
    431,
    429,
    501,
    503,
    504,
    505,
)
Made = tuple[str, list[bytes]]  # what a request is, and the bytes of it, sent one after another


def _request(path: str, body: bytes, *lines: str, method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", LAST, *lines]
    if not any(line.lower().startswith("content-length") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("utf-8", "surrogateescape") + body


def _chat(rng: Random) -> tuple[dict, bytes]:
    name, image = rng.choice([*pictures().items()])
    fields = {"max_tokens": rng.choice((1, 2, 3)), "stream": rng.random() < 0.3}
    return chat_of(image, "read this", **fields), image


def fine(rng: Random) -> Made:
    """A chat or an image with nothing wrong, of any options."""
    body, image = _chat(rng)
    options = rng.choice(
        (
            {},
            {"temperature": 1.5, "n": 3, "seed": rng.randrange(9)},
            {"num_beams": 3, "n": 2},
            {"logprobs": True, "top_logprobs": 2, "stop": ["a", "bc"]},
            {"max_tokens": None, "min_new_tokens": 15},
            {"max_kv_size": 5},
        )
    )
    if rng.random() < 0.3:
        return "an image", [_request("/v1/read?split_lines=true&boxes=1&max_tokens=3", image)]
    return f"chat {options}", [_request(CHAT, json.dumps({**body, **options}).encode())]


def fields(rng: Random) -> Made:
    """A chat with one to three fields or options that may be anything JSON says."""
    body, _ = _chat(rng)
    known = ["model", "n", "stop", "seed", "temperature", "top_p", "logprobs", "top_logprobs"]
    known += ["stream_options", "user", "prompt", "boxes", "grammar", "tools", "messages"]
    given = {rng.choice([*known, *OPTIONS]): deepcopy(rng.choice(PLAIN)) for _ in range(3)}
    body |= dict(rng.sample([*given.items()], rng.randint(1, len(given))))
    return f"fields {short(given)}", [_request(CHAT, json.dumps(body).encode())]


def spoiled(rng: Random) -> Made:
    """A chat whose JSON was changed somewhere."""
    body, done = spoiled_json(json.dumps(_chat(rng)[0]), rng)
    return f"JSON, {done}", [_request(CHAT, body.encode("utf-8", "surrogatepass"))]


def raw(rng: Random) -> Made:
    """A body that is no chat at all."""
    body = rng.choice(RAW) if rng.random() < 0.5 else rng.randbytes(rng.randrange(500))
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    return f"body {data[:20]!r}", [_request(rng.choice((CHAT, "/v1/read")), data)]


def image(rng: Random) -> Made:
    """A damaged image, read whole or in lines."""
    name, data = rng.choice([*pictures().items()])
    data, done = spoiled_bytes(data, rng)
    query = rng.choice(
        ("", "?split_lines=true", "?boxes=true&max_tokens=2", "?stream=1&split_lines=")
    )
    return f"{name}{query}: {done}", [_request(f"/v1/read{query}", data)]


def query(rng: Random) -> Made:
    """An image with fields of a query that may be anything."""
    names = ["split_lines", "boxes", "format", "stream", "grammar", "prompt", "model", *OPTIONS]
    asks = "&".join(
        f"{quote(rng.choice(names))}={quote(str(rng.choice(PLAIN)), errors='replace')[:300]}"
        for _ in range(rng.randint(1, 3))
    )
    _, data = _chat(rng)
    return f"query {asks[:60]}", [_request(f"/v1/read?max_new_tokens=2&{asks}", data)]


def form(rng: Random) -> Made:
    """A form that was changed somewhere."""
    _, data = _chat(rng)
    parts = [b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + data]
    parts.append(b'--x\r\nContent-Disposition: form-data; name="max_tokens"\r\n\r\n2')
    body, done = b"\r\n".join([*parts, b"--x--\r\n"]), "whole"
    if rng.random() < 0.8:
        body, done = spoiled_bytes(body, rng)
    kind = rng.choice(("x", "x", "x", '"x"', "", "y", "x" * 300))
    head = f"Content-Type: multipart/form-data; boundary={kind}"
    return f"form {kind[:5]}: {done}", [_request("/v1/read", body, head)]


def head(rng: Random) -> Made:
    """A request whose head was changed somewhere."""
    body = json.dumps(_chat(rng)[0]).encode()
    whole = _request(CHAT, body)
    end = whole.index(b"\r\n\r\n") + 4
    data, done = spoiled_bytes(whole[:end], rng)
    return f"head: {done}", [data + body]


HEADERS = (
    *(
        "Content-Length: 99999999999",
        "Content-Length: -1",
        "Content-Length: 5\r\nContent-Length: 6",
    ),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Host: evil.example", "Host:"),
    *("Origin: https://evil.example", "Origin: null", "Expect: 100-continue", "Expect: x"),
    *("Connection: close", "Connection: upgrade\r\nUpgrade: h2c", "Range: bytes=0-1"),
    *("X: " + "a" * 9000, "X: " + "a" * 90_000, "\r\n".join(f"X{i}: y" for i in range(120))),
    *("Authorization: Bearer x", "Content-Type: text/html", " folded: x", "no colon", "\0: \0"),
    *("Content-Length: 0", "Accept-Encoding: gzip", "Cookie: a=b", "Content-Encoding: gzip"),
)


def headers(rng: Random) -> Made:
    """A chat with headers that it should not have."""
    chosen = rng.sample(HEADERS, rng.randint(1, 2))
    body = json.dumps(_chat(rng)[0]).encode()
    method = rng.choice(("POST", "POST", "GET", "PUT", "OPTIONS", "HEAD", "BREW"))
    path = rng.choice(
        (CHAT, "/v1/read", "/health", "/v1/models", "/", "*", "//x/../%00", "/\u00e9")
    )
    return f"{method} {path} {chosen!r:.60}", [_request(path, body, *chosen, method=method)]


def cut(rng: Random) -> Made:
    """A request that is not sent to its end, in pieces."""
    whole = _request(CHAT, json.dumps(_chat(rng)[0]).encode())
    place = rng.randrange(len(whole))
    middle = rng.randrange(place + 1)
    return f"cut at {place}", [whole[:middle], whole[middle:place]]


def pipelined(rng: Random) -> Made:
    """Several requests that do not wait for their answers."""
    several = [rng.choice((fields, spoiled, image, headers))(rng) for _ in range(rng.randint(2, 4))]
    whole = [b"".join(data) for _, data in several]
    whole[:-1] = [data.replace(f"{LAST}\r\n".encode(), b"", 1) for data in whole[:-1]]
    return "; ".join(what for what, _ in several), [b"".join(whole)]


KINDS: tuple[Callable[[Random], Made], ...] = (
    *(
        fine,
        fine,
        fine,
        fields,
        fields,
        spoiled,
        raw,
        image,
        query,
        form,
        head,
        headers,
        cut,
        pipelined,
    ),
)


def tried(port: int, number: int, seed: int) -> tuple[str, str | None]:
    """What a request was, and what is wrong with its answers; it may be left while they come."""
    rng = Random(f"{seed}/{number}")
    make = rng.choice(KINDS)
    what, pieces = make(rng)
    told = f"{number} ({make.__name__}, seed {seed}): {what[:200]}"
    leaves = rng.choice((None, None, None, 0, 1, 100))
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
            answer = _exchanged(client, pieces, leaves, cut_short=make is cut)
    except TimeoutError:
        return told, "hangs"
    except OSError:  # refused while it was sent
        return told, None
    return told, None if leaves is not None else fault(answer)


def _exchanged(
    client: socket.socket, pieces: list[bytes], leaves: int | None, *, cut_short: bool
) -> bytes:
    for piece in pieces:
        client.sendall(piece)
    if leaves is not None:
        return client.recv(leaves) if leaves else b""
    if cut_short:
        client.shutdown(socket.SHUT_WR)
    answer = b""
    while data := client.recv(2**16):
        answer += data
    return answer


def fault(answer: bytes) -> str | None:
    """What is wrong with an answer, if anything is: a status that says of a fault, a path."""
    for status in re.findall(rb"HTTP/1\.[01] (\d+) ", answer):
        if int(status) not in STATUSES:
            return f"status {status.decode()}"
    if answer and not answer.startswith((b"HTTP/1.1 ", b'{"error"')):
        return f"an answer that begins with {answer[:40]!r}"
    if b"Traceback" in answer or re.search(rb"/(home|root|tmp|usr|work)/", answer):
        return f"an answer that tells too much: {answer[-300:]!r}"
    return None


def campaign(port: int, numbers: range, seed: int, threads: int = 8) -> list[str]:
    """What failed of the requests of these numbers, so many at a time."""
    failed: list[str] = []
    waiting = iter(numbers)
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                number = next(waiting, None)
            if number is None:
                return
            what, wrong = tried(port, number, seed)
            if wrong:
                failed.append(f"{what} -> {wrong}")

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return failed
