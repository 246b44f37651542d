"""What the commands share: running one, its errors, and progress on stderr."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import OptionError
from ..files import near
from .blas import HINT, load_fast_blas, wants_hint

Command = Callable[[argparse.Namespace], int]
LONGEST = 4000  # characters of an error's message


def run(parser: argparse.ArgumentParser, command: Command, argv: Sequence[str] | None) -> int:
    """Parse and run; an error of ours is one line and exit code 1, unless `--debug` is given."""
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    args = parser.parse_args(argv)
    begun = time.monotonic()
    try:
        load_fast_blas()
        with _warnings_shown(parser.prog):
            code = command(args)
        sys.stdout.flush()
        if wants_hint(time.monotonic() - begun):
            print(f"{parser.prog}: {HINT}", file=sys.stderr)
        return code
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if args.debug:
            raise
        complain(parser.prog, error)
        return 1


class _Warnings(logging.Handler):
    """Prints a warning on one line of stderr, each text only the first time."""

    def __init__(self, program: str) -> None:
        super().__init__(logging.WARNING)
        self.program, self.said = program, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Print what the library logs."""
        self.show(record.getMessage())

    def show(self, message: Warning | str, *_: object, **__: object) -> None:
        """Print what Python's `warnings` are given."""
        if (text := " ".join(str(message).split())) not in self.said:
            self.said.add(text)
            print(f"{self.program}: warning: {text}", file=sys.stderr)


@contextmanager
def _warnings_shown(program: str) -> Iterator[None]:
    """Show the warnings of Python and those that the library logs in the same way."""
    shown, log = _Warnings(program), logging.getLogger("mlx_vedec")
    log.addHandler(shown)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = shown.show
            yield
    finally:
        log.removeHandler(shown)


def complain(program: str, error: Exception | str) -> None:
    """Print an error on one line of stderr."""
    said = " ".join(str(error).split())
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]}… ({len(said):,} characters)"
    print(f"{program}: error: {said}", file=sys.stderr)


def text_of(path: Path, expected: str) -> str:
    """The text of a file that a flag names; an `OptionError` where it is none."""
    from ..images.loading import irregular

    if kind := irregular(path):
        raise OptionError(f"{path} is {kind}; expected a regular file; save what it gives")
    if not path.is_file():
        raise OptionError(f"{path} is no file; expected {expected}; {near(path)}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 ({error.reason}); expected {expected}") from error


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


def show(line: str, *, last: bool, each: bool = False) -> None:
    """Print how far the work is on stderr: in place on a terminal, elsewhere the last line alone.

    each -- whether every line is printed there too
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
    elif last or each:
        say(line)


class Progress:
    """`3/10 name` on stderr, a line for each item; silent where there is only one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def step(self, name: str) -> None:
        """Count one item as done."""
        self.done += 1
        if self.total > 1:
            line = f"{self.done}/{self.total} {name}"
            show(line, last=self.done == self.total, each=True)


def count(what: str) -> Callable[[int, int], None]:
    """A function of (done, total) that shows `12 of 64 images` on stderr."""
    return lambda done, total: show(f"{done} of {total} {what}", last=done == total)


def bytes_done(done: int, total: int) -> None:
    """Show `56 % of 1,333.4 MB written` on stderr."""
    part = f"{100 * done // max(1, total)} % of " if done < total else ""
    show(f"{part}{total / 1e6:,.1f} MB written", last=done == total)
