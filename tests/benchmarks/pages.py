"""Pages whose lines and texts are known, read with the bundled model and with Tesseract 5.

python -m tests.benchmarks.pages [FOLDER] [--only TEXT] [--psm N] [--worst FOLDER] [--cpu]

For each page: F1 of the lines that are found (polygons, IoU 0.5), the CER of the page from found
lines and from the true ones, Tesseract's CER, and the processor time of both in seconds. CER is of
the whole text in reading order, white space normalised: see mlx_vedec/measuring/page_scores.py.
Without `tesseract` (apt-get install tesseract-ocr tesseract-ocr-eng) its columns are empty. Pages
that come without true lines, but with a .txt, are read too: `../shared/images`, where it is.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_vedec import load, read_page
from mlx_vedec.images.loading import image_files
from mlx_vedec.measuring.page_scores import ONE_SPACE, PageScores, score_page
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.text.error_rates import Share, characters, total

from . import BLAS, LIBRARIES
from .measure import machine

PAGES = Path("tests/data/pages")
MORE = Path("../shared/images")
COLUMNS = "F1", "order", "found", "true", "Tess.", "s", "Tess.s"
HEAD = " ".join((f"{'page':42} {'lines':>7}", *(f"{name:>6}" for name in COLUMNS)))


@dataclass
class Row:
    """A page's scores; None where there is nothing to compare with. Times are of the processor."""

    name: str
    found: PageScores | None
    cer: Share
    true_lines: Share | None
    tesseract: Share | None
    seconds: float
    tesseract_seconds: float
    page: Page


def pages(folder: Path) -> Iterator[tuple[Path, Layout]]:
    """Images with the truth beside them: PAGE, or a text without lines."""
    for image in image_files(folder):
        truth, text = image.with_suffix(".xml"), image.with_suffix(".txt")
        if truth.is_file():
            yield image, Page.from_file(truth)
        elif text.is_file():
            yield image, Layout((Region((Line(text.read_text()),)),))


def measured(read: Callable[[], Page]) -> tuple[Page, float]:
    """What was read, and the processor time it took, of all threads."""
    started = time.process_time()
    page = read()
    return page, time.process_time() - started


def tesseract(image: Path, psm: int) -> tuple[str, float]:
    """What Tesseract reads, and its processor time with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["tesseract", str(image), "stdout", "--psm", str(psm)]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout.decode("utf-8", "replace"), seconds


def main() -> None:
    """Print a row for each page, and the totals."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path, nargs="?", default=PAGES, help="of images and PAGE")
    p.add_argument("--only", default="", help="pages whose names have this text")
    p.add_argument("--psm", type=int, default=3, help="Tesseract's page segmentation mode")
    p.add_argument("--worst", type=Path, help="draw what was found there, where F1 is below 1")
    p.add_argument("--blas", choices=[*LIBRARIES], default="openblas")
    p.add_argument("--cpu", action="store_true", help="one thread for all")
    args = p.parse_args()
    with_tesseract = shutil.which("tesseract") is not None
    print((__doc__ or "").splitlines()[0], machine(), BLAS, HEAD, sep="\n", flush=True)
    model, processor = load()
    own = args.folder == PAGES and MORE.is_dir()
    rows = []
    for image, true in [*pages(args.folder), *(pages(MORE) if own else ())]:
        if args.only not in image.name:
            continue
        page, seconds = measured(
            lambda image=image: read_page(model, processor, image, layout=False)
        )
        wanted = ONE_SPACE(true.text)
        true_lines = scores = None
        if len(true.lines) > 1:
            scores = score_page(page, true)
            known = read_page(model, processor, image, layout=true)
            true_lines = characters(ONE_SPACE(known.text), wanted)
        theirs, their_seconds = tesseract(image, args.psm) if with_tesseract else ("", 0.0)
        row = Row(
            image.stem,
            scores,
            characters(ONE_SPACE(page.text), wanted),
            true_lines,
            characters(ONE_SPACE(theirs), wanted) if with_tesseract else None,
            seconds,
            their_seconds,
            page,
        )
        rows.append(row)
        print(_shown(row), flush=True)
        if args.worst is not None and (scores is None or scores.line_f1.ratio < 1):
            args.worst.mkdir(parents=True, exist_ok=True)
            page.overlay(width=2).save(args.worst / f"{row.name}.png")
    if rows:
        _totals(rows)


def _shown(row: Row) -> str:
    found = row.found
    line_count = f"{found.found}/{found.true}" if found else str(len(row.page.lines))
    shares = (
        found and found.line_f1,
        found and found.reading_order,
        row.cer,
        row.true_lines,
        row.tesseract,
    )
    numbers = " ".join(f"{'-':>6}" if s is None else f"{100 * s.ratio:6.2f}" for s in shares)
    return (
        f"{row.name:42} {line_count:>7} {numbers} {row.seconds:6.2f} {row.tesseract_seconds:6.2f}"
    )


def _totals(rows: list[Row]) -> None:
    """The metrics over all pages, and the pages that miss their bounds."""
    known = [row for row in rows if row.found and row.true_lines]
    ours, theirs = sum(r.seconds for r in rows), sum(r.tesseract_seconds for r in rows)
    if known:
        print(f"F1 of lines {100 * total('f1', [r.found.line_f1 for r in known if r.found]):.2f} %")
        found = total("cer", [r.cer for r in known])
        true = total("cer", [r.true_lines for r in known if r.true_lines])
        print(f"CER {100 * found:.2f} % from found lines, {100 * true:.2f} % from true ones")
    compared = [row for row in rows if row.tesseract]
    if compared:
        edits = (
            sum(r.cer.part for r in compared),
            sum(r.tesseract.part for r in compared if r.tesseract),
        )
        print(f"edits {edits[0]:.0f}, Tesseract's {edits[1]:.0f} on {len(compared)} pages")
        worse = [r for r in compared if r.tesseract and r.cer.ratio > r.tesseract.ratio + 0.005]
        print(f"{len(worse)} pages over Tesseract's CER + 0.5: {', '.join(r.name for r in worse)}")
        print(f"processor time {ours:.1f} s, Tesseract {theirs:.1f} s")


if __name__ == "__main__":
    main()
