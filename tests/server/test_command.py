"""`mlx_vedec server` as it is started and stopped."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from mlx_vedec import commands
from mlx_vedec.commands.server import KEY, parser
from tests.conftest import ROOT
from tests.server.conftest import LINE, TEXT
from tests.support.serving import CHAT, chat_of


@contextlib.contextmanager
def started(*flags, **environment):
    """The process of a server, and the port that it says it listens at."""
    command = [sys.executable, "-m", "mlx_vedec", "server", "--port", "0", *flags]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        env={**os.environ, **environment},
    )
    with child:
        try:
            said = child.stdout.readline()
            found = re.fullmatch(r"listening at http://127\.0\.0\.1:(\d+)\n", said)
            assert found, said + child.stderr.read()
            yield child, int(found[1])
        finally:
            child.kill()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_what_is_being_read_is_finished(number):
    """And the port is free again, the exit code 0, and no key in what is printed."""
    environment = {KEY: "secret-key"}
    with started("--log-level", "INFO", **environment) as (child, port):
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps(chat_of(LINE, stream=True))
        client.request("POST", CHAT, body, {"Authorization": "Bearer secret-key"})
        response = client.getresponse()
        first = response.readline()
        child.send_signal(number)
        rest = response.read().decode()
        events = [first.decode().strip(), *rest.split("\n\n")]
        said = [event.strip().removeprefix("data: ") for event in events if event.strip()]
        assert said[-1] == "[DONE]"
        chunks = [json.loads(chunk)["choices"][0]["delta"] for chunk in said[:-1]]
        assert "".join(delta.get("content", "") for delta in chunks) == TEXT
        client.close()
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, "") and "secret" not in err
        assert "POST /v1/chat/completions 200" in err
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 5):
            pass


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once():
    with started() as (child, port):
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        body = chat_of(LINE, stream=True, min_new_tokens=70, n=16, temperature=1)
        client.request("POST", CHAT, json.dumps(body))
        client.getresponse().readline()
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
        assert child.returncode in (0, 130)
        client.close()


@pytest.mark.slow
def test_warnings_at_the_start():
    with started("--host", "127.0.0.1", "--allow-urls") as (child, _):
        child.send_signal(signal.SIGTERM)
        assert child.communicate(timeout=60)[1] == ""
    command = [sys.executable, "-m", "mlx_vedec", "server", "--port", "0", "--host", "0.0.0.0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout.readline().startswith("listening at http://0.0.0.0:")
        child.send_signal(signal.SIGTERM)
        assert "whoever reaches 0.0.0.0 can ask; give --api-key-file" in child.communicate()[1]


def failed(capsys, *flags):
    assert commands.main(["server", *map(str, flags)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_starts_that_are_refused(capsys, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot be listened at (Address already in use)" in failed(capsys, "--port", port)
    missing = tmp_path / "keys"
    assert "is no file; expected one with a key" in failed(capsys, "--api-key-file", missing)
    missing.write_text("\n \n")
    assert "has no keys" in failed(capsys, "--api-key-file", missing)
    missing.write_bytes(bytes(range(256)))
    assert "is not UTF-8" in failed(capsys, "--api-key-file", missing)
    missing.write_bytes(b"key\0with\x01more")
    assert "characters that are not printed" in failed(capsys, "--api-key-file", missing)
    assert "config.json" in failed(capsys, "--model", tmp_path)
    assert "adapter" in failed(capsys, "--adapter-path", tmp_path)
    assert "max_batch is 0; expected a whole number" in failed(capsys, "--max-batch", 0)
    assert "timeout is 0.0" in failed(capsys, "--timeout", 0)
    assert "top_p is 5.0" in failed(capsys, "--top-p", 5)
    monkeypatch.setenv(KEY, "")
    assert "an API key is empty" in failed(capsys)


def test_keys_of_all_places(tmp_path, monkeypatch):
    from mlx_vedec.commands.server import _keys

    (tmp_path / "keys").write_text("one\n\n two \n")
    monkeypatch.setenv(KEY, "three")
    flags = ["--api-key", "four", "--api-key-file", str(tmp_path / "keys")]
    assert sorted(_keys(parser().parse_args(flags))) == ["four", "one", "three", "two"]
    monkeypatch.delenv(KEY)
    assert _keys(parser().parse_args([])) == []
