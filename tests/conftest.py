"""Fixtures; and the fast BLAS where the machine has it, before MLX is imported."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

import pytest

try:  # the CPU wheel's own BLAS is some 30 times slower
    ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)
    FAST = True
except OSError:
    FAST = False
os.environ.setdefault("HF_HUB_OFFLINE", "1")

collect_ignore = ["parity/make_golden.py", "benchmarks/gpu_torch.py"]  # scripts that need torch

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items):
    """Where products are slow, what takes minutes then is left out."""
    for item in items:
        if not FAST and sys.platform == "linux" and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes without OpenBLAS"))


@pytest.fixture(autouse=True, scope="session")
def at_the_root():
    """README commands and doctests name files as seen from the repository's root."""
    with contextlib.chdir(ROOT) if hasattr(contextlib, "chdir") else _chdir(ROOT):
        yield


@contextlib.contextmanager
def _chdir(folder):  # contextlib.chdir came with Python 3.11
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture
def shared():
    """The folder of material beside the repository; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED
