"""What an input may end in, and the limits on its time and memory."""

from __future__ import annotations

import contextlib
import inspect
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from mlx_vedec import errors

OURS = tuple(
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
)
SECONDS = 10.0
MEGABYTES = 1000
LONGEST = 5000  # characters of a message


class Hang(BaseException):
    """The time of an input is over; no `except Exception` holds it up."""


def fault(call: Callable[[], object], *, seconds: float = SECONDS) -> str | None:
    """What is wrong with how a call ends; None for a right answer or an error of ours."""
    before = _peak(fresh=True)
    found = _end(call, seconds)
    used = _peak() - before
    return f"{used:,.0f} MB" if found is None and used > MEGABYTES else found


def _end(call: Callable[[], object], seconds: float) -> str | None:
    began = time.monotonic()
    try:
        with _alarm(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except OURS as error:
        said = str(error)
        if not said or len(said) > LONGEST:
            return f"{type(error).__name__} of {len(said):,} characters: {said[:200]}"
    except Hang:
        return f"still at work after {time.monotonic() - began:.1f} s"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {str(error)[:300]} ({_place(error)})"
    return None


def _place(error: BaseException) -> str:
    """The last line of the package that an error went through."""
    place, trace = "outside the package", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if "mlx_vedec" in path.parts:
            name = "/".join(path.parts[path.parts.index("mlx_vedec") :])
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak(*, fresh: bool = False) -> float:
    """The most memory of this process, in MB, since it was last asked for afresh; 0 if unknown."""
    with contextlib.suppress(OSError):
        if fresh:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1000
    return 0.0
