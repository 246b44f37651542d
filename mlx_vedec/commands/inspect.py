"""`mlx_vedec inspect`: say what a model is, where its settings come from, and if it loads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .common import complain, run
from .flags import SHARED, FlagParser, add_flag, add_shared

if TYPE_CHECKING:
    from ..measuring.inspection import Inspection

PROGRAM = "mlx_vedec inspect"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = FlagParser(PROGRAM, description=__doc__)
    p.add_argument("model", help=SHARED["model"][0])
    add_flag(
        p,
        "image",
        "Read this line or page under each of the start, end and padding ids that the files name, "
        "and say which of them the model means.",
        "no image is read",
        dest="line",
        metavar="LINE",
    )
    add_shared(p, "revision", "subfolder", "processor", "json")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where the checkpoint loads, else 1."""
    return run(parser(), _inspect, argv)


def _inspect(args: argparse.Namespace) -> int:
    from ..measuring.inspection import inspect

    where = {"revision": args.revision, "subfolder": args.subfolder}
    found = inspect(args.model, **where, processor=args.processor, image=args.line)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(_report(found)))
    for problem in found.problems:
        complain(PROGRAM, ValueError(problem))
    return int(not found.loads)


def _report(found: Inspection) -> Iterator[str]:
    yield f"{found.folder}: {'loads' if found.loads else 'does not load'}"
    yield from (f"  {part:12} {text}" for part, text in found.parts.items())
    if found.parameters:
        counts = ", ".join(f"{part} {count:,}" for part, count in found.parameters.items())
        yield f"  parameters   {sum(found.parameters.values()):,} ({counts})"
        yield from _tensors(found)
        sizes = ", ".join(f"{size / 1e6:,.1f} MB {of}" for of, size in found.memory.items())
        yield f"  memory       {sizes}"
    for s in found.settings:
        yield f"  {s.name} = {s.used}, from {s.source}"
    if found.tokenizer:
        named = ", ".join(f"{k} {v}" for k, v in found.tokenizer.items() if k != "tokens")
        yield f"  tokenizer    {found.tokenizer['tokens']:,} tokens; {named}"
    if found.images:
        kind, size = found.images["image_processor_type"], found.images.get("size")
        yield f"  images       {kind}, size {size}"
    yield from (f"  read {reading}" for reading in found.readings)
    if len(found.readings) > 1 and not any(reading.meant for reading in found.readings):
        yield "  all of these ids read the image alike"
    yield from (f"  note: {note}" for note in found.notes)


def _tensors(found: Inspection) -> Iterator[str]:
    stored = found.tensors
    types = ", ".join(f"{count} {name}" for name, count in stored["types"].items())
    yield f"  tensors      {stored['stored']} ({types}), {stored['bytes'] / 1e6:,.1f} MB"
    for what in ("kept but not computed with", "ignored"):
        if stored[what]:
            names = ", ".join(stored[what][:4]) + (", …" if len(stored[what]) > 4 else "")
            yield f"    {len(stored[what])} {what}: {names}"
