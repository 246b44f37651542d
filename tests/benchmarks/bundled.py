"""The bundled model from image file to text, against transformers on the same folder.

python -m tests.benchmarks.bundled [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from mlx_vedec import Processor, generate, load, load_image
from mlx_vedec.reading.load import BUNDLED

from .measure import arguments, in_turn, show_ratio, show_times, timed
from .reference import Reference

LINES = ("seen_006.png", "seen_009.png")


def on_canvas(name: str, folder: str) -> str:
    """A file of a line on the model's canvas, since transformers takes images as they are."""
    path = Path(folder) / name
    line = load_image(Path("tests/data/lines") / name)
    Processor.from_pretrained(BUNDLED).on_canvas(line).save(path)
    return str(path)


def main() -> None:
    """Print the ratios for a line or two, which have to come out the same in all."""
    chosen = arguments(__doc__, rounds=(60, 8))
    model, processor = load()
    theirs = {
        "transformers, float32": Reference(folder=str(BUNDLED), dtype="float32"),
        "transformers, the file's float16": Reference(folder=str(BUNDLED)),
    }
    with TemporaryDirectory() as folder:
        for name in LINES[: 1 if chosen.short else None]:
            image = on_canvas(name, folder)
            result = generate(model, processor, image)
            print(f"{name}: {len(result.tokens)} tokens, {result.text!r}; {chosen.rounds} rounds")
            for other in theirs.values():
                found = other.ask(image=image)
                assert (found["tokens"], found["text"]) == (list(result.tokens), result.text), found
            ours = timed(lambda image=image: generate(model, processor, image))
            times = in_turn(
                {"mlx_vedec": ours}
                | {
                    kind: lambda other=other, image=image: other.ask(image=image)["seconds"]
                    for kind, other in theirs.items()
                },
                chosen.rounds,
            )
            show_times(times)
            for kind in theirs:
                show_ratio(times, "mlx_vedec", kind, target=0.5)
    for other in theirs.values():
        other.close()


if __name__ == "__main__":
    main()
