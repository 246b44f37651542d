"""What the commands share: running one, its errors, and progress on stderr."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence

from .blas import HINT, load_fast_blas, wants_hint

Command = Callable[[argparse.Namespace], int]


def run(parser: argparse.ArgumentParser, command: Command, argv: Sequence[str] | None) -> int:
    """Parse and run; an error of ours is one line and exit code 1, unless `--debug` is given."""
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    args = parser.parse_args(argv)
    begun = time.monotonic()
    try:
        load_fast_blas()
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _shown_once(parser.prog)
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


def _shown_once(program: str) -> Callable[..., None]:
    """What prints a warning on one line of stderr, each text only the first time."""
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if (text := " ".join(str(message).split())) not in said:
            said.add(text)
            print(f"{program}: warning: {text}", file=sys.stderr)

    return show


def complain(program: str, error: Exception) -> None:
    """Print an error on one line of stderr."""
    print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)


class Progress:
    """`3/10 name` on stderr: in place on a terminal, a line each elsewhere; silent for one item."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def step(self, name: str) -> None:
        """Count one item as done."""
        self.done += 1
        if self.total < 2:
            return
        line = f"{self.done}/{self.total} {name}"
        if sys.stderr.isatty():
            end = "\n" if self.done == self.total else ""
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


class Bytes:
    """`56 % of 1,333.4 MB` on stderr, in place on a terminal; elsewhere one line at the end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.shown = -1

    def __call__(self, done: int, total: int) -> None:
        """So many bytes of all are done."""
        percent, terminal = 100 * done // max(1, total), sys.stderr.isatty()
        if percent == self.shown or not (terminal or done == total):
            return
        self.shown = percent
        bar = f"\r\033[K{'━' * (percent // 4):25} {percent} % of " if terminal else ""
        end = "" if terminal and done < total else "\n"
        print(f"{bar}{total / 1e6:,.1f} MB {self.what}", end=end, file=sys.stderr, flush=True)


class Count:
    """`12 of 64 images` on stderr, in place on a terminal; elsewhere one line at the end."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, done: int, total: int) -> None:
        """So many are done."""
        terminal = sys.stderr.isatty()
        if terminal or done == total:
            start, end = "\r\033[K" if terminal else "", "\n" if done == total else ""
            print(f"{start}{done} of {total} {self.what}", end=end, file=sys.stderr, flush=True)
