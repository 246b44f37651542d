"""200 pages of one to five printed lines, the bundled model: one stream of lines, or page by page.

python -m tests.benchmarks.bulk [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw, ImageFont

from mlx_vedec import load
from mlx_vedec.pages.reading import read_page, read_pages

from .measure import arguments, in_turn, show_ratio, show_times, timed

WORDS = [
    "tea",
    "rice",
    "two",
    "for",
    "page",
    "line",
    "total",
    "of",
    "the",
    "paid",
    "9.50",
    "No.",
    "17",
    "May",
    "Street",
    "and",
    "with",
    "sugar",
]
PAGES, FEW = 200, 40  # the second with --short


def main() -> None:
    """Print the ratio, without words' boxes and with them; the texts have to be the same."""
    chosen = arguments(__doc__, rounds=(3, 1))
    model, processor = load()
    with TemporaryDirectory() as name:
        paths = make_pages(Path(name), FEW if chosen.short else PAGES)
        for boxes in (False, True):
            texts: dict[str, list[str]] = {}

            def stream(boxes: bool = boxes, texts: dict[str, list[str]] = texts) -> None:
                pages = read_pages(model, processor, paths, boxes=boxes)
                texts["stream"] = [page.text for page in pages]

            def singles(boxes: bool = boxes, texts: dict[str, list[str]] = texts) -> None:
                texts["singles"] = [
                    read_page(model, processor, path, boxes=boxes).text for path in paths
                ]

            words = "with" if boxes else "without"
            print(f"{len(paths)} pages, {words} words' boxes; {chosen.rounds} rounds")
            times = in_turn(
                {"stream": timed(stream), "page by page": timed(singles)}, chosen.rounds
            )
            assert texts["stream"] == texts["singles"]
            show_times(times)
            show_ratio(times, "stream", "page by page", target=0.8)


def make_pages(folder: Path, count: int) -> list[Path]:
    """Pages of one to five lines of three to six words."""
    rng, font = random.Random(0), ImageFont.load_default(24)
    paths = []
    for number in range(count):
        page = Image.new("L", (640, 260), 255)
        for line in range(rng.randint(1, 5)):
            text = " ".join(rng.choices(WORDS, k=rng.randint(3, 6)))
            ImageDraw.Draw(page).text((20, 20 + 44 * line), text, 0, font)
        paths.append(folder / f"{number:03}.png")
        page.save(paths[-1])
    return paths


if __name__ == "__main__":
    main()
