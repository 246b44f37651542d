"""Teach the bundled model a handwritten typeface that it reads badly, from 300 lines.

    pip install '.[test]'    # brings the typeface, Amatic SC (SIL Open Font License)
    python examples/lora_finetune.py [--iters 60] [--adapter-path adapters_amatic]

Prints the character error rate on 60 lines that are not trained on, before and after, and how some
of them are read. The adapters can then be used with `mlx_vedec generate --adapter-path`.
"""

import argparse
from pathlib import Path

import font_amatic_sc
import mlx.core as mx
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec import (
    Batches,
    LoraConfig,
    TrainingArguments,
    add_adapters,
    batch_generate,
    character_error_rate,
    load,
    save_adapters,
    train,
)

FONT = ImageFont.truetype(font_amatic_sc.font_files["AmaticSCBold"], 48)
ASPECT = 24  # width to height of the lines that the bundled model reads
WORDS = """
    apple autumn basket bottle bread bridge butter candle carpet cloud coffee dance doctor dragon
    earth engine evening farmer finger flower forest garden gentle glass grass guitar hammer harbour
    hotel house insect iron island jacket joke jungle kettle king kitchen knife ladder lemon letter
    light market mirror money mother needle night north number ocean open orange paper pencil pepper
    planet quarter queen quick rabbit rain river school silver stone sugar summer table ticket tower
    umbrella uncle valley village voice water weather wheel window winter yellow young zebra
""".upper().split()


def draw(text: str) -> Image.Image:
    """A line of text at the left of a canvas of the shape that the model reads."""
    left, top, right, bottom = map(round, FONT.getbbox(text))
    height = bottom - top + 16
    image = Image.new("RGB", (max(right - left + 16, ASPECT * height), height), "white")
    ImageDraw.Draw(image).text((8 - left, 8 - top), text, font=FONT, fill="black")
    return image


def lines(count: int, seed: int) -> list[tuple[Image.Image, str]]:
    """Pictures of two to four words, each with its text."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, random.integers(2, 5)))[:28] for _ in range(count)]
    return [(draw(text.strip()), text.strip()) for text in texts]


class Losses:
    """Prints the loss as the training reports it."""

    def on_train_loss_report(self, info: dict) -> None:
        """A line for every ten updates."""
        print(f"  {info['iteration']:4} loss {info['train_loss']:.3f}", flush=True)


def main() -> None:
    """Read, train, read again, save."""
    parser = argparse.ArgumentParser(description="Fine-tune the bundled model with LoRA.")
    parser.add_argument("--iters", type=int, default=60)
    parser.add_argument("--adapter-path", type=Path, default=Path("adapters_amatic"))
    args = parser.parse_args()
    model, processor = load()
    unseen = lines(60, seed=1)
    texts = [text for _, text in unseen]

    def read() -> list[str]:
        found = batch_generate(model, processor, [image for image, _ in unseen])
        return [result.text for result in found]

    before = read()
    print(f"before: CER {character_error_rate(before, texts):.1%}", flush=True)
    mx.random.seed(0)
    add_adapters(model, LoraConfig(rank=8))
    batches = Batches(lines(300, seed=0), model, processor, batch_size=8)
    arguments = TrainingArguments(iters=args.iters, learning_rate=3e-3, schedule="cosine", warmup=5)
    train(model, batches, arguments, callbacks=[Losses()])
    after = read()
    for text, first, then in [*zip(texts, before, after, strict=True)][:5]:
        print(f"  {text}\n    before: {first}\n    after:  {then}")
    print(f"after:  CER {character_error_rate(after, texts):.1%}")
    save_adapters(model, args.adapter_path)
    print(f"adapters: {args.adapter_path}")


if __name__ == "__main__":
    main()
