"""`mlx_vedec selfcheck`: check that every family computes on this machine what it should.

What it prints can be pasted into an issue; the exit code is 1 where something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .common import run, say
from .flags import FlagParser, add_flag, add_shared

if TYPE_CHECKING:
    from ..measuring.selfcheck import BundledCheck, FamilyCheck, SelfCheck

PROGRAM = "mlx_vedec selfcheck"
REPORT = "please open an issue of mlx_vedec and paste what was printed, all of it"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = FlagParser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "The model types to check, such as vit and trocr."
    unset = "all of them, and the line reader that comes with the package"
    add_flag(p, "family", text, unset, nargs="+", metavar="NAME")
    add_shared(p, "json")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where everything passed, else 1."""
    return run(parser(), _selfcheck, argv)


def _selfcheck(args: argparse.Namespace) -> int:
    os.environ.setdefault("MLX_ENABLE_TF32", "0")  # which MLX reads once; float32 is to be float32
    from ..measuring.selfcheck import selfcheck

    found = selfcheck(args.family, progress=_show)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(_report(found)))
    if not found.passed:
        say(f"{PROGRAM}: failed: {'; '.join(found.failures)}; {REPORT}")
    return int(not found.passed)


def _show(name: str) -> None:
    if sys.stderr.isatty():
        end = "\r\033[K" if name == "the bundled model" else ""
        print(f"\r\033[K{name}{end}", end="", file=sys.stderr, flush=True)


def _report(found: SelfCheck) -> Iterator[str]:
    from ..measuring.selfcheck import PRECISIONS

    yield f"mlx_vedec selfcheck: {'passed' if found.passed else 'FAILED'}"
    yield ""
    for name, line in found.place():
        yield f"- {name}: {line}"
    yield ""
    yield f"| family | {' | '.join(PRECISIONS)} |"
    yield "|---" * (1 + len(PRECISIONS)) + "|"
    yield f"| *allowed* | {' | '.join(f'{one.tolerance:.0e}' for one in PRECISIONS.values())} |"
    for family in found.families:
        yield f"| {family.family} | {' | '.join(_cells(family))} |"
    for family in found.families:
        yield from (f"- {family.family}, {kind}: {what}" for kind, what in family.problems.items())
    if found.bundled:
        yield ""
        yield from _bundled(found.bundled)


def _cells(family: FamilyCheck) -> Iterator[str]:
    for kind, error in family.errors.items():
        shown: Any = "not a number" if error is None else f"{error:.1e}"
        if kind in family.problems:
            shown = "raised"
        yield f"{shown} FAILED" if kind in family.failed else shown


def _bundled(found: BundledCheck) -> Iterator[str]:
    yield f"- bundled model: {found.text!r} in {found.milliseconds:.1f} ms, image to text"
    for how, files in found.wrong.items():
        right = f"{found.lines - len(files)} of {found.lines} lines as they should be"
        named = f"; FAILED: {', '.join(files)}" if files else ""
        yield f"- bundled model, {how}, float32: {right}{named}"
