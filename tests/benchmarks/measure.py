"""Sides measured in turn: what neighbours do to the machine falls on all of them alike."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from importlib.metadata import version

import mlx.core as mx

from . import BLAS, LIBRARIES, ONE_THREAD, clock

Side = Callable[[], float]  # does its work once; the seconds that it took
Times = dict[str, list[float]]


def arguments(
    about: str | None,
    *,
    rounds: tuple[int, int],
    layers: tuple[int, int] | None = None,
    add: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> argparse.Namespace:
    """The options of a script, whose first line `about` begins with; says what machine this is.

    rounds, layers -- by default, and with --short. add -- gives the parser options of its own.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a small shape, a few rounds")
    parser.add_argument("--rounds", type=int, help=_defaults(rounds))
    if layers is not None:
        parser.add_argument("--layers", type=int, help="of the decoder; " + _defaults(layers))
    parser.add_argument("--blas", choices=[*LIBRARIES], default="openblas")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="one thread, and its processor time: what a busy machine disturbs least",
    )
    add(parser)
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or rounds[chosen.short]
    if layers is not None:
        chosen.layers = chosen.layers or layers[chosen.short]
    print((about or "").splitlines()[0], machine(), sep="\n", end="\n\n", flush=True)
    return chosen


def _defaults(values: tuple[int, int]) -> str:
    return f"{values[0]} by default, {values[1]} with --short"


def machine() -> str:
    """What the figures were measured on."""
    system = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    device = f"MLX {version('mlx')} on the {mx.default_device().type.name}, {BLAS}"
    time = "processor time of one thread" if ONE_THREAD else f"load {os.getloadavg()[0]:.1f}"
    return f"{datetime.date.today()}: {system}; {device}; {time}"


def timed(work: Callable[[], object]) -> Side:
    """A side of any work."""

    def side() -> float:
        start = clock()
        work()
        return clock() - start

    return side


def in_turn(sides: Mapping[str, Side], rounds: int) -> Times:
    """Seconds of every side, once in each round, after a first round that does not count."""
    times: Times = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            seconds = side()
            if number:
                times[name].append(seconds)
    return times


def show_times(times: Times, rows: int = 1) -> None:
    """A line per side: milliseconds, and what `rows` of it a second are."""
    for name, seconds in times.items():
        rate = f"  {rows / statistics.median(seconds):8.1f} a second" if rows > 1 else ""
        print(f"  {name:34} {_spread([1000 * s for s in seconds], 1)} ms{rate}", flush=True)


def show_ratio(times: Times, over: str, under: str, target: float | None = None) -> None:
    """A line: the median of the ratios round by round, their quartiles, whether that will do."""
    ratios = [a / b for a, b in zip(times[over], times[under], strict=True)]
    median = statistics.median(ratios)
    verdict = ""
    if target is not None:
        verdict = f"  target {target}: {'met' if median <= target else 'MISSED'}"
    print(f"  {f'{over} / {under}':52} {_spread(ratios, 2)}{verdict}", flush=True)


def _spread(values: list[float], digits: int) -> str:
    """The median, and the quartiles in parentheses."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    low, middle, high = (f"{value:.{digits}f}" for value in quartiles)
    return f"{middle} ({low} to {high})"
