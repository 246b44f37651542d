"""Pictures changed at random: how, how far, and the same again from the same seed."""

from __future__ import annotations

import subprocess
import sys
import zlib
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlx_vedec.data.augmentation import CHANGES, Augment, parse_augment
from mlx_vedec.errors import OptionError

AMOUNTS = {
    "rotate": 5,
    "scale": 0.2,
    "shift": 0.1,
    "blur": 2,
    "contrast": 0.5,
    "brightness": 0.5,
    "noise": 30,
    "jpeg": 20,
}


def line() -> Image.Image:
    """Dark strokes on light paper."""
    image = Image.new("RGB", (120, 40), (230, 220, 200))
    draw = ImageDraw.Draw(image)
    for x in range(20, 100, 10):
        draw.line((x, 12, x + 4, 28), fill=(20, 30, 40), width=2)
    return image


def drawn(augment, seed):
    return augment(line(), np.random.default_rng(seed))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_alone(name):
    augment = Augment(**{name: AMOUNTS[name]}, probability=1)
    images = [drawn(augment, seed) for seed in range(4)]
    assert {image.size for image in images} == {(120, 40)}
    assert {image.mode for image in images} == {"RGB"}
    assert len({image.tobytes() for image in [line(), *images]}) == 5
    assert images[0] == drawn(augment, 0)
    for image in images:  # it is still the picture, roughly
        difference = np.abs(np.asarray(image, float) - np.asarray(line(), float)).mean()
        assert 0 < difference < 60


def test_amounts_bound_the_changes():
    greys = Image.new("RGB", (8, 8), (100, 100, 100))
    for seed in range(20):
        random = np.random.default_rng(seed)
        grey = np.asarray(Augment(brightness=0.3, probability=1)(greys, random))
        assert 69 <= grey.min() == grey.max() <= 131
        noisy = np.asarray(Augment(noise=5, probability=1)(greys, random), float)
        assert noisy.std() < 7
        assert (noisy[..., 0] == noisy[..., 1]).all()


def test_turning_is_about_the_centre_and_both_ways():
    dot = Image.new("RGB", (41, 41), "white")
    dot.putpixel((20, 20), (0, 0, 0))
    mark = Image.new("RGB", (41, 41), "white")
    ImageDraw.Draw(mark).rectangle((36, 18, 39, 22), fill="black")
    augment = Augment(rotate=20, probability=1)
    sides = set()
    for seed in range(12):
        random = np.random.default_rng(seed)
        turned = np.asarray(augment(dot, random).convert("L"), int)
        assert np.unravel_index(turned.argmin(), turned.shape) == (20, 20)
        rows = np.nonzero(np.asarray(augment(mark, random).convert("L"), int) < 128)[0]
        sides.add(np.sign(rows.mean() - 20))
    assert sides >= {-1, 1}


def test_edges_have_the_papers_colour():
    for seed in range(8):
        for name in ("rotate", "scale", "shift"):
            amount = {"rotate": 10}.get(name, 0.1)
            pixels = np.asarray(drawn(Augment(**{name: amount}, probability=1), seed), int)
            corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert np.abs(corners - (230, 220, 200)).max() <= 1


def test_probability():
    augment = Augment(brightness=0.5, probability=0.25)
    changed = sum(drawn(augment, seed) != line() for seed in range(400))
    assert 70 <= changed <= 130
    assert drawn(Augment(**AMOUNTS, probability=0), 0) == line()
    assert drawn(Augment(), 0) == line()


def test_a_change_does_not_alter_the_draws_of_others():
    """So that runs with and without one of them can be compared."""
    turned = Augment(rotate=5)
    both = Augment(rotate=5, noise=40, blur=1)
    same = [drawn(turned, seed) == drawn(both, seed) for seed in range(40)]
    assert any(same)
    assert not all(same)
    assert [drawn(Augment(brightness=0.5), seed).getpixel((0, 0)) for seed in range(9)] == [
        drawn(Augment(brightness=0.5, shift=0.1), seed).getpixel((0, 0)) for seed in range(9)
    ]


def test_another_process_draws_the_same():
    code = (
        "from tests.data.test_augmentation import AMOUNTS, Augment, drawn, zlib; "
        "print([zlib.crc32(drawn(Augment(**AMOUNTS), s).tobytes()) for s in range(5)])"
    )
    here = [zlib.crc32(drawn(Augment(**AMOUNTS), seed).tobytes()) for seed in range(5)]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(here)


def test_flags():
    assert parse_augment("rotate=2,blur=0.5, contrast=0.3 ,jpeg=30") == Augment(
        rotate=2, blur=0.5, contrast=0.3, jpeg=30
    )
    assert parse_augment("") == Augment()
    every = ",".join(f"{field.name}=1" for field in fields(Augment) if field.name != "scale")
    assert parse_augment(every).probability == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn=2", "turn is no change; expected some of rotate, scale"),
        ("rotate", "rotate has no number; expected, for example, rotate=0.5"),
        ("rotate=two", "rotate=two has no number"),
        ("rotate=1,rotate=2", "rotate is given twice"),
        ("rotate=-1", "rotate is -1; expected 0 to 180"),
        ("blur=nan", "blur is nan; expected 0 to 100"),
        ("jpeg=0.5", "jpeg is 0.5; expected 1 to 95"),
        ("scale=1", "scale is 1; expected 0 to 0.9"),
        ("probability=2", "probability is 2; expected 0 to 1"),
    ],
)
def test_wrong_flags(text, message):
    with pytest.raises(OptionError, match=message):
        parse_augment(text)
