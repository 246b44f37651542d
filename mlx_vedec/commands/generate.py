"""`mlx_vedec generate`: read images and print their text, one line for each line of text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .common import Progress, complain, run
from .flags import add_generation_flags, generation_options
from .results import as_json, as_text, report, warn
from .shared_flags import OVERWRITE, add_loading_flags, add_reading_flags, loading_options

if TYPE_CHECKING:
    from ..pages.sheets import Sheet
    from ..reading.pipeline import GenerationResult
    from ..reading.processor import Processor

PROGRAM = "mlx_vedec generate"
FORMATS = ("text", "json", "page", "alto", "hocr", "tsv", "markdown", "pdf")


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = argparse.ArgumentParser(PROGRAM, description=__doc__)
    p.add_argument(
        "--image",
        nargs="+",
        required=True,
        metavar="IMAGE",
        help="The images to read: files, folders, patterns in quotes, URLs, or - for one from "
        "stdin. A PDF or TIFF may have many pages; a PAGE, ALTO or hOCR file names its image.",
    )
    p.add_argument(
        "--split-lines",
        action="store_true",
        help="Cut each image, a clean printed page, into its lines and read those.",
    )
    p.add_argument(
        "--layout",
        metavar="FILE",
        help="Read the lines that this PAGE, ALTO or hOCR file names, or the file of the image's "
        "name in this folder (default: the one beside the image, if there is one).",
    )
    p.add_argument(
        "--format",
        choices=FORMATS,
        help="The format of pages, with their lines, words and confidences (default: text).",
    )
    p.add_argument(
        "--output",
        metavar="FOLDER",
        help="Write a file for each page to this folder, skip pages that have one, and note what "
        "goes wrong in errors.jsonl there.",
    )
    p.add_argument(
        "--pages",
        metavar="FOLDER",
        help="The same as --output FOLDER --format markdown, for Nougat.",
    )
    p.add_argument("--overwrite", action="store_true", help=OVERWRITE)
    add_loading_flags(p)
    add_reading_flags(p)
    add_generation_flags(p)
    p.add_argument(
        "--json",
        action="store_true",
        help="Print a JSON object for each image, or for each line of a page.",
    )
    p.add_argument(
        "--boxes", action="store_true", help="With --json, add the place of each word in its image."
    )
    p.add_argument(
        "--verbose",
        action="store_true",
        help="Say on stderr which options are in force, how fast each text came, and how sure "
        "it is.",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 where an image could not be read."""
    return run(parser(), _generate, argv)


def _generate(args: argparse.Namespace) -> int:
    import mlx.core as mx

    from ..pages.sheets import all_sheets
    from ..reading.pipeline import load
    from .pages import check_flags, read_as_pages, wants_pages

    check_flags(args)
    sheets = [*all_sheets(args.image)]
    model, processor = load(args.model, **loading_options(args))
    options = generation_options(args)
    effective = model.generation_options(tokenizer=processor.tokenizer, **options)
    if args.verbose:
        print(f"options: {effective.changed()}", file=sys.stderr)
    if args.seed is not None:
        mx.random.seed(args.seed)
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
    from ..reading.pipeline import batch_generate

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
        _hint_at_lines(source, result, processor.line_aspect_ratio)
        yield source, result


def _hint_at_lines(source: str, result: GenerationResult, aspect: float | None) -> None:
    if aspect is None or result.box is None:
        return
    _, _, width, height = result.box
    if not 0.8 < width / height / aspect < 1.25:
        print(
            f"{PROGRAM}: warning: {source} is {width / height:.1f}:1, but this checkpoint reads "
            f"lines on a canvas of {aspect:g}:1; --split-lines prepares them",
            file=sys.stderr,
        )
