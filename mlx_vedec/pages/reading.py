"""Reading pages: the lines of many pages as one stream of work, put together page by page."""

from __future__ import annotations

import itertools
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from PIL import Image

from ..errors import LayoutError, OptionError, as_path, shown
from ..images.boxes import Box
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import batch_generate, check_batch_size, check_reader
from ..reading.processor import Processor
from ..reading.results import GenerationResult
from .finding import find_layout
from .layout import Alternative, FoundLine, Layout, Line, Region, Word, box_around, corners
from .page import Page
from .sheets import Given, Sheet, all_sheets, layout_for, with_image
from .strips import pieces_of

TRIED = 4  # lines that are read to see which way up a page is, two pieces of each
UNSURE = 0.6  # confidence, below which a line was hardly read


@dataclass(eq=False)
class PageWork:
    """A page that is being read: its lines, the places of their pieces, and what these gave.

    moves -- of each piece, from a box in it to one of the page. results -- by a piece's place
    """

    page: Page
    places: list[range] = field(default_factory=list)
    moves: list[Callable[[Box], Box]] = field(default_factory=list)
    results: dict[int, GenerationResult] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all pieces were read."""
        return len(self.results) == len(self.moves)

    def read(self, line: Line, places: range) -> Line:
        """A line with what its pieces gave."""
        return _with_result(line, [_placed(self.results[i], self.moves[i]) for i in places])

    def finished(self) -> Page:
        """The page with what was read."""
        if self.page.error is not None:
            return self.page
        lines = [self.read(*pair) for pair in zip(self.page.lines, self.places, strict=True)]
        page = _with_lines(self.page, lines)
        _warn_if_unsure(page)
        if len(lines) == 1 and lines[0].result is not None and lines[0].result.data is None:
            return _in_parts(page, lines[0])
        return page


def read_page(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Any,
    *,
    layout: Given = None,
    boxes: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> Page:
    """The text of one page, line by line.

    image  -- what `load_image` takes, a PDF of one page, or a layout file that names its image
    layout -- where its lines are: a PAGE, ALTO or hOCR file, a folder with one of the image's name,
              or a `Page`. By default what is found beside the image; where that is nothing, and for
              False, the lines of a printed page are found here
    boxes  -- where each word stands, too. batch_size -- lines that are decoded together, by default
              as many as `batch_generate` does for None. options -- its others, such as num_beams

    A page that cannot be read is a `ValueError`. A line that cannot be has its own `.error`.

    >>> from mlx_vedec import load
    >>> page = read_page(*load(), "tests/data/lines/seen_006.png", boxes=False)
    >>> print(page.text)
    wheel 206,3
    """
    reading = {"boxes": boxes, "batch_size": batch_size, **options}
    pages = read_pages(model, processor, [image], layouts=[layout], **reading)
    page, *others = itertools.islice(pages, 2)
    if others:
        raise OptionError("the image has several pages; expected one; use read_pages")
    if page.error is not None:
        raise page.error
    return page


def read_lines(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    image: Any,
    *,
    batch_size: int | None = None,
    boxes: bool = False,
    **options: Any,
) -> list[GenerationResult]:
    """The lines that are found on a printed page, in reading order, each with its `box`.

    They are the results of `read_page(..., layout=False)`.
    """
    page = read_page(
        model, processor, image, layout=False, boxes=boxes, batch_size=batch_size, **options
    )
    return [line.result for line in page.lines if line.result is not None]


def read_pages(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    images: Any,
    *,
    layouts: Given | Sequence[Given] = None,
    boxes: bool = True,
    batch_size: int | None = None,
    prompt: str | None = None,
    progress: Callable[[GenerationResult], object] | None = None,
    **options: Any,
) -> Iterator[Page]:
    """The pages of any number of images, in their order, their lines as one stream of work.

    images  -- a folder, a pattern such as "scans/*.png", a PDF or TIFF of many pages, or an
               iterable of what `read_page` takes
    layouts -- for each image, or one that holds for all: a folder of files of the images' names,
               None for what is beside them, False for none
    prompt  -- for whole pages, that Donut and Nougat read. progress -- is called with each line's
               result when it is there

    A page that cannot be read has an `.error`, and the rest goes on.
    """
    reading = {"boxes": boxes, "batch_size": batch_size, "prompt": prompt, "progress": progress}
    check_reader(model, processor)
    check_batch_size(batch_size)
    sheets = _with_layouts(images, layouts)
    return read_sheets(model, processor, sheets, **reading, **options)


def _with_layouts(images: Any, layouts: Any) -> Iterator[tuple[Sheet, Given]]:
    """Each page with where its layout is to come from."""
    for given in layouts if isinstance(layouts, (list, tuple)) else [layouts]:
        if not (given is None or isinstance(given, (bool, str, os.PathLike, Layout))):
            raise OptionError(
                f"layout is {shown(given)}; expected a file, a folder, a Page, None or False"
            )
        if isinstance(given, (str, os.PathLike)):
            as_path(given, "layout")
    if not isinstance(layouts, (list, tuple)):
        return ((sheet, layouts) for sheet in all_sheets(images))
    if not isinstance(images, (list, tuple)) or len(images) != len(layouts):
        raise OptionError(
            f"there are {len(layouts)} layouts for {shown(images)}; expected lists of images and "
            "layouts of one length, or one layout for all"
        )
    pairs = zip(images, layouts, strict=True)
    return ((sheet, layout) for image, layout in pairs for sheet in all_sheets([image]))


def read_sheets(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    sheets: Iterable[tuple[Sheet, Given]],
    *,
    boxes: bool = True,
    batch_size: int | None = None,
    prompt: str | None = None,
    progress: Callable[[GenerationResult], object] | None = None,
    **options: Any,
) -> Iterator[Page]:
    """`read_pages` for pages that are found already."""
    whole = processor.reads_whole_pages
    if prompt is not None and not whole:
        raise OptionError("a prompt is for checkpoints that read whole pages; leave it out")
    aspect = processor.line_aspect_ratio
    name, read = name_of(model), partial(batch_generate, model, processor)
    waiting: deque[PageWork] = deque()

    def pictures() -> Iterator[Image.Image]:
        for sheet, given in sheets:
            work, pieces = begin_page(sheet, given, name, read, whole=whole, aspect=aspect)
            waiting.append(work)
            yield from pieces

    stream = pictures()
    first = next(stream, None)
    if first is not None:
        results = batch_generate(
            model,
            processor,
            itertools.chain([first], stream),
            prompt,
            batch_size=batch_size,
            boxes=boxes,
            progress=progress,
            **options,
        )
        for result in results:
            work = next(work for work in waiting if not work.done)
            work.results[len(work.results)] = result
            while waiting and waiting[0].done:
                yield waiting.popleft().finished()
    while waiting:
        yield waiting.popleft().finished()


def name_of(model: VisionEncoderDecoderModel) -> str:
    """What a model is called in the pages that it reads."""
    kinds = f"{model.config.encoder.model_type} + {model.config.decoder.model_type}"
    return getattr(model, "name_or_path", "") or kinds


# From a page to pieces


def begin_page(
    sheet: Sheet,
    given: Given,
    model: str,
    read: Callable[[list[Image.Image]], Iterable[GenerationResult]],
    *,
    whole: bool,
    aspect: float | None,
) -> tuple[PageWork, list[Image.Image]]:
    """A page with its lines, not yet read, and the pictures of their pieces, which are to be.

    read -- reads pictures of lines, a few of them where it is in doubt which way up the page is.
    whole -- the image is read as it is, as one line. aspect -- of the model's lines, where it has
    one. A page that cannot be read has an `.error`, and no pieces.
    """
    try:
        picture = with_image(sheet).load()
        found = None if whole else layout_for(sheet, given, picture)
        layout = found or _found_here(picture, read, whole=whole, aspect=aspect)
        layout = replace(layout, model=model, image=layout.image or _image_name(sheet))
        page = Page.of(replace(layout, size=picture.size), name=sheet.name, picture=picture)
        work, pieces = PageWork(page), []
        lines = []
        for line in page.lines:
            try:
                own = pieces_of(picture, line, aspect)
            except LayoutError as error:
                line, own = replace(line, error=error), []
            lines.append(line)
            work.places.append(range(len(pieces), len(pieces) + len(own)))
            work.moves += [piece.to_page for piece in own]
            pieces += [piece.picture for piece in own]
        work.page = _with_lines(page, lines)
    except ValueError as error:
        return PageWork(Page(image=_image_name(sheet), name=sheet.name, error=error)), []
    return work, pieces


def _image_name(sheet: Sheet) -> str:
    return sheet.path.name if sheet.path and sheet.layout is None else ""


def _found_here(
    picture: Image.Image,
    read: Callable[[list[Image.Image]], Iterable[GenerationResult]],
    *,
    whole: bool,
    aspect: float | None,
) -> Layout:
    """The layout of a page that comes without one."""
    if whole:
        box = (0, 0, *picture.size)
        return Layout((Region((FoundLine(box=box, ink=box),), box),))

    def extent(line: FoundLine) -> int:
        left, top, right, bottom = line.box
        return max(right - left, bottom - top)

    def confidence(lines: Sequence[FoundLine]) -> float:
        longest = sorted(lines, key=extent, reverse=True)[:TRIED]
        pieces = [piece for line in longest for piece in pieces_of(picture, line, aspect)[:2]]
        results = [*read([piece.picture for piece in pieces])] if pieces else []
        return sum(r.confidence for r in results if r.error is None) / max(len(results), 1)

    return find_layout(picture, confidence)


# From results to a page


def _warn_if_unsure(page: Page) -> None:
    """Say so where most of the lines that were found on a page look unlike what can be read."""
    found = [line for line in page.lines if isinstance(line, FoundLine) and line.text]
    low = [line for line in found if (line.confidence or 0.0) < UNSURE]
    if 2 * len(low) > len(found):
        warnings.warn(
            f"{page.name}: {len(low)} of {len(found)} lines were read with a confidence below "
            f"{UNSURE}; the page looks unlike what this checkpoint reads; check the lines with "
            "page.overlay(), or give the page a layout (see PAGES.md)",
            stacklevel=2,
        )


def _in_parts(page: Page, whole: Line) -> Page:
    """A page that was read as one, in the lines that the model wrote: blank ones end a region."""
    assert whole.result is not None
    if not whole.result.parts:
        return page
    parts = iter(whole.result.parts)
    regions = []
    for block in re.split(r"\n\s*\n", whole.text):
        lines = []
        for text in filter(str.strip, block.split("\n")):
            part = next(parts, None)
            box = part.box if part and part.box else whole.box
            lines.append(Line(text, box, confidence=part and part.confidence))
        if lines:
            around = box_around(point for line in lines for point in corners(line.box))
            regions.append(Region(tuple(lines), around))
    first = regions[0].lines[0]
    regions[0] = replace(
        regions[0], lines=(replace(first, result=whole.result), *regions[0].lines[1:])
    )
    return replace(page, regions=tuple(regions))


def _with_lines(page: Page, lines: Sequence[Line]) -> Page:
    """A page with other lines in the places of its own."""
    rest = iter(lines)
    regions = (replace(r, lines=tuple(itertools.islice(rest, len(r.lines)))) for r in page.regions)
    return replace(page, regions=tuple(regions))


def _placed(result: GenerationResult, to_page: Callable[[Box], Box]) -> GenerationResult:
    words = tuple(replace(word, box=to_page(word.box)) for word in result.boxes)
    return replace(result, boxes=words)


def _with_result(line: Line, parts: Sequence[GenerationResult]) -> Line:
    if line.error is not None:
        return line
    failed = next((part.error for part in parts if part.error is not None), None)
    if failed is not None or not parts:
        return replace(line, text="", confidence=None, words=(), alternatives=(), error=failed)
    result = replace(joined(parts), box=line.box)
    return replace(
        line,
        text=result.text,
        confidence=result.confidence,
        alternatives=tuple(Alternative(a.text, a.confidence) for a in result.alternatives),
        words=tuple(Word(word.text, word.box, word.confidence) for word in result.boxes),
        result=result,
    )


def joined(parts: Sequence[GenerationResult]) -> GenerationResult:
    """One line's result from those of its pieces."""
    if len(parts) == 1:
        return parts[0]
    logprobs = tuple(value for part in parts for value in part.token_logprobs)
    whole = replace(
        parts[0],
        text=" ".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        token_logprobs=logprobs,
        score=math.fsum(logprobs) / max(len(logprobs), 1),
        alternatives=(),
        finish_reason=next((p.finish_reason for p in parts if p.finish_reason != "stop"), "stop"),
        boxes=tuple(word for part in parts for word in part.boxes),
    )
    most = max(len(part.alternatives) for part in parts)
    return replace(whole, alternatives=tuple(_likeliest(parts, most)))


def _likeliest(parts: Sequence[GenerationResult], count: int) -> list[GenerationResult]:
    """Other texts of a line: each with one of its pieces another way, the likeliest first."""
    bare = [replace(part, alternatives=()) for part in parts]
    others = [
        joined([*bare[:place], other, *bare[place + 1 :]])
        for place, part in enumerate(parts)
        for other in part.alternatives
    ]
    return sorted(others, key=lambda other: -other.confidence)[:count]
