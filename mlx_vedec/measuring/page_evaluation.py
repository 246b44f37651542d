"""How well pages are read end to end: their lines found, read, and put in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from ..data.layouts import has_samples
from ..errors import DataError, MetricError, OptionError, as_path, listed, shown
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..pages.layout import Layout
from ..pages.page import Page
from ..pages.reading import read_sheets
from ..pages.sheets import Sheet, has_layout, layout_for, sheets_of
from ..reading.generate import check_reader
from ..reading.processor import Processor
from ..text.error_rates import AS_IS, SHARES, Normalization, Share, check_names
from .arguments import check_arguments
from .evaluation import Evaluation, Row
from .intervals import check_bootstrap, estimates
from .page_scores import ONE_SPACE, TRUE_LINES, line_shares
from .processes import in_shares

OF_LINES = ("line_f1", "reading_order")  # how they were found
PAGE_METRICS = (*OF_LINES, TRUE_LINES, *SHARES)
DEFAULT = ("line_f1", "cer", TRUE_LINES, "wer", "reading_order")


class PageReading(NamedTuple):
    """What was read on a page: from the lines that were found, and from the true ones.

    image -- its path. lines -- what the page adds to each of `OF_LINES`. confidence, error -- the
    page's. All are JSON values
    """

    where: str
    image: str
    reference: str
    found: str
    from_true_lines: str
    lines: Mapping[str, Sequence[float]]
    confidence: float
    error: str | None

    def share(self, metric: str, normalization: Normalization) -> Share:
        """What the page adds to a metric."""
        if metric in OF_LINES:
            return Share(*self.lines[metric])
        read = self.from_true_lines if metric == TRUE_LINES else self.found
        read, wanted = (ONE_SPACE(normalization(text)) for text in (read, self.reference))
        return SHARES["cer" if metric == TRUE_LINES else metric](read, wanted)


def page_sheets(data: str | Path) -> list[Sheet]:
    """The pages of a folder of images that have PAGE, ALTO or hOCR beside them.

    An empty list where `data` is something else, such as a table, or a folder that has one. Where
    some images have a layout and others do not, a `DataError` names those.
    """
    path = Path(data)
    if not path.is_dir() or has_samples(path):
        return []
    try:
        sheets = sheets_of(path)
    except ValueError:  # `load_dataset` says what is missing
        return []
    bare = [sheet.name for sheet in sheets if not has_layout(sheet)]
    if bare and len(bare) < len(sheets):
        raise DataError(
            f"{len(bare)} of {len(sheets)} pages have no layout: {listed(bare, 5)}; expected PAGE, "
            "ALTO or hOCR beside each, with its lines and texts"
        )
    return [] if bare else sheets


def evaluate_pages(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    pages: str | Path | Sequence[Sheet],
    *,
    layout: str | Path | None = None,
    batch_size: int = 16,
    metrics: Sequence[str] | None = None,
    normalization: Normalization = AS_IS,
    bootstrap: int = 1000,
    seed: int = 0,
    prompt: str | None = None,
    group: mx.distributed.Group | None = None,
    progress: Callable[[Page], object] | None = None,
    **options: Any,
) -> Evaluation:
    """Find and read the lines of pages whose lines and texts are known, and compare.

    pages   -- a folder of images with PAGE, ALTO or hOCR beside each, or what `page_sheets` gives
    layout  -- a folder of files with the images' names: these lines are scored and read, such as
               another segmenter found them, and not those that are found here
    metrics -- names of `PAGE_METRICS`, by default `DEFAULT`: `line_f1` and `reading_order` are told
               in `page_scores`; those of texts are of the whole page's, white space normalised;
               `true_lines_cer` is the CER of what is read from the true lines
    progress -- is called with each page that was read. bootstrap, seed, prompt, group, options --
               those of `evaluate`

    Each page is a row. One that cannot be read counts as one where nothing was found. Donut and
    Nougat read pages without lines: for them texts alone are compared. Where no layout has a text,
    lines alone are.

    >>> from mlx_vedec import load
    >>> pages = [page for page in page_sheets("tests/data/pages") if "few_lines" in page.stem]
    >>> evaluate_pages(*load(), pages[:1], bootstrap=0).metrics["true_lines_cer"].value
    0.0
    """
    check_reader(model, processor)
    check_arguments(processor=processor, batch_size=batch_size)
    check_arguments(normalization=normalization, seed=seed)
    optional = {"metrics": metrics, "prompt": prompt, "group": group, "progress": progress}
    check_arguments(*optional, **optional)
    check_bootstrap(bootstrap)
    given = False if layout is None else _folder(layout)
    sheets = _checked(pages)
    whole = processor.reads_whole_pages
    texts = any(true.text for sheet in sheets if (true := layout_for(sheet, None, None)))
    names = _names(metrics, lines=not whole, texts=texts)

    def read(share: Sequence[Sheet]) -> list[PageReading]:
        works = (
            (sheet, kind) for sheet in share for kind in ((given,) if whole else (given, None))
        )
        reading = {"boxes": False, "batch_size": batch_size, "prompt": prompt, **options}
        found = read_sheets(model, processor, works, **reading)
        return [*_readings(share, found, whole=whole, progress=progress)]

    started = time.perf_counter()
    readings = [PageReading(*values) for values in in_shares(read, sheets, group)]
    seconds = time.perf_counter() - started
    counted = {
        name: [reading.share(name, normalization) for reading in readings]
        for name in dict.fromkeys((*names, "cer"))
    }
    rows = tuple(map(_row, readings, counted["cer"]))
    shares = {name: counted[name] for name in names}
    return Evaluation(estimates(shares, bootstrap=bootstrap, seed=seed), rows, shares, seconds)


def _checked(pages: str | Path | Sequence[Sheet]) -> Sequence[Sheet]:
    if isinstance(pages, (list, tuple)) and all(isinstance(page, Sheet) for page in pages):
        found = [*pages]
    else:
        found = page_sheets(as_path(pages, "pages"))
    if not found:
        raise DataError(
            f"{shown(pages)} has no pages; expected a folder of images, each with PAGE, ALTO or "
            "hOCR of its name beside it"
        )
    return found


def _folder(layout: str | Path) -> Path:
    path = as_path(layout, "layout")
    if not path.is_dir():
        raise OptionError(f"layout is {shown(str(path))}; expected a folder of PAGE, ALTO or hOCR")
    return path


def _names(metrics: Sequence[str] | None, *, lines: bool, texts: bool) -> list[str]:
    """The metrics to compute, of those for which there is something to compare."""
    check_names(metrics or (), PAGE_METRICS)
    of_texts = [name for name in (TRUE_LINES, *SHARES) if lines or name != TRUE_LINES]
    known = [*OF_LINES] * lines + of_texts * texts
    wrong = [name for name in metrics or () if name not in known]
    if wrong or not known:
        why = "a checkpoint that reads lines, not whole pages" if texts else "texts in the layouts"
        raise MetricError(
            f"{' and '.join(wrong or DEFAULT)} need {why}; expected {', '.join(known) or why}"
        )
    return [*metrics] if metrics else [name for name in DEFAULT if name in known]


def _readings(
    sheets: Sequence[Sheet],
    pages: Iterable[Page],
    *,
    whole: bool,
    progress: Callable[[Page], object] | None,
) -> Iterator[PageReading]:
    """A reading for each page, of which there are two: with found lines, and with true ones."""
    pages = iter(pages)
    for sheet in sheets:
        found = next(pages)
        known = found if whole else next(pages)
        if known.error is not None:  # such as a layout that is not of this image
            found = known
        true = layout_for(sheet, None, found.picture)
        assert true is not None
        if progress is not None:
            progress(found)
        yield _reading(sheet, found, known, true)


def _reading(sheet: Sheet, found: Page, known: Page, true: Layout) -> PageReading:
    return PageReading(
        where=sheet.name,
        image=str(sheet.path or ""),
        reference=true.text,
        found=found.text,
        from_true_lines=known.text,
        lines=line_shares(found, true),
        confidence=found.confidence or 0.0,
        error=None if found.error is None else str(found.error),
    )


def _row(reading: PageReading, count: Share) -> Row:
    return Row(
        where=reading.where,
        image=reading.image,
        references=(reading.reference,),
        prediction=reading.found,
        edits=int(count.part),
        cer=count.ratio,
        confidence=reading.confidence,
        finish_reason=None,
        error=reading.error,
    )
