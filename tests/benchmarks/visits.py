"""How much of the package a task runs through: files, functions, and calls of them.

python -m tests.benchmarks.visits [--list]

The tasks are a load of the bundled model, the reading of one line image by `generate`, and a
conversion of the bundled model to 4 bits. Each runs once before it is counted, so that imports and
what is kept from one run to the next do not count. --list names the files and functions, by their
calls. A generator counts as called each time that it goes on; comprehensions do not count.

Before the package was divided into rooms (8f455f0) and right after it (6c2a780), Python 3.11:

              files  functions    calls
    load         29        117   11,599
    generate     38        190    2,221
    convert      38        200   28,280
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import mlx_vedec

PACKAGE = Path(mlx_vedec.__file__).parent
IMAGE = "tests/data/lines/seen_006.png"
Visits = Counter[tuple[str, str, int]]  # calls by file, name and line of the function


def visits(task: Callable[[], object]) -> Visits:
    """The functions of the package that a task calls, and how often."""
    found: Visits = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            found[code.co_filename, code.co_name, code.co_firstlineno] += 1

    task()
    sys.setprofile(note)
    try:
        task()
    finally:
        sys.setprofile(None)
    unnamed = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>")
    return Counter({key: calls for key, calls in found.items() if key[1] not in unnamed})


def main() -> None:
    """Print a row for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name files and functions")
    listed = parser.parse_args().list
    model, processor = mlx_vedec.load()
    with tempfile.TemporaryDirectory() as folder:
        tasks = {
            "load": mlx_vedec.load,
            "generate": lambda: mlx_vedec.generate(model, processor, IMAGE),
            "convert": lambda: mlx_vedec.convert(
                PACKAGE / "assets", Path(folder) / "made", quantize=4, overwrite=True
            ),
        }
        print(f"{'':10} {'files':>6} {'functions':>10} {'calls':>8}")
        for name, task in tasks.items():
            found = visits(task)
            files = {file for file, *_ in found}
            print(f"{name:10} {len(files):6} {len(found):10} {found.total():8,}", flush=True)
            for (file, function, line), calls in found.most_common() if listed else ():
                print(f"  {calls:8} {Path(file).relative_to(PACKAGE)}:{line} {function}")


if __name__ == "__main__":
    main()
