"""`mlx_vedec generate`: read images and print their text, one line for each line of text."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .common import Progress, complain, run, say
from .flags import (
    LOADING,
    YES,
    FlagParser,
    add_flag,
    add_generation_flags,
    add_shared,
    generation_options,
    loading_options,
)
from .results import (
    as_json,
    as_text,
    check_flags,
    read_as_pages,
    report,
    wants_pages,
    warn,
)

if TYPE_CHECKING:
    from ..pages.sheets import Sheet
    from ..reading.processor import Processor
    from ..reading.results import GenerationResult

PROGRAM = "mlx_vedec generate"
FORMATS = ("text", "json", "page", "alto", "hocr", "tsv", "markdown", "pdf")


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = FlagParser(PROGRAM, description=__doc__)
    add_shared(p, "model", *LOADING)
    add_flag(
        p,
        "image",
        "The images: files, folders, patterns in quotes, URLs, or - for stdin. A PDF or TIFF may "
        "have many pages; a PAGE, ALTO or hOCR file names its image. The flag may be left out.",
        nargs="+",
        metavar="IMAGE",
    )
    add_flag(
        p,
        "watch",
        "Instead of images: read each image that comes to this folder or changes there, when it is "
        "whole, until Ctrl-C; with --output its file is written anew.",
        metavar="FOLDER",
    )
    add_shared(
        p, "batch_size", unset="as many as memory holds, up to 16, or to 64 of a small model"
    )
    add_shared(p, "-p prompt", "grammar")
    add_flag(p, "split_lines", "Cut a printed page into its lines and read each.", **YES)
    add_flag(
        p,
        "layout",
        "Read the lines of this PAGE, ALTO or hOCR file, or of the one in this folder that has the "
        "image's name.",
        "the file beside the image, if there is one",
        metavar="FILE",
    )
    add_flag(
        p,
        "format",
        "The format of pages, with their lines, words and confidences.",
        "text",
        choices=FORMATS,
    )
    add_flag(
        p,
        "output",
        "Write a file for each page to this folder, skip pages that have one, and note what goes "
        "wrong in errors.jsonl there.",
        metavar="FOLDER",
    )
    add_flag(
        p, "pages", "The same as --output FOLDER --format markdown, for Nougat.", metavar="FOLDER"
    )
    add_shared(p, "overwrite")
    add_flag(p, "boxes", "Say where each word stands, with --json.", **YES)
    add_flag(p, "json", "Print one JSON object per image, or per line.", "as text", **YES)
    add_flag(p, "verbose", "Say on stderr which options are in force, and how fast it went.", **YES)
    add_generation_flags(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 where an image could not be read."""
    return run(parser(), _generate, argv)


def _generate(args: argparse.Namespace) -> int:
    import mlx.core as mx

    from ..images.watching import new_images
    from ..measuring.machine import blas
    from ..pages.sheets import all_sheets
    from ..reading.load import load

    check_flags(args)
    if args.watch is not None and args.image:
        raise OptionError("--watch reads what comes to its folder; leave out the images")
    new = None if args.watch is None else new_images(args.watch)
    sheets = [] if new else [*all_sheets(args.image)]
    model, processor = load(args.model, **loading_options(vars(args)))
    options = generation_options(args)
    if args.verbose:
        settled = model.generation_options(tokenizer=processor.tokenizer, **options)
        say(f"options: {settled.changed()}")
        if name := blas():
            say(f"BLAS: {name}")
    if args.seed is not None:
        mx.random.seed(args.seed)
    if new is None:
        return _read(model, processor, sheets, args, options)
    with suppress(KeyboardInterrupt):  # as it is ended
        for path in new:
            _read(model, processor, [*all_sheets([path])], args, options)
    return 0


def _read(
    model: Any, processor: Processor, sheets: list[Sheet], args: argparse.Namespace, options: dict
) -> int:
    """Read images and print what they say; 0, or 1 where one could not be read."""
    if wants_pages(args, processor, sheets):
        return read_as_pages(PROGRAM, model, processor, sheets, args, options)
    failed = False
    for source, result in _images(model, processor, sheets, args, options):
        if result.error is not None:
            failed = True
            complain(PROGRAM, result.error)
            continue
        print(as_json(source, result) if args.json else as_text(result), flush=True)
        warn(PROGRAM, source, result, asked="max_tokens" in options or "max_new_tokens" in options)
        if args.verbose:
            report(source, result)
    return int(failed)


def _images(
    model: Any, processor: Processor, sheets: list[Sheet], args: argparse.Namespace, options: dict
) -> Iterator[tuple[str, GenerationResult]]:
    from ..reading.generate import batch_generate

    sources = [sheet.name for sheet in sheets]
    progress = Progress(len(sources))
    results = batch_generate(
        model,
        processor,
        sources,
        args.prompt,
        batch_size=args.batch_size,
        boxes=args.boxes,
        grammar=args.grammar,
        **options,
    )
    for source, result in zip(sources, results, strict=True):
        progress.step(source)
        yield source, result
