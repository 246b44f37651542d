"""What a verification found: as data, and as a page, JSON and a picture for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..files import make_folder, write_file, write_json
from .likelihoods import LayerError

TEXTS, LAYERS, BARS = 10, 10, 20  # how many the page shows of each, and how many the picture has
WIDTH = 60  # characters that the page shows of a text


@dataclass(frozen=True)
class Side:
    """One of the two models that are compared.

    bytes, bits_per_weight -- of all parameters. seconds -- to read the images, loading them
    included. error_rate -- of characters against the labels, where there are any.
    """

    bytes: int
    bits_per_weight: float
    seconds: float
    error_rate: float | None = None


@dataclass(frozen=True)
class ChangedText:
    """An image's label, the texts of both models, and how many edits lie between these."""

    image: str
    original: str
    changed: str
    label: str | None
    edits: int


@dataclass(frozen=True)
class Verification:
    """Two models compared on images; rates are from 0 to 1.

    images, tokens      -- how many, of what the original wrote
    texts_unchanged     -- share of the images with the same text from both
    sequences_unchanged -- share of those with the same tokens
    token_agreement     -- share of the tokens of the original's texts at whose place both models
                           find the same token likeliest, after the same tokens before it
    divergence          -- KL divergence of the changed model's distribution from the original's, at
                           the same places: the mean, in nats per token
    divergence_error    -- standard error of that mean, as the images are a sample; None for one.
                           It is large where few tokens that the model doubts make up the mean
    error_rate          -- edits of characters from the original's texts to the changed ones, to the
                           characters of the original's; None where it wrote none
    texts               -- those that changed, the most edits to their length first
    layers              -- each quantized layer's own error on what the original's forward pass
                           gives it, the worst first
    """

    images: int
    tokens: int
    original: Side
    changed: Side
    texts_unchanged: float
    sequences_unchanged: float
    token_agreement: float
    divergence: float
    divergence_error: float | None
    error_rate: float | None
    texts: tuple[ChangedText, ...]
    layers: tuple[LayerError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """A report of one page."""
        parts = (_sides(self), _likeness(self), _texts(self), _layers(self))
        return "\n".join(line for part in parts for line in part) + "\n"

    def save(self, folder: str | Path, *, say: Callable[[str], object] | None = None) -> list[Path]:
        """Write `verification.md`, `.json` and, where matplotlib is installed, `.png` to a folder.

        say -- is called with the reason where there is no picture. Returns the paths written.
        """
        paths = [Path(folder) / f"verification.{end}" for end in ("md", "json", "png")]
        page, values, picture = paths
        make_folder(page.parent)
        write_file(page, lambda path: path.write_text(self.markdown(), encoding="utf-8"))
        write_json(values, self.to_dict())
        if self.layers and find_spec("matplotlib"):
            write_file(picture, lambda path: _draw(self, path))
            return paths
        if self.layers and say is not None:
            say(f"{picture} was not drawn: matplotlib is missing; pip install 'mlx-vedec[plot]'")
        return [page, values]


def _sides(found: Verification) -> Iterator[str]:
    a, b = found.original, found.changed
    yield from ("# What the change cost", "")
    yield from ("| | original | changed |", "|---|---|---|")
    yield f"| size | {a.bytes / 1e6:.1f} MB | {b.bytes / 1e6:.1f} MB |"
    yield f"| bits per weight | {a.bits_per_weight:.2f} | {b.bits_per_weight:.2f} |"
    if a.error_rate is not None and b.error_rate is not None:
        yield f"| character errors against the labels | {_rate(a.error_rate)} | " + (
            f"{_rate(b.error_rate)} |"
        )
    yield f"| seconds for {found.images} images | {a.seconds:.1f} | {b.seconds:.1f} |"


def _likeness(found: Verification) -> Iterator[str]:
    alike = found.error_rate
    yield from ("", f"On {found.images} images and the {found.tokens} tokens of the original:", "")
    yield from ("| | |", "|---|---|")
    yield f"| texts unchanged | {_rate(found.texts_unchanged)} |"
    yield f"| token sequences unchanged | {_rate(found.sequences_unchanged)} |"
    yield f"| same likeliest token, after the original's | {_rate(found.token_agreement)} |"
    error = found.divergence_error
    kl = f"{found.divergence:.5f}" + ("" if error is None else f" ± {error:.5f}")
    yield f"| KL divergence per token, after the original's | {kl} nats |"
    if alike is not None:
        yield f"| character errors against the original | {_rate(alike)} |"


def _texts(found: Verification) -> Iterator[str]:
    yield from ("", "## Texts that changed most", "")
    if not found.texts:
        yield "None did."
        return
    labelled = found.texts[0].label is not None
    yield "| image | original | changed |" + (" label |" if labelled else "")
    yield "|---|---|---|" + ("---|" if labelled else "")
    for text in found.texts[:TEXTS]:
        yield f"| {' | '.join(_cells(text))} |"
    yield from _rest(len(found.texts), TEXTS)


def _cells(text: ChangedText) -> list[str]:
    """The image's name, and the texts from shortly before they first differ."""
    pairs = enumerate(zip(text.original, text.changed, strict=False))
    shorter = min(len(text.original), len(text.changed))
    first = max(0, next((i for i, (a, b) in pairs if a != b), shorter) - WIDTH // 3)
    texts = [text.original, text.changed, *([] if text.label is None else [text.label])]
    cut = [
        ("…" if first else "") + each[first : first + WIDTH] + "…" * (len(each) > first + WIDTH)
        for each in texts
    ]
    return [_escaped(Path(text.image).name), *map(_escaped, cut)]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", re.sub(r"\s", " ", text))


def _layers(found: Verification) -> Iterator[str]:
    yield from ("", "## Layers with the largest error of their own", "")
    if not found.layers:
        yield "No layer is quantized."
        return
    yield "Error of a layer's output on the inputs it has in the original, relative to the output."
    yield from ("", "| layer | bits | error |", "|---|---|---|")
    for layer in found.layers[:LAYERS]:
        yield f"| `{layer.name}` | {layer.bits} | {_rate(layer.error)} |"
    yield from _rest(len(found.layers), LAYERS)


def _rest(count: int, shown: int) -> Iterator[str]:
    if count > shown:
        yield from ("", f"{count - shown} more are in `verification.json`.")


def _rate(value: float) -> str:
    return f"{100 * value:.2f} %"


def _draw(found: Verification, path: Path) -> None:
    """Draw a bar for each of the 20 layers with the largest errors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # pyright: ignore
    from matplotlib.figure import Figure  # pyright: ignore

    worst = found.layers[:BARS]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(worst)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bars = axes.barh([x.name for x in worst], [100 * x.error for x in worst], color="#4472a8")
    axes.bar_label(bars, [f"{x.bits} bits" for x in worst], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("error of the layer's own output, %")
    figure.savefig(path, format="png", dpi=120)
