"""Fixtures; and what a run of the tests left out."""

import contextlib
import os
from pathlib import Path

import pytest

import tests.support.blas  # noqa: F401  (before MLX is imported)

os.environ.setdefault("HF_HUB_OFFLINE", "1")

collect_ignore = ["parity/make_golden.py", "benchmarks/gpu_torch.py"]  # scripts that need torch

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"


LEFT_OUT = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_deselected(items):
    """Count the slow tests among what `-m` leaves out."""
    slow = sum(item.get_closest_marker("slow") is not None for item in items)
    if slow:
        stash = items[0].config.stash
        stash[LEFT_OUT] = stash.get(LEFT_OUT, 0) + slow


def pytest_terminal_summary(terminalreporter, config):
    """Say what was left out, and how to run it."""
    slow = config.stash.get(LEFT_OUT, 0)
    if slow:
        terminalreporter.write_line(
            f"{slow} slow tests were left out; `pytest -m slow` runs them, in minutes with a fast "
            "BLAS (apt-get install libopenblas0-pthread) and in many more without"
        )


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
