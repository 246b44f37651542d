"""The campaign: seeded hostile inputs in a process that may die, and command lines as processes.

python -m tests.hostile [--seconds 600] [--seed 0] [--inputs 10000] [--processes 200] [--only N …]

It ends after the seconds or when all was tried, whichever is later for the least numbers. The exit
code is 1 where an input ended in something else than a right answer or an error of ours.
"""

from __future__ import annotations

import argparse
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tests.support.blas  # noqa: F401  (before MLX is imported)
from tests.conftest import ROOT
from tests.hostile.limits import SECONDS
from tests.hostile.trying import KINDS, Workshop

DONE = "done"


def main() -> int:
    """Try inputs until there were enough; 0 where nothing failed."""
    p = argparse.ArgumentParser("python -m tests.hostile", description=__doc__)
    p.add_argument("--seconds", type=float, default=600.0, help="how long to go on with new inputs")
    p.add_argument("--seed", type=int, default=0, help="of all inputs")
    p.add_argument("--inputs", type=int, default=10_000, help="the least that are tried")
    p.add_argument("--processes", type=int, default=200, help="command lines that are processes")
    p.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS], help="the kinds to try")
    p.add_argument("--only", type=int, nargs="+", help="the numbers of inputs to repeat")
    p.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.worker is not None:
        return _worker(args)
    began = time.monotonic()
    failed, number = 0, 0
    while number < args.inputs or time.monotonic() - began < args.seconds:
        number, wrong = _watched(args, number, began)
        failed += wrong
        if args.only:
            break
    print(
        f"seed {args.seed}: {number:,} inputs in {time.monotonic() - began:.0f} s, {failed} failed"
    )
    return int(failed > 0)


def _watched(args: argparse.Namespace, first: int, began: float) -> tuple[int, int]:
    """Run a worker from an input on, and print what fails; the next input, and how many failed."""
    left = max(0.0, args.seconds - (time.monotonic() - began))
    argv = ["--seed", args.seed, "--inputs", args.inputs, "--seconds", left, "--worker", first]
    argv += ["--processes", args.processes, "--kinds", *args.kinds]
    argv += ["--only", *args.only] if args.only else []
    command = [sys.executable, "-m", "tests.hostile", *map(str, argv)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    failed, number, current = 0, first, ""
    waiting, rest = selectors.DefaultSelector(), b""
    waiting.register(child.stdout, selectors.EVENT_READ)
    while True:
        if not waiting.select(timeout=6 * SECONDS):
            child.kill()
            child.wait()
            print(f"FAILED {current}: hangs", flush=True)
            return number + 1, failed + 1
        data = os.read(child.stdout.fileno(), 2**16)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            what, _, said = line.decode(errors="replace").partition(" ")
            if what == "next":
                current = said
                number = int(said.partition(" ")[0])
            elif what == "FAILED":
                failed += 1
                print(f"{what} {said}", flush=True)
            elif what == DONE:
                child.wait()
                return int(said), failed
        if not data:
            code = child.wait()
            print(f"FAILED {current}: the process ended with {code}", flush=True)
            return number + 1, failed + 1


def _worker(args: argparse.Namespace) -> int:
    """Try inputs from a number on, each told on stdout before it is tried."""
    out = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
    os.dup2(2, 1)  # what the inputs print is not told
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        processes = 0 if args.only else args.processes
        shop = Workshop(Path(scratch), args.seed, tuple(args.kinds), processes, args.inputs)
        numbers = iter(args.only) if args.only else iter(range(args.worker, sys.maxsize))
        number = args.worker
        for number in numbers:
            if not args.only and number >= args.inputs and time.monotonic() - began > args.seconds:
                break
            what, wrong = shop.tried(number, lambda said: print("next", said, file=out))
            if wrong:
                print("FAILED", f"{what} -> {wrong}".replace("\n", " "), file=out)
        print(DONE, number, file=out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
