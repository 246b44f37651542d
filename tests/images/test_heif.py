"""Photographs from phones: HEIC by a plug-in of Pillow's that may be missing, AVIF by Pillow."""

import io
import sys
import types

import numpy as np
import pytest
from PIL import Image, features

from mlx_vedec import load_image
from mlx_vedec.errors import ImageError
from mlx_vedec.images import heif
from mlx_vedec.images.loading import header_size, images_in


def start_of(*brands: bytes) -> bytes:
    """The first box of a file that says these brands, the first of them as its own."""
    inside = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (4 + len(inside)).to_bytes(4, "big") + inside + bytes(40)


@pytest.fixture
def plugin(monkeypatch):
    """A stand-in for pillow-heif: what it registers makes every such file 4×3 pixels of red."""

    def red(file, name=None):
        file.close()
        return Image.new("RGB", (4, 3), "red")

    def register():
        Image.register_open("HEIF", red, lambda start: start[4:12] == b"ftypheic")

    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    yield
    Image.OPEN.pop("HEIF", None)
    Image.ID[:] = [name for name in Image.ID if name != "HEIF"]


def test_without_the_plugin_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(start_of(b"mif1", b"heic"))
    for read in (load_image, header_size):
        with pytest.raises(ImageError, match=r"photo.heic is a HEIC .*'mlx-vedec\[heic\]'"):
            read(path)
    with pytest.raises(ImageError, match="an image of 60 bytes is a HEIC photograph"):
        load_image(path.read_bytes())
    assert images_in(tmp_path) == [path]  # it is not passed over


def test_with_the_plugin_it_is_read(plugin, tmp_path):
    path = tmp_path / "photo.HEIC"
    path.write_bytes(start_of(b"heic", b"mif1"))
    for source in (path, str(path), path.read_bytes()):
        assert np.array_equal(np.asarray(load_image(source)), np.full((3, 4, 3), (255, 0, 0)))


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (start_of(b"heix"), "HEIC"),
        (start_of(b"mif1", b"miaf", b"heic"), "HEIC"),
        (start_of(b"mif1", b"avif"), "AVIF"),
        (start_of(b"isom", b"mp42"), None),
        (b"\0\0\0\xffftyp", None),
        (b"", None),
        (b"\xff" * 300, None),
    ],
)
def test_kinds_are_told_by_brands(start, kind, tmp_path):
    assert heif.kind_of(io.BytesIO(start)) == kind
    path = tmp_path / "file"
    path.write_bytes(start)
    assert heif.kind_of(path) == kind


def test_avif_is_pillows(monkeypatch):
    monkeypatch.setattr(heif.features, "check", lambda name: False)
    with pytest.raises(ImageError, match="is an AVIF image, .* Pillow 11.3 or newer"):
        load_image(start_of(b"avif", b"mif1"))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path):
    path = tmp_path / "photo.avif"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path, quality=90)
    found = np.asarray(load_image(path)).reshape(-1, 3).mean(0)
    assert np.abs(found - (200, 30, 30)).max() < 8
    damaged = path.read_bytes()[:-20]
    with pytest.raises(ImageError, match="damaged"):
        load_image(damaged)
