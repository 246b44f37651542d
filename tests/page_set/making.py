"""A set of pages: each layout and each disturbance as often as the next, combined by a seed."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np

from mlx_vedec.pages.page import Page

from .disturbances import DISTURBANCES, USUAL, Shot
from .layouts import LAYOUTS
from .sheets import Sheet, TrueLine, TrueRegion, layout
from .typefaces import FOR_TEXT, NARROW, TYPEWRITERS, Typeface

T = TypeVar("T")
PAPERS = (  # dots per inch, width and height in inches, size of the text in points
    (72, 8.3, 11.7, 13.0),
    (100, 8.3, 11.7, 11.0),
    (120, 7.0, 9.0, 11.0),
    (150, 5.8, 8.3, 9.5),
    (150, 8.3, 6.0, 11.0),
    (200, 5.0, 7.0, 9.0),
    (240, 4.0, 6.0, 8.5),
    (300, 3.6, 5.0, 8.0),
    (400, 3.0, 4.0, 8.0),
    (600, 2.4, 3.2, 9.0),
)
PIXELS = {True: 0.95e6, False: 2.2e6}  # of a picture, at most: noise takes more room in a file
A4 = (300, 8.27, 11.69, 10.5)  # whole, whatever its size: the page whose cost is told
NOISY = ("noise", "photograph", "uneven", "crease", "jpeg")  # disturbances
GREYS = 16  # of a PNG: fewer take less room


@dataclass(frozen=True)
class Plan:
    """What a page is made of; whole -- however many pixels that are."""

    name: str
    layout: str
    disturbance: str
    family: str
    dpi: int
    width: float
    height: float
    points: float
    seed: int
    whole: bool = False


def plans(seed: int, count: int) -> list[Plan]:
    """The plans of so many pages and of one of A4; another seed makes others of the same kinds."""
    random = Random(seed)
    layouts = _dealt([*LAYOUTS], count, random)
    disturbances = _dealt(USUAL, count, random)
    papers = _dealt(PAPERS, count, random)
    families = _dealt(FOR_TEXT, count, random)
    found = []
    for number in range(count):
        kind, disturbance, family = layouts[number], disturbances[number], families[number]
        if "columns" in kind and random.random() < 0.3:
            family = NARROW[0]
        elif random.random() < 0.12:
            family = random.choice(TYPEWRITERS)
        name = f"{number:02}-{kind}-{disturbance}"
        found.append(
            Plan(name, kind, disturbance, family, *papers[number], seed=random.getrandbits(32))
        )
    whole = "one_column", "clean", families[0], *A4
    return [*found, Plan("a4-one_column-clean", *whole, seed=random.getrandbits(32), whole=True)]


def _dealt(cards: Sequence[T], count: int, random: Random) -> list[T]:
    """So many cards, each as often as the next, in a chance order."""
    found: list[T] = []
    while len(found) < count:
        found += random.sample(cards, len(cards))
    return found[:count]


def made(plan: Plan, typefaces: Path) -> tuple[Page, bytes]:
    """The truth of a page, its picture with it, and the file of that picture."""
    plan = _fitting(plan)
    sheet = _set(plan, typefaces)
    shot = Shot(sheet.image, np.eye(3), Random(plan.seed + 1))
    DISTURBANCES[plan.disturbance](shot)
    scale = _oversampling(plan)
    if scale > 1:
        shot.image = shot.image.reduce(scale)
        shot.to_here = np.diag((1 / scale, 1 / scale, 1)) @ shot.to_here
    data, ending = _file(shot)
    regions = [_placed(region, shot) for region in sheet.regions if region.lines]
    true = layout(f"{plan.name}{ending}", shot.image.size, regions)
    return Page.of(true, name=plan.name, picture=shot.image.convert("RGB")), data


def _fitting(plan: Plan) -> Plan:
    """A plan whose picture is not too large to be kept: a smaller piece of paper."""
    noisy = plan.disturbance.startswith(NOISY)
    pixels = plan.dpi**2 * plan.width * plan.height
    shrink = min(math.sqrt(PIXELS[noisy] / pixels), 1)
    if plan.whole:
        return plan
    return replace(plan, width=plan.width * shrink, height=plan.height * shrink)


def _oversampling(plan: Plan) -> int:
    """How many pixels of the sheet are one of the picture, so that small type looks scanned."""
    return 2 if plan.dpi <= 150 else 1


def _set(plan: Plan, typefaces: Path) -> Sheet:
    """The sheet, with its text."""
    point = plan.dpi * _oversampling(plan) / 72
    size = plan.points * point
    sheet = Sheet(
        round(plan.width * 72 * point),
        round(plan.height * 72 * point),
        point=point,
        size=size,
        face=Typeface(plan.family, typefaces),
        seed=plan.seed,
    )
    LAYOUTS[plan.layout](sheet)
    return sheet


def _placed(region: TrueRegion, shot: Shot) -> TrueRegion:
    lines = [
        TrueLine(line.text, tuple(shot.place(line.outline)), tuple(shot.place(line.baseline)))
        for line in region.lines
    ]
    return TrueRegion(region.kind, lines)


def _file(shot: Shot) -> tuple[bytes, str]:
    """The picture as a file, and what its name ends in."""
    data = io.BytesIO()
    if shot.quality is not None:
        shot.image.save(data, "JPEG", quality=shot.quality, optimize=True)
        return data.getvalue(), ".jpg"
    step = 255 / (GREYS - 1)
    shot.map(lambda values: np.round(values / step) * step)
    shot.image.save(data, "PNG", optimize=True)
    return data.getvalue(), ".png"


def write_set(folder: Path, *, seed: int, count: int, typefaces: Path) -> Iterator[Path]:
    """Write the pages of a set and their truth, PAGE beside each picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for plan in plans(seed, count):
        page, data = made(plan, typefaces)
        path = folder / page.image
        path.write_bytes(data)
        page.save(path.with_suffix(".xml"), "page")
        yield path
