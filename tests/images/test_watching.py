"""A folder that is watched: each image once, when it is whole."""

import io
import os
import shutil
from itertools import islice

import pytest
from PIL import Image

from mlx_vedec.errors import ImageError
from mlx_vedec.images.watching import PATIENCE, new_images


def png(side=20):
    content = io.BytesIO()
    Image.effect_noise((side, side), 50).save(content, "PNG")
    return content.getvalue()


def watched(folder, *happenings):
    """The names that come while these happen, one before each look, and then nothing."""
    told, steps = [], iter(happenings)

    class End(Exception):
        pass

    def wait():
        happening = next(steps, None)
        if happening is None:
            raise End
        told.append([])
        happening()

    try:
        for path in new_images(folder, wait):
            told[-1].append(path.name)
    except End:
        return told


def nothing():
    pass


def test_what_is_new_is_given_once_and_again_when_it_is_another(tmp_path):
    (tmp_path / "old.png").write_bytes(png())
    new, other = tmp_path / "new.png", tmp_path / "a.jpg"

    def both():
        new.write_bytes(png())
        Image.new("RGB", (9, 9)).save(other)
        (tmp_path / "notes.txt").write_text("no image")
        (tmp_path / ".hidden.png").write_bytes(png())
        (tmp_path / "folder.png").mkdir()

    def again():
        (tmp_path / "old.png").write_bytes(png(30))
        new.unlink()

    told = watched(tmp_path, both, nothing, nothing, again, nothing, nothing)
    assert told == [[], ["a.jpg", "new.png"], [], [], ["old.png"], []]


def test_a_file_that_grows_is_given_when_it_is_whole(tmp_path):
    path, content = tmp_path / "slow.png", png()

    def part(end):
        return lambda: path.write_bytes(content[:end])

    told = watched(
        tmp_path, part(0), nothing, part(100), nothing, nothing, part(len(content)), nothing
    )
    assert told == [[], [], [], [], [], [], ["slow.png"]]


def test_a_file_that_stays_damaged_is_given_after_all(tmp_path):
    def damaged():
        (tmp_path / "cut.png").write_bytes(png()[:-30])
        (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4")

    told = watched(tmp_path, damaged, *[nothing] * (PATIENCE + 2))
    assert told[PATIENCE] == ["cut.png", "page.pdf"] and sum(map(len, told)) == 2


def test_a_file_that_is_moved_there(tmp_path):
    """Or leaves while it is looked at."""
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").write_bytes(png())

    def move():
        os.replace(tmp_path / "a.png", tmp_path / "in" / "a.png")
        os.symlink("nowhere", tmp_path / "in" / "b.png")

    assert watched(tmp_path / "in", move, nothing, nothing) == [[], ["a.png"], []]


def test_no_folder(tmp_path):
    with pytest.raises(ImageError, match="cannot be watched"):
        next(new_images(tmp_path / "none"))
    (tmp_path / "in").mkdir()
    images = new_images(tmp_path / "in", lambda: shutil.rmtree(tmp_path / "in"))
    with pytest.raises(ImageError, match="cannot be watched"):
        list(islice(images, 1))
