"""The kinds of hostile inputs, and one input of a seed tried."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.hostile import calls, folders, pictures
from tests.hostile.limits import SECONDS, fault

Kind = Callable[[Path, Random], tuple[str, Callable[[], object]]]
# Each with how often it comes among a hundred.
KINDS: dict[str, tuple[Kind, int]] = {
    "damaged": (pictures.damaged, 20),
    "absurd": (pictures.absurd, 4),
    "arrays": (pictures.arrays, 12),
    "lines": (pictures.lines, 2),
    "checkpoints": (folders.checkpoints, 18),
    "tensors": (folders.tensors, 4),
    "adapters": (folders.adapters, 6),
    "states": (folders.states, 2),
    "data": (folders.data, 5),
    "layouts": (folders.layouts, 8),
    "settings": (folders.settings, 4),
    "options": (calls.options, 11),
    "command_lines": (calls.command_lines, 4),
    "processes": (calls.processes, 0),
}


class Workshop:
    """A folder to try inputs in; input n of a seed and a kind is the same in every run.

    processes -- of so many inputs, command lines that are processes, evenly among them
    """

    def __init__(
        self, scratch: Path, seed: int, kinds: tuple[str, ...], processes: int = 0, inputs: int = 1
    ) -> None:
        self.scratch, self.seed, self.kinds = scratch, seed, kinds
        self.every = max(1, inputs // processes) if processes else 0
        self.here = scratch / "here"
        self.here.mkdir(exist_ok=True)

    def tried(
        self, number: int, told: Callable[[str], object] = lambda said: None
    ) -> tuple[str, str | None]:
        """What an input was, and what is wrong with how it ended; told -- is called before it."""
        rng = Random(f"{self.seed}/{number}")
        weights = [KINDS[kind][1] for kind in self.kinds]
        kind = rng.choices(self.kinds, weights if any(weights) else None)[0]
        if self.every and number % self.every == self.every - 1:
            kind = "processes"
        make, seconds = KINDS[kind][0], SECONDS * (4 if kind == "processes" else 1)
        told(f"{number} {kind}")
        what, call = make(self.scratch, rng)
        repeat = f"--seed {self.seed} --kinds {kind} --only {number}"
        what = f"{number} ({repeat}): {what[:600]!r}"
        told(what)
        before = Path.cwd()
        os.chdir(self.here)
        try:
            return what, fault(call, seconds=seconds)
        finally:
            with contextlib.suppress(OSError):
                os.chdir(before)
