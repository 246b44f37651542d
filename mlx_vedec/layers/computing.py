"""Where MLX can compute, said as errors: not in a fork of a process that has computed with it, and
with arrays that are not read yet only in the thread that made them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ProcessError

STATE = {"computed": False, "forked": False}


def check_process() -> None:
    """Raise `ProcessError` in a fork of a process that has computed: MLX would wait for ever.

    Called where a computation begins, which it takes note of for the forks to come.
    """
    if STATE["forked"]:
        raise ProcessError(
            "this process is a fork (os.fork, or multiprocessing's default start on Linux) of one "
            "that had computed with MLX, whose threads are not here, so it would wait for ever; "
            'start processes with multiprocessing.get_context("spawn")'
        )
    STATE["computed"] = True


@contextmanager
def computing() -> Iterator[None]:
    """Say what to do where MLX refuses arrays that another thread left unread."""
    check_process()
    try:
        yield
    except RuntimeError as error:
        if "no Stream" not in str(error):
            raise
        raise ProcessError(
            "the model was loaded with lazy=True in another thread, and MLX reads weights only in "
            "the thread that asked for them; load it in the thread that computes, or without lazy"
        ) from error


def _in_child() -> None:
    STATE["forked"] = STATE["computed"]


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
