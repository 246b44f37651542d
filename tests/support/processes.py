"""Processes that work together, as `mlx.launch` would start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import ROOT


def two_processes(tmp_path: Path, *argv: object) -> list[tuple[int, str, str]]:
    """Run Python with these arguments twice, as two of one group: exit codes, stdout, stderr."""
    return processes(tmp_path, 2, *argv)


def processes(tmp_path: Path, count: int, *argv: object) -> list[tuple[int, str, str]]:
    """Run Python with these arguments in a group of processes: exit codes, stdout, stderr."""
    hosts = tmp_path / "hosts.json"
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        found = [[f"127.0.0.1:{one.getsockname()[1]}"] for one in free]
    hosts.write_text(json.dumps(found))
    children = [
        subprocess.Popen(
            [sys.executable, *map(str, argv)],
            cwd=ROOT,
            env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [child.communicate(timeout=300) for child in children]
    return [(child.returncode, *texts) for child, texts in zip(children, said, strict=True)]
