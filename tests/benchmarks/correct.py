"""Read, correct, learn: what the correction of ten pages in the browser is worth.

python -m tests.benchmarks.correct [--pages 10] [--iters 100] [--folder FOLDER]

Pages of eight lines in a rendered handwritten typeface that the bundled model does not know (Amatic
SC Bold, which the extra `test` brings) are sent to a server as the page in the browser sends them;
each is sent back with its true texts and saved by `--corrections`. `mlx_vedec lora --data` learns
from that folder as it is, and a server with the adapters reads five other pages. Prints the
character error rate on those before and after.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import font_amatic_sc
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from examples.lora_finetune import WORDS
from mlx_vedec import character_error_rate, commands, load
from tests.support.serving import asked, form_of, page_of, serving

FONT = ImageFont.truetype(font_amatic_sc.font_files["AmaticSCBold"], 48)
LINES, LEADING, MARGIN = 8, 78, 60


def drawn(seed: int) -> tuple[bytes, list[str]]:
    """A page as a PNG file, and its lines."""
    draws = np.random.default_rng(seed)
    texts = [" ".join(draws.choice(WORDS, draws.integers(3, 7))) for _ in range(LINES)]
    width = max(round(FONT.getlength(text)) for text in texts) + 2 * MARGIN
    page = Image.new("RGB", (width, LINES * LEADING + 2 * MARGIN), "white")
    pen = ImageDraw.Draw(page)
    for number, text in enumerate(texts):
        pen.text((MARGIN, MARGIN + number * LEADING), text, font=FONT, fill="black")
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue(), texts


def sent(server: object, path: str, **fields: object) -> object:
    """What a server answers to a form."""
    body, headers = form_of(**fields)
    status, content, _ = asked(server, "POST", path, body, **headers)  # pyright: ignore
    if status != 200:
        raise SystemExit(f"{path}: {content}")
    return content


def read(server: object, image: bytes) -> dict:
    """A page as the browser has it when it is read."""
    stream = sent(server, "/v1/read", image=image, split_lines=True, boxes=True, stream=True)
    return page_of(stream)  # pyright: ignore


def texts_of(page: dict) -> list[dict]:
    """The lines of a page, whatever their regions."""
    return [line for region in page["regions"] for line in region["lines"]]


def error_rate(server: object, seeds: range) -> float:
    """Character errors on whole pages."""
    found, true = [], []
    for seed in seeds:
        image, texts = drawn(seed)
        found.append("\n".join(line["text"] for line in texts_of(read(server, image))))
        true.append("\n".join(texts))
    return character_error_rate(found, true)


def main() -> None:
    """Print the error rates before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--iters", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where corrections and adapters stay")
    args = parser.parse_args()
    unseen = range(1000, 1005)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        corrections, adapters = folder / "corrections", folder / "adapters"
        with serving(*load(), corrections=corrections) as server:
            print(
                f"before: CER {error_rate(server, unseen):.1%} on {len(unseen)} pages", flush=True
            )
            for seed in range(args.pages):
                image, texts = drawn(seed)
                page = read(server, image)
                lines = texts_of(page)
                if len(lines) != len(texts):
                    raise SystemExit(f"{len(lines)} lines were found of {len(texts)}")
                for line, text in zip(lines, texts, strict=True):
                    line.update(text=text, corrected=line["text"] != text)
                print(sent(server, "/page/corrections", image=image, page=page), flush=True)
        flags = ["--data", corrections, "--adapter-path", adapters, "--iters", args.iters]
        flags += ["--batch-size", 8, "--learning-rate", 3e-3, "--seed", 0]
        if commands.main(["lora", "--train", *map(str, flags)]):
            raise SystemExit("training failed")
        with serving(*load(adapter_path=adapters)) as server:
            print(f"after: CER {error_rate(server, unseen):.1%} on {len(unseen)} pages")


if __name__ == "__main__":
    main()
