"""A server that thousands of hostile requests were sent to is as it was before them."""

import gc
import os
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_vedec import generate
from mlx_vedec.server import connection
from mlx_vedec.server.limits import Limits
from tests.hostile.requests import KINDS, campaign, fault
from tests.server.conftest import LINE
from tests.support import training_parts as parts
from tests.support.serving import CHAT, asked, chat_of, serving


def handles():
    return len(os.listdir("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd"))


def resident():
    """Bytes of memory that this process holds; 0 where that is not told so easily."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def settled(server):
    """Until nothing is being answered any more."""
    assert server.service.wait_until_left(60)
    with server.listener.room_changed:
        assert server.listener.room_changed.wait_for(lambda: not server.listener.open, 60)
    gc.collect()
    mx.clear_cache()


@pytest.mark.parametrize("count", [pytest.param(2000, marks=pytest.mark.slow), 60])
def test_a_campaign(count, monkeypatch):
    model, processor = parts.model(), parts.processor()
    text = generate(model, processor, LINE).text
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(connection, name, 1.0)
    with serving(model, processor, Limits(max_body=1.0, timeout=20)) as server:
        campaign(server.listener.port, range(20), seed=1)  # what is imported and kept once
        settled(server)
        before, memory, pixels = handles(), resident(), server.service.pictures.left
        failed = campaign(server.listener.port, range(100, 100 + count), seed=0)
        assert not failed, failed[:5]
        settled(server)
        status, answer, _ = asked(server, "POST", CHAT, chat_of(LINE))
        assert status == 200 and answer["choices"][0]["message"]["content"] == text
        settled(server)
        assert handles() <= before and server.service.pictures.left == pixels
        assert not server.worker.requests and not server.worker.batches
        assert resident() - memory < 100e6


def test_every_kind_of_fault_is_seen():
    assert len(KINDS) > 9 and fault(b"HTTP/1.1 200 OK\r\n\r\n") is None
    assert fault(b"HTTP/1.1 500 Internal\r\n\r\n") == "status 500"
    assert "begins with" in fault(b"<html>")
    assert "tells too much" in fault(b'HTTP/1.1 400 Bad\r\n\r\n{"error": "/home/x/a.json"}')
