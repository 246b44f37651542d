"""Pages whose lines and texts are known, read with the bundled model and with Tesseract 5.

python -m tests.benchmarks.pages [FOLDER] [--only TEXT] [--worst FOLDER] [--tesseract FILE] [--cpu]

For each page, in per cent: F1 of the lines that are found (polygons, IoU 0.5), how many pairs of
them are in their order, the CER of the page from found lines, from the true ones, and Tesseract's;
and the processor time of ours (without the boxes of words) and of Tesseract, in seconds. CER is of
the whole text in reading order, white space normalised: see mlx_vedec/measuring/page_scores.py.
Tesseract is asked as it is by default (`tesseract IMAGE stdout`); where it is not (apt-get install
tesseract-ocr tesseract-ocr-eng), its columns are empty. ../shared/images is read too, where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_vedec import load, read_page
from mlx_vedec.images.loading import image_files
from mlx_vedec.measuring.page_scores import ONE_SPACE, PageScores, score_page
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.reading.processor import Processor
from mlx_vedec.text.error_rates import Share, characters

from . import BLAS, LIBRARIES
from .measure import machine

PAGES = Path("tests/data/pages")
MORE = Path("../shared/images")
COLUMNS = "F1", "order", "found", "true", "Tess.", "s", "Tess.s"
HEAD = " ".join((f"{'page':42} {'lines':>7}", *(f"{name:>6}" for name in COLUMNS)))
POINTS = 0.005  # of CER, by which it may be above what it is compared with


@dataclass
class Row:
    """A page's scores; None where there is nothing to compare with. Times are of the processor."""

    name: str
    page: Page
    cer: Share
    seconds: float
    scores: PageScores | None
    true_lines: Share | None
    tesseract: Share | None
    tesseract_seconds: float

    def __str__(self) -> str:
        found = self.scores
        count = f"{found.found}/{found.true}" if found else str(len(self.page.lines))
        of_lines = (found.line_f1, found.reading_order) if found else (None, None)
        shares = (*of_lines, self.cer, self.true_lines, self.tesseract)
        numbers = " ".join(f"{'-':>6}" if s is None else f"{100 * s.ratio:6.2f}" for s in shares)
        times = f"{self.seconds:6.2f} {self.tesseract_seconds:6.2f}"
        return f"{self.name:42} {count:>7} {numbers} {times}"


class Tesseract:
    """What Tesseract reads, and its processor time with one thread; kept in a file, if asked."""

    def __init__(self, kept: Path | None) -> None:
        self.file = kept
        self.there = shutil.which("tesseract") is not None
        self.read = json.loads(kept.read_text()) if kept and kept.is_file() else {}

    def __call__(self, image: Path) -> tuple[str, float] | None:
        """The text and the seconds of an image; None without Tesseract."""
        if image.name not in self.read:
            if not self.there:
                return None
            self.read[image.name] = self._ask(image)
            if self.file is not None:
                self.file.write_text(json.dumps(self.read))
        text, seconds = self.read[image.name]
        return text, seconds

    def _ask(self, image: Path) -> tuple[str, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["tesseract", str(image), "stdout"],
            capture_output=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout.decode("utf-8", "replace"), seconds


def pages(folder: Path) -> Iterator[tuple[Path, Layout, bool]]:
    """Images with their truth, and whether this has lines: PAGE beside them, or a text."""
    for image in image_files(folder):
        truth, text = image.with_suffix(".xml"), image.with_suffix(".txt")
        if truth.is_file():
            yield image, Page.from_file(truth), True
        elif text.is_file():
            yield image, Layout((Region((Line(text.read_text()),)),)), False


def measured(
    reader: tuple[VisionEncoderDecoderModel, Processor],
    image: Path,
    true: Layout,
    tesseract: Tesseract,
    *,
    with_lines: bool,
) -> Row:
    """The row of a page."""
    wanted = ONE_SPACE(true.text)

    def cer(text: str) -> Share:
        return characters(ONE_SPACE(text), wanted)

    started = time.process_time()
    page = read_page(*reader, image, layout=False, boxes=False)
    seconds = time.process_time() - started
    known = read_page(*reader, image, layout=true, boxes=False) if with_lines else None
    theirs = tesseract(image)
    return Row(
        name=image.stem,
        page=page,
        cer=cer(page.text),
        seconds=seconds,
        scores=score_page(page, true) if with_lines else None,
        true_lines=None if known is None else cer(known.text),
        tesseract=None if theirs is None else cer(theirs[0]),
        tesseract_seconds=0.0 if theirs is None else theirs[1],
    )


def main() -> None:
    """Print a row for each page, and the totals."""
    args = _arguments()
    print((__doc__ or "").splitlines()[0], machine(), BLAS, HEAD, sep="\n", flush=True)
    reader, tesseract, rows = load(), Tesseract(args.tesseract), []
    more = pages(MORE) if args.folder == PAGES and MORE.is_dir() else ()
    for image, true, with_lines in (*pages(args.folder), *more):
        if args.only not in image.name:
            continue
        row = measured(reader, image, true, tesseract, with_lines=with_lines)
        rows.append(row)
        print(row, flush=True)
        if args.worst is not None and row.scores is not None and row.scores.line_f1.ratio < 1:
            args.worst.mkdir(parents=True, exist_ok=True)
            row.page.overlay(width=2).save(args.worst / f"{row.name}.png")
    _print_groups(rows)
    _print_totals(rows)


def _arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path, nargs="?", default=PAGES, help="of images and PAGE")
    p.add_argument("--only", default="", help="pages whose names have this text in them")
    p.add_argument("--worst", type=Path, help="a folder for pictures of what was found wrong")
    p.add_argument("--tesseract", type=Path, help="a file that keeps what Tesseract reads")
    p.add_argument("--blas", choices=[*LIBRARIES], default="openblas")
    p.add_argument("--cpu", action="store_true", help="one thread")
    return p.parse_args()


def _kind(name: str) -> str:
    """How a page lies, by the disturbance that its name ends in."""
    disturbance = name.rpartition("-")[2]
    if disturbance.startswith("photograph"):
        return "photographed"
    if disturbance.startswith("turn"):
        return "turned by 90, 180 or 270 degrees"
    if disturbance in ("skew_10", "skew_15"):
        return "skewed by 6 to 15 degrees"
    return "skewed by less" if "skew" in disturbance else "straight"


def _print_groups(rows: list[Row]) -> None:
    """The metrics of the pages that lie alike."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_kind(row.name), []).append(row)
    print(f"\n{'':33} {'pages':>5} {'F1':>9} {'found':>9} {'true':>9} {'Tess.':>9}")
    for kind, group in sorted(groups.items()):
        columns = (
            [row.scores.line_f1 for row in group if row.scores is not None],
            [row.cer for row in group],
            [row.true_lines for row in group if row.true_lines is not None],
            [row.tesseract for row in group if row.tesseract is not None],
        )
        print(f"{kind:33} {len(group):5}", *(f"{_percent(column):>9}" for column in columns))
    print()


def _print_totals(rows: list[Row]) -> None:
    """The metrics over all pages, and the pages that are further off than they may be."""
    scored = [row.scores for row in rows if row.scores is not None]
    known = [(row, row.true_lines) for row in rows if row.true_lines is not None]
    if scored:
        print(f"line F1 {_percent([one.line_f1 for one in scored])}")
        found, true = (_percent(column) for column in _cers(known))
        print(f"CER {found} from found lines, {true} from true lines")
        names = [row.name for row, true in known if row.cer.ratio > true.ratio + POINTS]
        print(f"{len(names)} pages over the CER of true lines + 0.5: {', '.join(names)}")
    compared = [(row, row.tesseract) for row in rows if row.tesseract is not None]
    if compared:
        ours, theirs = (sum(s.part for s in column) for column in _cers(compared))
        print(f"edits {ours:.0f}, Tesseract's {theirs:.0f} on {len(compared)} pages")
        names = [row.name for row, other in compared if row.cer.ratio > other.ratio + POINTS]
        print(f"{len(names)} pages over Tesseract's CER + 0.5: {', '.join(names)}")
    seconds = sum(row.seconds for row in rows), sum(row.tesseract_seconds for row in rows)
    print(f"processor time {seconds[0]:.1f} s, Tesseract's {seconds[1]:.1f} s")


def _cers(compared: list[tuple[Row, Share]]) -> tuple[list[Share], list[Share]]:
    return [row.cer for row, _ in compared], [other for _, other in compared]


def _percent(shares: list[Share]) -> str:
    whole = sum(share.whole for share in shares)
    return f"{100 * sum(share.part for share in shares) / whole:.2f} %" if whole else "-"


if __name__ == "__main__":
    main()
