"""Who may ask, and what is at which path."""

import json
import socket

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.server.access import Access
from mlx_vedec.server.refusals import Refusal
from mlx_vedec.server.server import Server, check_address
from tests.server.conftest import LINE, TEXT
from tests.support.serving import CHAT, asked, chat_of, serving

SITE = "https://example.org"


@pytest.fixture(scope="module")
def guarded(reader):
    how = {"api_keys": ["secret", "ключ"], "cors": [SITE], "hosts": ["reader.example"]}
    with serving(*reader, **how) as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/health", 200, None),
        ("HEAD", "/health", 200, None),
        ("GET", "/v1/models", 200, None),
        ("GET", "/v1/models/bundled", 200, None),
        ("GET", "/v1%2Fmodels/%62undled?a=b", 200, None),
        ("GET", "/v1/models/other", 404, "nothing at this path; expected one of /v1/chat"),
        ("GET", "/../../etc/passwd", 404, "nothing at this path"),
        ("GET", CHAT, 405, "GET is not for /v1/chat/completions; expected POST"),
        ("DELETE", "/v1/read", 405, "expected POST"),
        ("POST", "/health", 405, "expected GET"),
        ("TRACE", "/health", 501, "Unsupported method"),
    ],
)
def test_paths_and_methods(server, method, path, status, said):
    code, answer, headers = asked(server, method, path)
    assert code == status and headers["Server"] == "mlx_vedec"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert said is None or said in answer["error"]["message"]
    assert code != 405 or headers["Allow"] in ("GET", "POST")


def test_what_is_told_of_the_model(server):
    _, models, _ = asked(server, "GET", "/v1/models")
    [model] = models["data"]
    assert (model["id"], model["object"], models["object"]) == ("bundled", "model", "list")
    assert asked(server, "GET", "/v1/models/bundled")[1] == model
    assert asked(server, "GET", "/health")[1] == {"status": "ok"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        ("Bearer secret", 200),
        ("bearer  secret", 200),
        ("Bearer ключ".encode().decode("latin-1"), 200),
        ("Bearer secre", 401),
        ("Bearer secret1", 401),
        ("Bearer ", 401),
        ("Basic secret", 401),
        ("secret", 401),
    ],
)
def test_keys(guarded, sent, status):
    headers = {} if sent is None else {"Authorization": sent}
    code, answer, found = asked(guarded, "GET", "/v1/models", **headers)
    assert code == status
    if status == 401:
        assert answer["error"]["code"] == "invalid_api_key" and "secret" not in str(answer)
        assert found["WWW-Authenticate"] == "Bearer"
    assert asked(guarded, "GET", "/health")[0] == 200


def test_a_body_is_not_read_before_the_key(guarded):
    with socket.create_connection(("127.0.0.1", guarded.listener.port)) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(99).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9999", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("192.168.1.7", 200),
        ("a.localhost", 200),
        ("reader.example:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("reader.example.evil", 403),
        ("127.0.0.1.evil.example", 403),
        ("user@localhost", 200),
        ("localhost@evil.example", 403),
        ("[", 403),
        ("", 403),
        ("localhost, evil.example", 403),
    ],
)
def test_hosts(guarded, host, status):
    """Of a name that a page had its own site lead to this machine there is no answer."""
    code, answer, _ = asked(guarded, "GET", "/health", Host=host)
    assert code == status
    assert status == 200 or answer["error"]["code"] == "unknown_host"


@pytest.mark.parametrize(
    ("origin", "status", "allowed"),
    [
        (SITE, 200, SITE),
        ("https://example.org.evil", 403, None),
        ("http://example.org", 403, None),
        ("null", 403, None),
        ("http://localhost:8080", 200, None),
        ("http://localhost:81", 403, None),
        ("http://[", 403, None),
    ],
)
def test_origins(guarded, origin, status, allowed):
    how = {"Origin": origin, "Host": "localhost:8080", "Authorization": "Bearer secret"}
    code, answer, headers = asked(guarded, "POST", CHAT, chat_of(LINE), **how)
    assert code == status and headers.get("Access-Control-Allow-Origin") == allowed
    if code == 200:
        assert answer["choices"][0]["message"]["content"] == TEXT
    for sent, named in ("x-a, X-B", "x-a, X-B"), ("(", "Authorization, Content-Type"):
        how["Access-Control-Request-Headers"] = sent
        code, answer, headers = asked(guarded, "OPTIONS", CHAT, **how)
        assert code == (204 if status == 200 else 403)
        assert headers.get("Access-Control-Allow-Headers") == (named if allowed else None)


def test_any_origin():
    access = Access(origins=["*"])
    assert access.check_origin("null", "localhost")["Access-Control-Allow-Origin"] == "null"
    assert access.check_origin(None, "localhost") == {}
    with pytest.raises(Refusal):
        Access().check_origin("null", "localhost")


@pytest.mark.parametrize(
    "origin", ["example.org", "https://example.org/", "https://Example.org", "https://", "", "x:y"]
)
def test_origins_that_no_browser_sends(origin):
    with pytest.raises(OptionError, match="is no origin as browsers send it"):
        Access(origins=[SITE, origin])


def test_origins_and_hosts_that_are_asked_for():
    Access(origins=["*", "null", SITE, "http://[::1]:81", "chrome-extension://abc"])
    Access(hosts=["Reader.example", "::1", "192.168.1.7", "fe80::1%eth0"])


@pytest.mark.parametrize("host", ["http://a.example/", "a.example:81", "a.example/b", "*@a", ""])
def test_hosts_that_no_client_names(host):
    with pytest.raises(OptionError, match="is no name of a host"):
        Access(hosts=[host])


def test_a_refusal_names_no_folder_of_this_machine(tmp_path):
    refusal = Refusal(400, f"{tmp_path}/a/b.json is damaged, and {tmp_path} is a folder")
    said = json.dumps(refusal.body)
    assert str(tmp_path) not in said and "b.json is damaged" in said


def test_what_a_server_is_not_made_of(reader, server):
    with pytest.raises(OptionError, match="port .* cannot be listened at .*in use"):
        Server(*reader, port=server.listener.port)
    with pytest.raises(OptionError, match="cannot be listened at"):
        Server(*reader, host="no.such.host.invalid", port=0)
    with pytest.raises(OptionError, match="port is 99999; expected a whole number from 0 to"):
        Server(*reader, port=99999)
    with pytest.raises(OptionError, match="host is empty; expected an address"):
        check_address("", 0)
    with pytest.raises(OptionError, match="an API key is empty"):
        Server(*reader, port=0, api_keys=["a", " "])
    with pytest.raises(OptionError, match="model is 5; expected a VisionEncoderDecoderModel"):
        Server(5, reader[1], port=0)
