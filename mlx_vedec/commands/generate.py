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
from .flags import (
    YES,
    add_flag,
    add_generation_flags,
    add_shared,
    generation_options,
    loading_options,
)

if TYPE_CHECKING:
    from ..reading.processor import Processor
    from ..reading.results import GenerationResult

PROGRAM = "mlx_vedec generate"
Read = tuple[str, "GenerationResult"]


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    p = argparse.ArgumentParser(PROGRAM, description=__doc__)
    add_shared(p, "model", "revision", "adapter_path", "quantize", "dtype")
    add_flag(
        p,
        "image",
        "The images: files, folders of images, URLs, or - for stdin.",
        nargs="+",
        required=True,
        metavar="IMAGE",
    )
    add_shared(p, "batch_size", default=16)
    add_shared(p, "-p prompt", "grammar")
    add_flag(
        p,
        "pages",
        "Read the images as the pages of a document (Nougat): each into a file of Markdown in this "
        "folder, unless it has one there, and all joined on stdout.",
        metavar="FOLDER",
    )
    add_flag(p, "split_lines", "Cut a clean printed page into its lines and read each.", **YES)
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

    from ..measuring.machine import blas
    from ..reading.load import load

    sources = expand(args.image)
    model, processor = load(args.model, **loading_options(args))
    options = generation_options(args)
    if args.verbose:
        settled = model.generation_options(tokenizer=processor.tokenizer, **options)
        print(f"options: {settled.changed()}", file=sys.stderr)
        if name := blas():
            print(f"BLAS: {name}", file=sys.stderr)
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
    from ..images.loading import images_in

    sources: list[str] = []
    for name in names:
        sources += [str(path) for path in images_in(name)] if Path(name).is_dir() else [name]
    return sources


def _images(
    model: Any, processor: Processor, sources: list[str], args: argparse.Namespace, options: dict
) -> Iterator[Read]:
    from ..reading.generate import batch_generate

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
    from ..reading.lines import read_lines
    from ..reading.results import GenerationResult

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
    from ..reading.generate import generate
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
    """A result's text, or the data that it stands for as JSON."""
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
