"""A process that is killed at a step of its writing, simulated in this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEAD = 2**22 + 1  # above every number that Linux or macOS gives a process


class Killed(BaseException):
    """The end of the process, at which nothing of it goes on."""


@dataclass
class Steps:
    """How many steps were made."""

    done: int = 0


@contextmanager
def killed_at(patched: pytest.MonkeyPatch, step: int, *, swallow: bool = True) -> Iterator[Steps]:
    """Within it the step of this number, from 0, is the process's last before its death.

    Steps are the opening of a file to write it, renaming and removing; after that all of them fail,
    so that nothing can be cleaned up. The process has the number of one that is not there.
    """
    steps = Steps()

    def counted(real):
        def call(*arguments, **options):
            if steps.done > step:
                raise Killed
            steps.done += 1
            if steps.done > step:
                raise Killed
            return real(*arguments, **options)

        return call

    def opened(path, mode="r", *arguments, **options):
        return (writing if mode[0] in "wax" else open_path)(path, mode, *arguments, **options)

    open_path = Path.open
    writing = counted(open_path)
    patched.setattr(os, "getpid", lambda: DEAD)
    patched.setattr(Path, "open", opened)
    for name in ("replace", "rename", "unlink", "mkdir", "rmdir"):
        patched.setattr(os, name, counted(getattr(os, name)))
    try:
        yield steps
    except Killed:
        if not swallow:
            raise
