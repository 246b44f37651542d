"""What `mlx_vedec generate` prints of texts, and of pages, which it may write to a folder."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, counted
from .common import complain, say, show

if TYPE_CHECKING:
    from ..pages.page import Page
    from ..pages.sheets import Sheet
    from ..reading.parts import Part
    from ..reading.processor import Processor
    from ..reading.results import GenerationResult

READ_AGAIN = ("page", "alto", "hocr", "pdf")  # formats of layouts and images
SEPARATOR = "\f"  # between pages on stdout, as pdftotext and Tesseract have it


def warn(program: str, source: str, result: GenerationResult, *, asked: bool) -> None:
    """Say of a text that it did not end by itself, unless that was asked for."""
    reasons = {
        "length": f"was cut after {_tokens(result)}, where there is no more room",
        "repetition": "runs in circles and was cut there",
    }
    reason = reasons.get(result.finish_reason or "")
    if reason and not (asked and result.finish_reason == "length"):
        say(f"{program}: warning: the text of {source} {reason}")


def _tokens(result: GenerationResult) -> str:
    return counted(result.generation_tokens, "token")


def as_text(result: GenerationResult) -> str:
    """The text of a result for stdout, or its data as JSON where it has some."""
    if result.data is None:
        return result.text
    return json.dumps(result.data, ensure_ascii=False)


def as_json(source: str, result: GenerationResult) -> str:
    """A result as one line of JSON."""
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
    if result.parts:
        name = "lines" if result.data is None else "fields"
        values[name] = [_part(part) for part in result.parts]
    if result.boxes:
        values["boxes"] = [vars(word) for word in result.boxes]
    if result.alternatives:
        values["alternatives"] = [
            {"text": other.text, "confidence": round(other.confidence, 6), "score": other.score}
            for other in result.alternatives
        ]
    return json.dumps(values, ensure_ascii=False)


def _part(part: Part) -> dict[str, Any]:
    """A part of a result, a field or a line, as JSON; name and box only where it has them."""
    values = {**vars(part), "confidence": round(part.confidence, 6)}
    return {key: value for key, value in values.items() if value not in ("", None) or key == "text"}


def report(source: str, result: GenerationResult) -> None:
    """Say on stderr how fast a text came, and how sure it is."""
    say(
        f"{source}: {_tokens(result)}, {result.generation_tps:.1f} tokens/s, "
        f"confidence {result.confidence:.3f}, peak memory {result.peak_memory:.3f} GB"
    )


# Pages: their lines found or given


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, and a result folder that is a file.

    `args.folder` becomes the folder of results, None without one.
    """
    from ..pages.bulk import Folder

    if args.pages is not None:
        if args.output is not None:
            raise OptionError("--pages is a name of --output; give one of them")
        args.output, args.format = args.pages, args.format or "markdown"
    if args.json and (args.format or args.output):
        raise OptionError("--json prints lines of JSON; with --output give --format json")
    args.folder = None
    watched = args.watch is not None  # one file is read at a time, and again when it changes
    if args.output is not None:
        output = Path(args.output)
        args.folder = Folder(output, args.format or "text", args.overwrite or watched)
        if watched and args.format in READ_AGAIN and output.resolve() == Path(args.watch).resolve():
            raise OptionError(
                f"{output} is watched, and files of the format {args.format} are read there; "
                "expected another folder for results; give one as --output"
            )
    elif args.overwrite:
        raise OptionError("--overwrite is for --output; give a folder, or leave it out")


def wants_pages(args: argparse.Namespace, processor: Processor, sheets: Sequence[Sheet]) -> bool:
    """Whether images are pages: a flag says so, they are files of pages, or have layouts."""
    from ..pages.sheets import has_layout

    if args.split_lines or args.layout or args.format or args.output:
        return True
    if any(sheet.count > 1 or sheet.layout or sheet.is_pdf for sheet in sheets):
        return True
    return not processor.reads_whole_pages and any(has_layout(sheet) for sheet in sheets)


def read_as_pages(
    program: str,
    model: Any,
    processor: Processor,
    sheets: Sequence[Sheet],
    args: argparse.Namespace,
    options: dict[str, Any],
) -> int:
    """Read pages; 0, or 1 where one could not be read."""
    import mlx.core as mx

    from ..pages.bulk import read_to_folder
    from ..pages.formats import WITH_WORDS
    from ..pages.reading import read_sheets

    if args.prompt is not None and not processor.reads_whole_pages:
        raise OptionError("--prompt is for whole images; leave it out, or leave out --split-lines")
    group = mx.distributed.init()
    shown = Shown(program, len(sheets), args, options)
    watched = args.watch is not None
    if watched and args.folder is not None:
        sheets = [args.folder.claimed(sheet) for sheet in sheets]
    given = [(sheet, args.layout) for sheet in sheets]
    reading = {
        "batch_size": args.batch_size,
        "prompt": args.prompt,
        "boxes": args.boxes or args.format in WITH_WORDS,
        "grammar": args.grammar,
        "progress": shown.line,
        **options,
    }
    if args.folder is not None:
        found = {"group": group, "plan": shown.plan, "done": shown.page, **reading}
        found["keep_errors"] = watched
        return int(read_to_folder(model, processor, given, args.folder, **found) > 0)
    if group.size() > 1:
        raise OptionError("several processes write to one stdout; give --output FOLDER")
    if args.format not in (None, "text", "json", "markdown") and len(sheets) > 1:
        raise OptionError(
            f"--format {args.format} makes a file for each of {len(sheets)} pages; give --output"
        )
    bad = 0
    for page in read_sheets(model, processor, given, **reading):
        bad += page.error is not None
        if page.error is None:
            shown.on_stdout(page)
        shown.page(page)
    return int(bad > 0)


class Shown:
    """Prints pages as they are read: results on stdout, progress and warnings on stderr."""

    def __init__(
        self, program: str, pages: int, args: argparse.Namespace, options: dict[str, Any]
    ) -> None:
        self.program, self.pages, self.args = program, pages, args
        self.asked = "max_tokens" in options or "max_new_tokens" in options
        self.done = self.lines = self.printed = 0
        self.started = time.monotonic()

    def plan(self, pages: int) -> None:
        """Take note of how many pages are to be read."""
        self.pages, self.started = pages, time.monotonic()

    def line(self, _: object) -> None:
        """Count a line, or a piece of one, as read."""
        self.lines += 1
        if sys.stderr.isatty() and self.pages > 1:
            self._show("")

    def page(self, page: Page) -> None:
        """Count a page as read; print how far all is, and what was wrong with this one."""
        self.done += 1
        if self.pages > 1:
            self._show("" if sys.stderr.isatty() else f": {page.name}")
        if page.error is not None:
            complain(self.program, page.error)
        for line in page.lines:
            if line.error is not None:
                say(f"{self.program}: warning: {page.name}: {line.error}")
            if line.result is not None:
                warn(self.program, page.name, line.result, asked=self.asked)
                if self.args.verbose:
                    report(page.name, line.result)

    def _show(self, more: str) -> None:
        """Show `12/200 pages, 57 lines, 1:20 left` on stderr."""
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.pages - self.done) if self.done else 0
        clock = (
            f", {int(left) // 60}:{int(left) % 60:02} left" if 0 < self.done < self.pages else ""
        )
        said = f"{self.done}/{self.pages} pages, {counted(self.lines, 'line')}{clock}{more}"
        show(said, last=self.done == self.pages, each=True)

    def on_stdout(self, page: Page) -> None:
        """A page's lines of JSON, or its text, apart from that of the page before."""
        from ..pages.formats import as_dict

        if self.args.json:
            for line in page.lines:
                if line.result is not None:
                    print(as_json(page.name, line.result), flush=True)
        elif self.args.format == "json":
            print(json.dumps(as_dict(page), ensure_ascii=False), flush=True)
        else:
            if self.printed:
                print(SEPARATOR)
            sys.stdout.flush()
            data = page.to_bytes(self.args.format or "text")
            _write(data)
        self.printed += 1


def _write(data: bytes) -> None:
    """Bytes to stdout; as text where it takes no bytes, as in notebooks."""
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode("utf-8"))
    sys.stdout.flush()
