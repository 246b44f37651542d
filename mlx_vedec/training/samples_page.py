"""`samples.html`: what a model reads in a few images, at one evaluation after another.

One file that needs nothing else: pictures are inside it. It is made anew at each evaluation, of
`metrics.jsonl`, so that it goes on where a training does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import shortened
from ..files import write_text
from ..images.loading import ImageSource, as_file, load_image
from ..text.error_rates import characters
from .callbacks import read_metrics

LARGEST = (640, 320)  # pixels of a picture
LONGEST, MOST = 300, 20  # characters of a text, and evaluations of a sample
HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Samples of a training</title>
<style>
body { font: 16px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 56em; padding: 0 1em; }
img { display: block; max-width: 100%; border: 1px solid #ccc; }
section { margin: 2em 0; }
td, th { padding: 0 1em 0 0; text-align: left; vertical-align: top; font-weight: normal; }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
th { color: #666; white-space: nowrap; }
.wrong { color: #a40000; }
</style>
"""


class SamplesPage:
    """A callback that writes the page, from the samples of an evaluation and of those before it."""

    def __init__(self, path: Path, metrics: Path) -> None:
        self.path, self.metrics = path, metrics
        self.pictures: list[str] = []

    def on_val_loss_report(self, info: Mapping[str, Any]) -> None:
        """Write the page anew, if the evaluation has samples."""
        if not info.get("samples"):
            return
        if len(self.pictures) != len(info["samples"]):
            self.pictures = [*map(_picture, info["images"])]
        reports = [r for r in read_metrics(self.metrics) if r.get("kind") == "val"]
        write_text(self.path, HEAD + "".join(self._body(info, reports)))

    def _body(self, info: Mapping[str, Any], reports: list[dict[str, Any]]) -> Iterator[str]:
        cer = "" if info.get("cer") is None else f", CER {100 * info['cer']:.2f} %"
        loss = f"validation loss {info['val_loss']:.4f}{cer}"
        yield f"<h1>Iteration {info['iteration']}</h1>\n<p>{loss}</p>\n"
        for place, (_, reference) in enumerate(info["samples"]):
            yield f"<section>\n{self.pictures[place]}<table>\n"
            yield _row("reference", reference, "")
            yield from _readings(reports, place, reference)
            yield "</table>\n</section>\n"
        yield "</html>\n"


def _readings(reports: Sequence[dict[str, Any]], place: int, reference: str) -> Iterator[str]:
    """A row for each evaluation that has read this sample, the newest first."""
    found = [
        (report["iteration"], prediction)
        for report in reports
        for prediction, wanted in [*_pairs(report)][place : place + 1]
        if wanted == reference
    ]
    for iteration, prediction in found[: -MOST - 1 : -1]:
        rate = characters(prediction, reference).ratio
        said = f"CER {100 * rate:.1f} %" if rate else "right"
        yield _row(str(iteration), prediction, said, "wrong" if rate else "")
    if len(found) > MOST:
        yield _row("", f"… {len(found) - MOST} evaluations before these", "")


def _pairs(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The samples in a line of the metrics, as pairs of prediction and reference."""
    samples = report.get("samples")
    for sample in samples if isinstance(samples, list) else ():
        texts = [*map(str, sample)] if isinstance(sample, list) else []
        yield (texts[0], texts[1]) if len(texts) == 2 else ("", "")


def _row(head: str, text: str, said: str, kind: str = "") -> str:
    shown = f'<bdi dir="auto">{escape(shortened(text, LONGEST))}</bdi>'
    return f'<tr><th>{escape(head)}</th><td class="{kind}">{shown}</td><th>{said}</th></tr>\n'


def _picture(source: ImageSource) -> str:
    """A picture as an element of the page, made smaller if it is large."""
    try:
        picture = load_image(source)
    except (ValueError, OSError) as error:
        return f"<p>{escape(shortened(str(error), LONGEST))}</p>\n"
    picture = small(picture, LARGEST)
    data = base64.b64encode(as_jpeg(picture)).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img {size} alt="" src="data:image/jpeg;base64,{data}">\n'


def small(picture: Image.Image, largest: tuple[int, int]) -> Image.Image:
    """A picture that is no larger than (width, height) in pixels, of the same proportions."""
    found = picture.copy()
    found.thumbnail(largest, Image.Resampling.BICUBIC)
    return found


def as_jpeg(picture: Image.Image) -> bytes:
    """The bytes of a JPEG file."""
    return as_file(picture, "JPEG", quality=85)
