"""Images from addresses: of public hosts only, whatever a name or a redirect leads to."""

import ipaddress
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from mlx_vedec.server import pictures
from mlx_vedec.server.pictures import fetch, is_public
from mlx_vedec.server.refusals import Refusal
from tests.server.conftest import LINE, TEXT
from tests.support.serving import CHAT, asked, chat_of, serving

PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.1.1"),
    *("169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1"),
    *("::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1"),
    *("2001::1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
]
# What is said where nothing was connected to; nobody answering there is another refusal.
BEFORE_CONNECTING = "it is no public address|expected http:// or https://"


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_addresses_that_are(address):
    assert is_public(ipaddress.ip_address(address))


@contextmanager
def site(*answers):
    """A server here that gives these answers in turn; its port, and what it was asked."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            for said in answers:
                try:
                    client, _ = listening.accept()
                except OSError:  # not all are asked for
                    return
                with client:
                    heard.append(client.recv(9999).decode())
                    client.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard


def whole(content, status="200 OK", more=""):
    return f"HTTP/1.1 {status}\r\n{more}\r\n".encode() + content


@pytest.fixture
def near(monkeypatch):
    """Let this machine count as public, but no other that is not; names are looked up here."""
    public = pictures.is_public
    here = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(pictures, "is_public", lambda a: a == here or public(a))
    names = {"pictures.example": ["127.0.0.1"], "both.example": ["127.0.0.1", "10.0.0.1"]}

    def looked_up(host, port, *_, **__):
        lookups.append(host)
        found = names.get(host, [host])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    lookups = []
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return lookups


def soon():
    return time.monotonic() + 20


def test_an_image_from_an_address(near, reader):
    content = LINE.read_bytes()
    with site(whole(content)) as (port, heard), serving(*reader, allow_urls=True) as server:
        url = f"http://pictures.example:{port}/a.png?b=c"
        status, answer, _ = asked(server, "POST", CHAT, chat_of(url))
        assert status == 200 and answer["choices"][0]["message"]["content"] == TEXT
        assert heard[0].startswith("GET /a.png?b=c HTTP/1.1\r\n")
        assert f"Host: pictures.example:{port}\r\n" in heard[0]


def test_a_name_is_looked_up_once(near):
    """The address that was checked is the one that is connected to."""
    with site(whole(b"abc")) as (port, _):
        assert fetch(f"http://pictures.example:{port}/", soon(), 3) == b"abc"
        assert near.count("pictures.example") == 1


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://[{a}]/" if ":" in a else f"http://{a}/" for a in PRIVATE),
        "http://2130706433/",
        "http://127.1/",
        "http://localhost/",
        "https://localhost/",
        "http://user:secret@8.8.8.8/",
        "http://8.8.8.8:0/",
        "http://8.8.8.8:99999/",
        "http://8.8.8.8/\r\nX: y",
        "http://8.8.8.8/ü",
        "http://",
        "http://8.8.8.8/" + "a" * 5000,
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(Refusal, match=BEFORE_CONNECTING) as refusal:
        fetch(url, soon(), 100)
    assert refusal.value.status == 400 and "secret" not in refusal.value.message


def test_one_address_of_a_name_that_is_not_public(near):
    with pytest.raises(Refusal, match="no public address"):
        fetch("http://both.example/", soon(), 100)


def test_redirects(near):
    with site(whole(b"", "302 Found", "Location: /b\r\n"), whole(b"abc")) as (port, heard):
        assert fetch(f"http://pictures.example:{port}/a", soon(), 3) == b"abc"
        assert [request.split()[1] for request in heard] == ["/a", "/b"]
    for target in ("http://10.0.0.1/", "http://[::1]/", "file:///etc/passwd", "//169.254.169.254/"):
        with (
            site(whole(b"", "301 Moved", f"Location: {target}\r\n")) as (port, _),
            pytest.raises(Refusal, match=BEFORE_CONNECTING),
        ):
            fetch(f"http://127.0.0.1:{port}/", soon(), 3)
    again = whole(b"", "307 Again", "Location: /\r\n")
    with site(*[again] * 9) as (port, heard), pytest.raises(Refusal, match="more than 3 times"):
        fetch(f"http://127.0.0.1:{port}/", soon(), 3)
    assert len(heard) == 4


def test_bounds(near):
    with site(whole(b"abcd")) as (port, _), pytest.raises(Refusal, match="over 3 bytes"):
        fetch(f"http://127.0.0.1:{port}/", soon(), 3)
    with site(whole(b"", "404 Gone")) as (port, _), pytest.raises(Refusal, match="answers 404"):
        fetch(f"http://127.0.0.1:{port}/", soon(), 3)
    with site(b"no http\r\n\r\n") as (port, _), pytest.raises(Refusal, match="cannot be downl"):
        fetch(f"http://127.0.0.1:{port}/", soon(), 3)
    late = time.monotonic() + 0.1
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Refusal):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/", late, 3)
