"""Two processes that work together, as `mlx.launch` would start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def two_processes(tmp_path: Path, *argv: object) -> list[tuple[int, str, str]]:
    """Run Python with these arguments twice, as two of one group: exit codes, stdout, stderr."""
    hosts = tmp_path / "hosts.json"
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        found = [[f"127.0.0.1:{free.getsockname()[1]}"] for free in (one, two)]
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
        for rank in (0, 1)
    ]
    said = [child.communicate(timeout=300) for child in children]
    return [(child.returncode, *texts) for child, texts in zip(children, said, strict=True)]
