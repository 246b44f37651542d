"""What happens to a page on its way to a picture: turned, photographed, unevenly lit, noisy."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageFilter, ImageOps

Point = tuple[float, float]
TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@dataclass
class Shot:
    """A picture on its way.

    image -- grey. to_here -- the homography (3, 3) from points of the sheet to its points.
    quality -- JPEG's, None for PNG. random -- seeded
    """

    image: Image.Image
    to_here: np.ndarray
    random: Random
    quality: int | None = None

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Points of the sheet in the picture."""
        x, y, w = self.to_here @ np.array([[*p, 1.0] for p in points]).T
        return [*zip((x / w).tolist(), (y / w).tolist(), strict=True)]

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the grey values, 0 to 255 as float32 (H, W)."""
        values = change(np.asarray(self.image, np.float32))
        self.image = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))

    def warp(self, forth: np.ndarray, size: tuple[int, int], fill: int) -> None:
        """Look at the picture through a homography."""
        back = np.linalg.inv(forth)
        self.image = self.image.transform(
            size,
            Image.Transform.PERSPECTIVE,
            (back / back[2, 2]).ravel()[:8].tolist(),
            Image.Resampling.BICUBIC,
            fillcolor=fill,
        )
        self.to_here = forth @ self.to_here

    def noise(self) -> np.random.Generator:
        """Numbers of the picture's seed."""
        return np.random.default_rng(self.random.getrandbits(32))


# --- geometry


def skew(low: float, high: float) -> Callable[[Shot], None]:
    """Turn by some degrees, either way, on a bed as light as the paper or darker."""

    def turn(shot: Shot) -> None:
        angle = shot.random.choice((-1, 1)) * shot.random.uniform(low, high)
        paper = shot.image.getpixel((2, 2))
        assert isinstance(paper, int)
        _turn(shot, angle, paper if shot.random.random() < 0.7 else 90)

    return turn


def _turn(shot: Shot, degrees: float, fill: int) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = shot.image.size
    new = round(width * c + height * abs(s)), round(width * abs(s) + height * c)
    to_middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    turned = np.array([[c, -s, new[0] / 2], [s, c, new[1] / 2], [0, 0, 1]])
    shot.warp(turned @ to_middle, new, fill)


def quarter(degrees: int) -> Callable[[Shot], None]:
    """Turn by 90, 180 or 270 degrees, counter-clockwise."""

    def turn(shot: Shot) -> None:
        w, h = shot.image.size
        shot.image = shot.image.transpose(TURNS[degrees])
        forth = {
            90: [[0, 1, 0], [-1, 0, w], [0, 0, 1]],
            180: [[-1, 0, w], [0, -1, h], [0, 0, 1]],
            270: [[0, -1, h], [1, 0, 0], [0, 0, 1]],
        }[degrees]
        shot.to_here = np.array(forth, float) @ shot.to_here

    return turn


def photograph(shot: Shot) -> None:
    """From a mild angle, on a table, unevenly lit, a little out of focus."""
    r, (w, h) = shot.random, shot.image.size
    corners = [(0, 0), (w, 0), (w, h), (0, h)]
    far = r.randrange(4)  # the side that is further away
    shrink = r.uniform(0.05, 0.13)
    placed = [(x + 0.06 * w, y + 0.06 * h) for x, y in corners]
    for index, other in ((far, (far + 1) % 4), ((far + 1) % 4, far)):
        (x, y), (u, v) = placed[index], corners[other]
        u, v = u + 0.06 * w, v + 0.06 * h
        placed[index] = (x + shrink / 2 * (u - x), y + shrink / 2 * (v - y))
    angle = math.radians(r.uniform(-4, 4))
    c, s = math.cos(angle), math.sin(angle)
    size = round(1.12 * w), round(1.12 * h)
    mx, my = size[0] / 2, size[1] / 2
    placed = [
        (mx + c * (x - mx) - s * (y - my), my + s * (x - mx) + c * (y - my)) for x, y in placed
    ]
    shot.warp(_homography(corners, placed), size, r.choice((60, 120, 170)))
    uneven_light(shot)
    _blur(shot, 0.35, 0.6)
    _grain(shot, 3)
    shot.quality = 62


def _homography(points: Sequence[Point], images: Sequence[Point]) -> np.ndarray:
    """The homography (3, 3) that takes four points to four others."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(points, images, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return np.append(np.linalg.solve(np.array(rows, float), np.array(wanted, float)), 1).reshape(
        3, 3
    )


# --- light and paper


def uneven_light(shot: Shot) -> None:
    """A shade that grows to one side, to half the light or less, with a soft spot."""
    r, (w, h) = shot.random, shot.image.size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = r.uniform(0, 2 * math.pi)
    along = (x / w - 0.5) * math.cos(angle) + (y / h - 0.5) * math.sin(angle)
    spot = ((x / w - r.random()) ** 2 + (y / h - r.random()) ** 2) / 0.15
    light = 0.72 + r.uniform(0.35, 0.6) * along - r.uniform(0.05, 0.2) * np.exp(-spot)
    shot.map(lambda values: values * np.clip(light, 0.15, 1))
    shot.quality = 70


def low_contrast(shot: Shot) -> None:
    """Grey ink on grey paper."""
    dark, light = shot.random.randint(70, 110), shot.random.randint(165, 205)
    shot.map(lambda values: dark + values * (light - dark) / 255)


def show_through(shot: Shot) -> None:
    """The other side of the leaf, mirrored and soft."""
    width, height = shot.image.size
    other = ImageOps.mirror(shot.image).filter(ImageFilter.GaussianBlur(width / 700))
    shift = round(shot.random.uniform(0.01, 0.03) * height)
    moved = np.roll(np.asarray(other, np.float32), shift, 0)
    share = shot.random.uniform(0.16, 0.28)
    shot.map(lambda values: np.minimum(values, 255 - share * (255 - moved)) * 0.96)


def noise(shot: Shot) -> None:
    """Grain, and specks of dust."""
    _grain(shot, shot.random.uniform(10, 22))
    numbers = shot.noise()
    share = shot.random.uniform(0.0005, 0.003)
    shot.map(lambda values: np.where(numbers.random(values.shape) < share, 20, values))
    shot.quality = 55


def _grain(shot: Shot, deviation: float) -> None:
    numbers = shot.noise()
    shot.map(lambda values: values + deviation * numbers.standard_normal(values.shape))


def blur(shot: Shot) -> None:
    """Out of focus."""
    _blur(shot, 0.7, 1.1)


def _blur(shot: Shot, low: float, high: float) -> None:
    radius = shot.random.uniform(low, high)
    shot.image = shot.image.filter(ImageFilter.GaussianBlur(radius))


def jpeg(shot: Shot) -> None:
    """Pressed hard as JPEG, once more than when it is written."""
    data = io.BytesIO()
    shot.image.save(data, "JPEG", quality=shot.random.randint(18, 30))
    shot.image = Image.open(data).convert("L")
    shot.quality = 40


def dark_edge(shot: Shot) -> None:
    """A black band along one side, as of a scanner's lid."""
    r, (w, h) = shot.random, shot.image.size
    wide = round(r.uniform(0.01, 0.025) * w)
    at_left = r.random() < 0.5
    band = (0, 0, wide, h) if at_left else (w - wide, 0, w, h)
    shot.image.paste(15, band)


def together(*steps: Callable[[Shot], None]) -> Callable[[Shot], None]:
    """One after the other."""

    def change(shot: Shot) -> None:
        for step in steps:
            step(shot)

    return change


def bilevel(shot: Shot) -> None:
    """Black and white alone, by a threshold, as of a fax, with its specks."""
    _grain(shot, 14)
    dark, light = np.percentile(np.asarray(shot.image), (0.5, 99.5))
    threshold = (min(dark, light - 120) + light) / 2  # below the grain of a page without ink
    shot.map(lambda values: np.where(values < threshold, 0.0, 255.0))


def faint(shot: Shot) -> None:
    """Ink that has lost three quarters of its colour, here more and there less."""
    r, (w, h) = shot.random, shot.image.size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    waves = np.sin(x / w * r.uniform(3, 9)) * np.sin(y / h * r.uniform(3, 9))
    share = 0.3 + 0.1 * waves
    shot.map(lambda values: 245 - (255 - values) * share)


def crease(shot: Shot) -> None:
    """A fold across the page: a soft shade, with a thin line in it."""
    r, (w, h) = shot.random, shot.image.size
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    across = r.random() < 0.5
    at = r.uniform(0.3, 0.7) + r.uniform(-0.02, 0.02) * (x / w if across else y / h)
    away = np.abs((y / h if across else x / w) - at) * (h if across else w)
    light = 1 - 0.22 * np.exp(-((away / (0.012 * w)) ** 2)) - 0.25 * (away < 0.7)
    shot.map(lambda values: values * light)
    shot.quality = 70


DISTURBANCES: dict[str, Callable[[Shot], None]] = {
    "clean": together(),
    "skew_1": skew(0.5, 2),
    "skew_4": skew(2, 6),
    "skew_10": skew(6, 11),
    "skew_15": skew(11, 15),
    "turn_90": quarter(90),
    "turn_180": quarter(180),
    "turn_270": quarter(270),
    "turn_90_skew": together(quarter(90), skew(0.5, 5)),
    "turn_180_skew": together(quarter(180), skew(1, 8)),
    "uneven_light": uneven_light,
    "uneven_light_skew": together(skew(1, 6), uneven_light),
    "noise": noise,
    "noise_skew": together(skew(0.5, 3), noise),
    "show_through": show_through,
    "low_contrast": low_contrast,
    "jpeg": jpeg,
    "jpeg_skew": together(skew(0.5, 4), jpeg),
    "bilevel": bilevel,
    "bilevel_skew": together(skew(0.5, 5), bilevel),
    "faint": faint,
    "crease": crease,
    "blur": blur,
    "dark_edge": together(dark_edge, skew(0.3, 2)),
    "photograph": photograph,
    "photograph_turned": together(photograph, quarter(90)),
}
USUAL = (*DISTURBANCES, "photograph")  # a photograph is as usual as two of the others
