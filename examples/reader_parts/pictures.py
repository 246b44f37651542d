"""Pictures of lines: drawn, disturbed, and cut out as the preparation of lines leaves them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from mlx_vedec.images.ink import dark_on_light, leveled
from mlx_vedec.images.line_images import MARGIN, SIDE_MARGIN

from .texts import (
    CHARACTERS,
    CONTENTS,
    ENGLISH,
    LANGUAGES,
    LONGEST,
    SIGNS_ALONE,
    contents_of,
    signs_of,
    text_of,
)
from .typefaces import Face

HEIGHT, WIDTH = 32, 768  # pixels of the canvas
NARROWEST = 4.2  # pixels of the canvas that a character has on the average
SQUEEZED = 1.2  # how much wider than the canvas a line may be, that is made narrower to fit


@dataclass(frozen=True)
class Line:
    """A line as the reader sees it: greys (32, W), its text, and where each character ends (x)."""

    pixels: np.ndarray
    text: str
    ends: np.ndarray


@dataclass
class Writer:
    """Draws texts in one face at one size."""

    face: Face
    size: int
    random: np.random.Generator
    lengths: dict[tuple[str, bool], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = ImageFont.Layout.RAQM if self.random.random() < 0.2 else ImageFont.Layout.BASIC
        self.fonts = [self.face.font(self.size, layout)]
        self.small = self.face.font(max(6, round(0.78 * self.size)), layout)
        self.ascent, self.descent = self.fonts[0].getmetrics()

    def _long(self, character: str, small: bool) -> float:
        key = character, small
        if key not in self.lengths:
            font = self.small if small else self.fonts[0]
            self.lengths[key] = font.getlength(character)
        return self.lengths[key]

    def draw(self, text: str) -> tuple[Image.Image, str, np.ndarray] | None:
        """Dark on white with room around, what it says, and where characters end; None if blank."""
        kind = self.random.random()
        small = [kind < 0.05 and c.islower() for c in text]
        if any(small):
            text = "".join(
                c.upper() if s and len(c.upper()) == 1 else c
                for c, s in zip(text, small, strict=True)
            )
        track = self.random.uniform(-0.02, 0.15) * self.size if 0.05 < kind < 0.1 else 0.0
        edge = self.size
        long = np.array([self._long(c, s) + track for c, s in zip(text, small, strict=True)])
        ends = edge + long.cumsum()
        size = int(ends[-1]) + 2 * edge, self.ascent + self.descent + 2 * edge
        image = Image.new("L", size, 255)
        pen = ImageDraw.Draw(image)
        foot = edge + self.ascent
        if track or any(small):
            for x, c, s in zip(ends - long, text, small, strict=True):
                pen.text((x, foot), c, 0, self.small if s else self.fonts[0], "ls")
        else:
            pen.text((edge, foot), text, 0, self.fonts[0], "ls")
        if ImageOps.invert(image).getbbox() is None:
            return None
        return image, text, ends


@dataclass(frozen=True)
class Picture:
    """A disturbed line with paper around it, the box of its ink, its text, each character's end.

    family -- of the typeface
    """

    image: Image.Image
    box: tuple[int, int, int, int]
    text: str
    ends: np.ndarray
    family: str

    def cropped(self, random: np.random.Generator) -> Image.Image:
        """The line with margins as someone may cut it out of a page."""
        left, top, right, bottom = self.box
        around = [round(m * (bottom - top)) for m in random.uniform(0.1, 0.5, 4)]
        return self.image.crop(
            (left - around[0], top - around[1], right + around[2], bottom + around[3])
        )


def picture_of(writer: Writer, text: str) -> Picture | None:
    """A text drawn and disturbed; None where nothing is seen."""
    drawn = writer.draw(text)
    if drawn is None:
        return None
    image, text, ends = drawn
    box = ImageOps.invert(image).getbbox()
    assert box is not None
    return Picture(
        disturbed(image, box[3] - box[1], writer.random), box, text, ends, writer.face.family
    )


def prepared(picture: Picture, random: np.random.Generator) -> Line | None:
    """A line cut out as the preparation of lines leaves it, or nearly; None if it is too long."""
    image, (left, top, right, bottom), text = picture.image, picture.box, picture.text
    high = bottom - top
    if random.random() < 0.7:  # as `line_image` makes them
        jitter = random.uniform(-0.04, 0.06, 4) * high
        around = np.array([SIDE_MARGIN, MARGIN, SIDE_MARGIN, MARGIN]) * high + jitter
        image = leveled(dark_on_light(image), max(1, high // 4))
    else:
        around = random.uniform(-0.03, 0.5, 4) * high
        around[0] = max(around[0], 0.02 * high)
        if random.random() < 0.2:
            image = ImageOps.invert(image)
    if random.random() < 0.1:  # cut off, above or below
        around[random.choice([1, 3])] = -random.uniform(0, 0.1) * high
    frame = (left - around[0], top - around[1], right + around[2], bottom + around[3])
    wide, tall = frame[2] - frame[0], frame[3] - frame[1]
    squeeze = 1.0 if random.random() < 0.7 else random.uniform(0.8, 1.3)
    if random.random() < 0.03:  # a picture of half the canvas's aspect that is stretched over it
        squeeze = 2.0
    width = round(wide * HEIGHT / tall * squeeze)
    if width > SQUEEZED * WIDTH or width < 4 or len(text) * NARROWEST > min(width, WIDTH):
        return None
    width = min(width, WIDTH)
    inside = (
        max(0, frame[0]),
        max(0, frame[1]),
        min(image.width, frame[2]),
        min(image.height, frame[3]),
    )
    small = image.resize((width, HEIGHT), Image.Resampling.BILINEAR, box=inside)
    ends = (picture.ends - frame[0]) * width / wide
    return Line(np.asarray(small), text, ends.astype(np.float32))


def disturbed(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    """A picture of dark print on white, so many pixels high, as scans and photographs show it."""
    for often, change in ON_PAPER:
        if random.random() < often:
            image = change(image, high, random)
    values = _toned(np.asarray(image, np.float32) / 255, random)
    for often, change in IN_LIGHT:
        if random.random() < often:
            values = change(values, random)
    image = Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))
    if random.random() < 0.15:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(random.integers(25, 80)))
        image = Image.open(file).convert("L")
    if random.random() < 0.02:
        greys = np.asarray(image)
        middle = (int(greys.min()) + int(greys.max())) / 2
        image = image.point([255 * (grey > middle) for grey in range(256)])
    return image


def _skewed(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    """Turned so far that its end is up to an eighth of its height above or below the middle."""
    angle = random.uniform(-1, 1) * np.degrees(0.25 * high / image.width)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=255)


def _weighted(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    """With heavier or lighter strokes."""
    kind = ImageFilter.MinFilter if random.random() < 0.5 else ImageFilter.MaxFilter
    return Image.blend(image, image.filter(kind(3)), random.uniform(0.2, 0.7) * min(1, high / 25))


def _shown_through(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    """With the print of the page's other side."""
    back = ImageOps.mirror(image).point(lambda grey: 255 - (255 - grey) * 0.25)
    moved = Image.new("L", image.size, 255)
    x, y = map(int, random.integers(-high, high, 2))
    moved.paste(back, (x, y))
    return ImageChops.darker(image, moved)


def _blurred(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    radius = random.uniform(0.2, 0.06 * high) if high > 8 else 0.3
    return image.filter(ImageFilter.GaussianBlur(radius))


def _coarse(image: Image.Image, high: int, random: np.random.Generator) -> Image.Image:
    """Scanned with fewer pixels."""
    part = random.uniform(0.4, 0.8) if high > 24 else 0.8
    size = max(1, int(image.width * part)), max(1, int(image.height * part))
    small = image.resize(size, Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _toned(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """With grey ink on grey paper."""
    ink = random.uniform(0, 0.45) * (random.random() < 0.7)
    paper = random.uniform(0.75, 1) if random.random() < 0.6 else 1.0
    return ink + values * (max(paper, ink + 0.3) - ink)


def _shaded(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    x = np.linspace(0, 1, values.shape[1])[None] * random.uniform(-1, 1)
    y = np.linspace(0, 1, values.shape[0])[:, None] * random.uniform(-1, 1)
    most, start = random.uniform(0.1, 0.4), random.uniform(0, 3)
    return values * (1 - most * np.abs(np.sin(1.5 * (x + y) + start)))


def _noisy(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(values.shape, np.float32)
    return values + noise * np.float32(random.uniform(0.01, 0.1))


# How often each change comes.
ON_PAPER = (
    *((0.2, _skewed), (0.12, _weighted), (0.1, _shown_through), (0.4, _blurred)),
    (0.1, _coarse),
)
IN_LIGHT = (0.15, _shaded), (0.25, _noisy)


def _longest(random: np.random.Generator) -> int:
    short = random.random() < 0.5
    return int(random.integers(1, 33) if short else random.integers(24, LONGEST + 1))


def _ascii(text: str) -> str:
    return "".join(c for c in text if c.isascii()).strip()


def tested_text(random: np.random.Generator, language: str) -> str:
    """Words and numbers; half of the English is ASCII alone."""
    text = text_of(random, language, _longest(random), 0)
    return _ascii(text) if language == "en" and random.random() < 0.5 else text


def learned_text(random: np.random.Generator, language: str) -> str:
    """Words, numbers, letters and signs at random, contents; half of the English is ASCII alone."""
    longest = _longest(random)
    contents = random.random() < CONTENTS
    text = (
        contents_of(random, language, longest) if contents else text_of(random, language, longest)
    )
    if language != "en":
        return text
    if random.random() < 0.5:
        return _ascii(text)
    return signs_of(random, min(longest, 32)) if random.random() < 2 * SIGNS_ALONE else text


def pictures(
    known: Sequence[Face], random: np.random.Generator, languages: Sequence[str] = ()
) -> Iterator[Picture]:
    """Pictures without end, of faces, sizes and languages at random.

    languages -- in turn, without scrambled letters, each picture in another face
    """
    families: dict[str, list[Face]] = {}
    for face in known:
        families.setdefault(face.family, []).append(face)
    names, turn = sorted(families), 0
    text_for = tested_text if languages else learned_text
    while True:
        styles = families[names[random.integers(len(names))]]
        face = styles[random.integers(len(styles))]
        low, high = ((10, 20), (20, 40), (40, 80))[random.choice(3, p=(0.3, 0.5, 0.2))]
        writer = Writer(face, int(random.integers(low, high)), random)
        for _ in range(1 if languages else 6):
            if languages:
                language = languages[turn % len(languages)]
            else:
                others = LANGUAGES[1:]
                english = random.random() < ENGLISH
                language = "en" if english else others[random.integers(len(others))]
            text = text_for(random, language)
            if not text or not face.characters.issuperset(text):
                continue
            picture = picture_of(writer, text)
            if picture is None or len(picture.text) > LONGEST:
                continue
            if set(picture.text) <= face.characters & set(CHARACTERS):
                turn += 1
                yield picture


def lines(count: int, known: Sequence[Face], seed: int | Sequence[int]) -> Iterator[Line]:
    """So many lines to learn from."""
    random, made = np.random.default_rng(seed), 0
    for picture in pictures(known, random):
        line = prepared(picture, random)
        if line is not None:
            yield line
            made += 1
        if made == count:
            return
