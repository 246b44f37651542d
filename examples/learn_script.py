"""Teach the bundled model, which reads Latin print, to read Cyrillic print.

    pip install '.[typefaces]'    # free ones, by their packages on PyPI
    python examples/learn_script.py [--iters 500] [--lines 6000] [--save-path cyrillic]

The model gets a vocabulary of the characters in the training lines: those that it has keep their
rows, the others are new. It learns from made-up words in twelve typefaces. Prints the character
error rate on real words in four other typefaces, before and after, and writes the model:
`mlx_vedec generate --model cyrillic` reads with it.
"""

import argparse
from importlib import import_module
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import mlx_vedec as mv
from mlx_vedec.training.callbacks import LossTable

SEEN = """alegreya_sans arimo fira_sans ibm_plex_serif inter merriweather montserrat noto_sans
    noto_serif pt_serif roboto_slab source_serif_4"""
UNSEEN = "literata lora open_sans pt_sans"
ASPECT = 24  # width to height of the lines that the bundled model reads
LONGEST = 60  # characters; the model's table of positions has room for 80 tokens
LETTERS = np.array([*"оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"])  # the most frequent first
ODDS = 1 / (np.arange(len(LETTERS)) + 12)
WORDS = """
    абзац берег ветер вода вокзал время вчера город гроза далеко дверь дерево дождь жёлтый завтра
    звезда зелёный зима июль каждый книга корабль краска кухня лестница лошадь машина месяц молоко
    мышь небо неделя ночь обед объект огонь окно осень остров ответ песня письмо площадь подъезд
    поезд помощь путь работа радость ребёнок рубашка рынок сахар свеча север семья сердце синий
    словарь снег солнце спасибо стакан счастье съёмка театр тетрадь тихий туман улица утро учитель
    фонарь хлеб хороший цветок цифра чашка человек чёрный шёлк школа шуба щека щётка экран эхо этаж
    южный юность яблоко ягода якорь ясный
"""


def faces(family: str) -> list[ImageFont.FreeTypeFont]:
    """The upright styles of a family, regular and bold."""
    styles = []
    for path in sorted(import_module(f"fontpkg_{family}").ROOT.glob("files/*.ttf")):
        if "[" in path.name and "Italic" not in path.name:  # one file of all weights
            for style in ("Regular", "Bold"):
                styles.append(ImageFont.truetype(path, 40))
                styles[-1].set_variation_by_name(style)
        elif path.stem.endswith(("-Regular", "-Bold")):
            styles.append(ImageFont.truetype(path, 40))
    return styles


def line(random: np.random.Generator, words: list[str]) -> str:
    """Words, made up where none are given, with capitals, signs and numbers among them."""
    text = ""
    for _ in range(8):
        if words:
            word = str(random.choice(words))
        else:
            size = random.integers(2, 10)
            word = "".join(random.choice(LETTERS, size, p=ODDS / ODDS.sum()))
        kind = random.random()
        word = word.upper() if kind < 0.12 else word.capitalize() if kind < 0.4 else word
        if kind > 0.93:
            word = str(random.integers(10 ** random.integers(1, 5)))
        elif kind > 0.8:
            word += str(random.choice([*",.!?:;"]))
        text += f" {word}" if text else word
        if len(text) > random.integers(4, LONGEST):
            break
    return text[:LONGEST].strip()


def draw(text: str, font: ImageFont.FreeTypeFont, random: np.random.Generator) -> Image.Image:
    """A line of text at the left of a canvas of the shape that the model reads."""
    left, top, right, bottom = map(round, font.getbbox(text))
    above, below, before = map(int, random.integers(3, 10, 3))
    height = bottom - top + above + below
    image = Image.new("RGB", (max(right - left + before + 4, ASPECT * height), height), "white")
    place = (before - left, above - top)
    ImageDraw.Draw(image).text(place, text, font=font, fill=(int(random.integers(90)),) * 3)
    return image


def lines(count: int, families: str, words: str = "") -> list[tuple[Image.Image, str]]:
    """Pictures of lines that fit on the canvas, each with its text."""
    random, styles, found = np.random.default_rng(0), [*map(faces, families.split())], []
    while len(found) < count:
        family = styles[random.integers(len(styles))]
        text = line(random, words.split())
        image = draw(text, family[random.integers(len(family))], random)
        if image.width <= ASPECT * image.height + 1:
            found.append((image, text))
    return found


def main() -> None:
    """Read, learn, read again, save."""
    parser = argparse.ArgumentParser(description="Teach the bundled model Cyrillic print.")
    parser.add_argument("--iters", type=int, default=500)
    parser.add_argument("--lines", type=int, default=6000)
    parser.add_argument("--save-path", type=Path, default=Path("cyrillic"))
    args = parser.parse_args()
    model, processor = mv.load()
    known = lines(args.lines, SEEN)
    images, texts = zip(*lines(args.lines // 30, UNSEEN, WORDS), strict=True)

    def read() -> list[str]:
        return [result.text for result in mv.batch_generate(model, processor, images)]

    mx.random.seed(0)
    vocabulary = mv.new_vocabulary(model, processor, [text for _, text in known])
    print(f"{len(vocabulary.sources)} tokens, {vocabulary.new} of them new")
    print(f"before: CER {mv.character_error_rate(read(), texts):.1%}", flush=True)
    mv.add_adapters(model, mv.LoraConfig(fine_tune_type="full"))
    batches = mv.Batches(known, model, processor, batch_size=16)
    rate = {"learning_rate": 1e-3, "schedule": "cosine", "warmup": 50}
    mv.train(
        model, batches, mv.TrainingArguments(iters=args.iters, **rate), callbacks=[LossTable()]
    )
    after = read()
    for text, then in [*zip(texts, after, strict=True)][:5]:
        print(f"  {text}\n    read: {then}")
    print(f"after:  CER {mv.character_error_rate(after, texts):.1%}")
    model.save_pretrained(args.save_path)
    processor.save_pretrained(args.save_path)
    print(f"model: {args.save_path}")


if __name__ == "__main__":
    main()
