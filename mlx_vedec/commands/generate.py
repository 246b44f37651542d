"""`mlx_vedec generate`: read images and print their text, one line for each line of text."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import Progress, complain, run
from .flags import add_generation_flags, generation_options
from .shared_flags import add_loading_flags, add_reading_flags, loading_options

if TYPE_CHECKING:
    from ..reading.pipeline import GenerationResult
    from ..reading.processor import Processor

PROGRAM = "mlx_vedec generate"
Read = tuple[str, "GenerationResult"]


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = argparse.ArgumentParser(PROGRAM, description=__doc__)
    p.add_argument(
        "--image",
        nargs="+",
        required=True,
        metavar="IMAGE",
        help="The images to read: files, folders of images, URLs, or - for one from stdin.",
    )
    p.add_argument(
        "--split-lines",
        action="store_true",
        help="Cut each image, a clean printed page, into its lines and read those.",
    )
    p.add_argument(
        "--pages",
        metavar="FOLDER",
        help="Read the images as the pages of one document (Nougat): write each page's Markdown to "
        "a file in this folder, skip pages that have one, and print all of them joined.",
    )
    add_loading_flags(p)
    add_reading_flags(p)
    add_generation_flags(p)
    p.add_argument(
        "--json",
        action="store_true",
        help="Print a JSON object for each image, or for each line with --split-lines.",
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

    from ..reading.pipeline import load

    sources = expand(args.image)
    model, processor = load(args.model, **loading_options(args))
    options = generation_options(args)
    effective = model.generation_options(tokenizer=processor.tokenizer, **options)
    if args.verbose:
        print(f"options: {effective.changed()}", file=sys.stderr)
    if args.seed is not None:
        mx.random.seed(args.seed)
    if args.pages is not None:
        print(_document(model, processor, sources, args, options))
        return 0
    read = _pages if args.split_lines else _images
    failed = False
    for source, result in read(model, processor, sources, args, options):
        if result.error is not None:
            failed = True
            complain(PROGRAM, result.error)
            continue
        print(_as_json(source, result) if args.json else _plain(result), flush=True)
        _warn(source, result, asked="max_tokens" in options or "max_new_tokens" in options)
        if args.verbose:
            _report(source, result)
    return int(failed)


def _warn(source: str, result: GenerationResult, *, asked: bool) -> None:
    """Say of a text that it did not end by itself, unless that was asked for."""
    reasons = {
        "length": f"was cut after {result.generation_tokens} tokens, where there is no more room",
        "repetition": "runs in circles and was cut there",
    }
    reason = reasons.get(result.finish_reason or "")
    if reason and not (asked and result.finish_reason == "length"):
        print(f"{PROGRAM}: warning: the text of {source} {reason}", file=sys.stderr)


def expand(names: Sequence[str]) -> list[str]:
    """Images named one by one, and those in the folders that are named, sorted."""
    from ..images.pictures import images_in

    sources: list[str] = []
    for name in names:
        sources += [str(path) for path in images_in(name)] if Path(name).is_dir() else [name]
    return sources


def _images(
    model: Any, processor: Processor, sources: list[str], args: argparse.Namespace, options: dict
) -> Iterator[Read]:
    from ..reading.pipeline import batch_generate

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


def _pages(
    model: Any, processor: Processor, sources: list[str], args: argparse.Namespace, options: dict
) -> Iterator[Read]:
    from ..errors import ImageError, OptionError
    from ..reading.pipeline import GenerationResult, read_lines

    if args.prompt is not None:
        raise OptionError("--prompt is for whole images; leave it out, or leave out --split-lines")
    progress = Progress(len(sources))
    for source in sources:
        try:
            results = read_lines(
                model, processor, source, batch_size=args.batch_size, boxes=args.boxes, **options
            )
        except ImageError as error:
            results = [GenerationResult(error=error)]
        progress.step(source)
        for result in results:
            yield source, result


def _document(
    model: Any, processor: Processor, sources: list[str], args: argparse.Namespace, options: dict
) -> str:
    """The pages of a document as one text; one that runs in circles is noticed unless told not."""
    from ..reading.pipeline import generate
    from ..tasks.nougat_pages import read_pages

    progress = Progress(len(sources))
    rules = {"stop_on_repetition": "ngram" if args.num_beams else True, **options}

    def read(source: str) -> GenerationResult:
        result = generate(model, processor, source, args.prompt, **rules)
        progress.step(source)
        text = processor.decode(result.tokens, skip_special_tokens=True)
        return dataclasses.replace(result, text=text)

    return read_pages(read, sources, args.pages)


def _plain(result: GenerationResult) -> str:
    """A text, or the data that it stands for."""
    if result.data is None:
        return result.text
    return json.dumps(result.data, ensure_ascii=False)


def _as_json(source: str, result: GenerationResult) -> str:
    values = {
        "image": source,
        "text": result.text,
        "confidence": round(result.confidence, 6),
        "tokens": result.tokens,
        "finish_reason": result.finish_reason,
        "box": result.box,
    }
    if result.data is not None:
        values["data"] = result.data
    if result.boxes:
        values["boxes"] = [vars(word) for word in result.boxes]
    if result.alternatives:
        values["alternatives"] = [
            {"text": other.text, "confidence": round(other.confidence, 6), "score": other.score}
            for other in result.alternatives
        ]
    return json.dumps(values, ensure_ascii=False)


def _report(source: str, result: GenerationResult) -> None:
    print(
        f"{source}: {result.generation_tokens} tokens, {result.generation_tps:.1f} tokens/s, "
        f"confidence {result.confidence:.3f}, peak memory {result.peak_memory:.3f} GB",
        file=sys.stderr,
    )
