"""The BLAS that commands load before MLX."""

import os
import subprocess
import sys

import pytest

from mlx_vedec.commands import blas
from tests.conftest import DATA, ROOT

LINE = str(DATA / "lines" / "seen_006.png")
FOUND = """
import ctypes, os, sys
from mlx_vedec.commands import blas
print(blas.load_fast_blas(), "mlx.core" in sys.modules)
from mlx_vedec.measuring.machine import fast_blas
print(fast_blas())
"""


def child(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "MLX_VEDEC_BLAS": "", **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a fast one of their own")
def test_it_is_loaded_before_mlx_and_named():
    loaded, name = child("-c", FOUND).stdout.split("\n")[:2]
    assert loaded in ("True False", "False False")  # as the machine has one or not
    assert (name != "None") == loaded.startswith("True")


@pytest.mark.parametrize(
    ("argument", "loaded"), [("tests/parity/test_bart.py", False), ("-q", True)]
)
def test_tests_beside_torch_have_none(argument, loaded):
    code = "from tests.support.blas import LOADED; print(LOADED)"
    found = child("-c", code, argument).stdout.strip() == "True"
    assert found == (loaded and child("-c", FOUND).stdout.startswith("True"))


def test_off_leaves_what_there_is():
    assert child("-c", FOUND, MLX_VEDEC_BLAS="off").stdout.split("\n")[:2] == [
        "False False",
        "None",
    ]


def test_importing_the_library_loads_none():
    machine = "from mlx_vedec.measuring.machine import fast_blas; print(fast_blas())"
    code = f"from mlx_vedec import load; {machine}"
    assert child("-c", code).stdout.strip() == "None"


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is read on Linux alone")
@pytest.mark.parametrize("name", ["no-such-library.so", "libc.so.6", "x" * 5000])
def test_what_is_no_blas_is_refused(name):
    done = child("-m", "mlx_vedec", "generate", "--image", LINE, MLX_VEDEC_BLAS=name)
    assert done.returncode == 1 and not done.stdout and len(done.stderr) < 1000
    assert "MLX_VEDEC_BLAS is" in done.stderr and "or off" in done.stderr


def test_the_hint_comes_after_seconds_of_slow_work_alone(monkeypatch):
    pytest.importorskip("mlx.core")
    from mlx_vedec.measuring import machine

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("MLX_VEDEC_BLAS", raising=False)
    monkeypatch.setattr(machine, "fast_blas", lambda: None)
    assert blas.wants_hint(60.0) and not blas.wants_hint(1.0)
    monkeypatch.setattr(machine, "fast_blas", lambda: "libopenblas.so.0")
    assert not blas.wants_hint(60.0)
    monkeypatch.setattr(machine, "fast_blas", lambda: None)
    monkeypatch.setenv("MLX_VEDEC_BLAS", "off")
    assert not blas.wants_hint(60.0)
