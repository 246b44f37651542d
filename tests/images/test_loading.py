"""Reading pictures, from every source, in every mode, and what is refused."""

from __future__ import annotations

import http.server
import io
import os
import sys
import threading
import types
import warnings
import zlib
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_vedec.data.datasets import load_dataset
from mlx_vedec.errors import DataError, ImageError, LayoutError
from mlx_vedec.images import boxes, downloads, loading
from mlx_vedec.images.loading import load_image
from mlx_vedec.pages.formats import read_document

NOISE = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(source: object) -> np.ndarray:
    image = load_image(source)  # type: ignore[arg-type]
    assert image.mode == "RGB"
    return np.asarray(image)


def refused(source: object, *words: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


# sources


def test_eight_bit_rgb_is_unchanged_from_every_source(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(PICTURE))
    stdin = types.SimpleNamespace(buffer=io.BytesIO(encoded(PICTURE)))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setenv("HOME", str(tmp_path))
    data = encoded(PICTURE)
    for source in [path, str(path), "~/a.png", data, bytearray(data), "-", PICTURE, NOISE]:
        assert np.array_equal(pixels(source), NOISE), source
    assert np.array_equal(pixels(mx.array(NOISE)), NOISE)
    assert np.array_equal(pixels(np.asfortranarray(NOISE)[::-1]), NOISE[::-1])


def test_the_source_is_not_changed():
    grey = PICTURE.convert("L")
    load_image(grey)
    assert grey.mode == "L"
    assert load_image(PICTURE) is not PICTURE


class Pages(http.server.BaseHTTPRequestHandler):
    pages: dict[str, tuple[int, bytes]] = {}

    def do_GET(self):
        status, body = self.pages.get(self.path, (404, b"gone"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def site(monkeypatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_url(site, monkeypatch):
    data = encoded(PICTURE)
    monkeypatch.setattr(downloads, "BYTE_LIMIT", len(data))
    Pages.pages = {
        "/a.png": (200, data),
        "/moved": (302, b"/a.png"),
        "/long": (200, data + b"!"),
        "/text": (200, b"<html>"),
    }
    assert np.array_equal(pixels(f"{site}/a.png"), NOISE)
    assert np.array_equal(pixels(f"HTTP{site[4:]}/moved"), NOISE)
    refused(f"{site}/none", f"{site}/none", "404", "check the address")
    refused(f"{site}/long", f"over {len(data)} bytes", "give a file")
    refused(f"{site}/text", f"{site}/text", "no format Pillow knows")


def test_url_without_a_server(site):
    refused("http://127.0.0.1:9/a.png", "cannot be downloaded", "give a file")
    refused("http://[broken/a.png", "cannot be downloaded")
    refused("http://127.0.0.1:port/a.png", "cannot be downloaded")


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_server_that_drips_is_given_up(site, monkeypatch, part):
    """A byte now and then meets every limit of a single read, but not that of the whole."""
    monkeypatch.setattr(downloads, "DEADLINE", 0.2)
    left = threading.Event()

    def drip(self):
        if part == "body":
            self.send_response(200)
            self.end_headers()
        for _ in range(1000):
            if left.wait(0.02):
                return
            self.wfile.write(b"a")
            self.wfile.flush()

    monkeypatch.setattr(Pages, "do_GET", drip)
    try:
        refused(f"{site}/a.png", "a.png", "")
        if part == "header":
            refused(f"{site}/a.png", "takes over 0.2 seconds", "give the file")
    finally:
        left.set()


def test_standard_input_is_bounded(monkeypatch):
    monkeypatch.setattr(downloads, "BYTE_LIMIT", 1000)
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(bytes(1001))))
    refused("-", "standard input has over 1000 bytes", "give a file")


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "a.png is a pipe", "give - as the image")
    refused("/dev/zero", "/dev/zero is a device", "expected a regular file")
    for name in ("a.png", "a.jsonl", "a.xml"):
        (tmp_path / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
    with pytest.raises(ImageError, match="is a pipe"):
        loading.header_size(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a pipe"):
        load_dataset(tmp_path / "a.jsonl")
    with pytest.raises(LayoutError, match="is a pipe"):
        read_document(tmp_path / "a.xml")


def test_pdfs(tmp_path):
    """A PDF that was named says how it is read; in a folder of images it is skipped aloud."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "b.png").write_bytes(b"%PDF-1.7\n")
    for source in (tmp_path / "a.pdf", tmp_path / "b.png", b"%PDF-1.7\n"):
        refused(source, "is no image but a PDF", "read_pages", "pip install 'mlx-vedec[pdf]'")
    with pytest.warns(UserWarning, match="skipped a.pdf, no image but a PDF; read its pages with"):
        assert [path.name for path in loading.images_in(tmp_path)] == ["b.png"]


def test_sides_have_a_limit(tmp_path):
    Image.new("L", (2, 1_000_001)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "2x1000001", "1000000 on a side")


# modes


def test_grey_becomes_rgb():
    grey = PICTURE.convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    assert np.array_equal(pixels(grey), expected)
    assert np.array_equal(pixels(np.asarray(grey)), expected)
    assert np.array_equal(pixels(np.asarray(grey)[..., None]), expected)


def test_one_bit():
    bits = NOISE[..., 0] > 127
    expected = np.repeat(bits[..., None], 3, axis=2) * np.uint8(255)
    assert np.array_equal(pixels(Image.fromarray(bits)), expected)
    assert np.array_equal(pixels(bits), expected)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((2, 3, 4), dtype=np.uint8)
    rgba[..., :3] = [200, 100, 0]
    rgba[0, :, 3] = [0, 51, 255]
    rgba[1, :, 3] = 255
    alpha = rgba[..., 3:] / 255
    expected = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))
    for source in [rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))]:
        assert np.abs(pixels(source) - expected).max() <= 1
    assert pixels(rgba)[0, 0].tolist() == [255, 255, 255]
    assert pixels(rgba)[0, 2].tolist() == [200, 100, 0]
    assert pixels(Image.fromarray(rgba).convert("LA"))[0, 0].tolist() == [255, 255, 255]


def test_opaque_alpha_changes_nothing():
    assert np.array_equal(pixels(PICTURE.convert("RGBA")), NOISE)


def test_palettes():
    palette = PICTURE.quantize(16)
    assert np.array_equal(pixels(encoded(palette)), np.asarray(palette.convert("RGB")))
    index = int(np.asarray(palette)[0, 0])
    for options in [{"transparency": index}, {"transparency": bytes([0] * 16)}]:
        assert pixels(encoded(palette, **options))[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_colour_of_an_rgb_file():
    key = tuple(NOISE[0, 0].tolist())
    image = pixels(encoded(PICTURE, transparency=key))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(image[1], NOISE[1])


def test_other_colour_spaces():
    assert np.array_equal(
        pixels(PICTURE.convert("CMYK")), np.asarray(PICTURE.convert("CMYK").convert("RGB"))
    )
    assert np.abs(pixels(PICTURE.convert("YCbCr")).astype(int) - NOISE).max() <= 3


def test_sixteen_bits_are_rounded_to_eight():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(deep / 257).astype(np.uint8)
    big_endian = Image.frombytes("I;16B", (256, 256), deep.astype(">u2").tobytes())
    sources = [deep, Image.fromarray(deep), big_endian, Image.fromarray(deep.astype(np.int32))]
    sources += [encoded(Image.fromarray(deep)), encoded(Image.fromarray(deep), "TIFF")]
    for source in sources:
        assert np.array_equal(pixels(source)[..., 0], expected)
    assert np.array_equal(pixels(np.stack([deep] * 3, axis=2))[..., 2], expected)


def test_floats_from_zero_to_one():
    for dtype in (np.float16, np.float32, np.float64):
        assert np.array_equal(pixels((NOISE / 255).astype(dtype)), NOISE)
    grey = NOISE[..., 0]
    as_float = Image.fromarray((grey / 255).astype(np.float32))
    assert as_float.mode == "F"
    assert np.array_equal(pixels(as_float)[..., 1], grey)


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    expected = np.rot90(NOISE, k=-1)
    for format in ("PNG", "TIFF"):
        assert np.array_equal(pixels(encoded(PICTURE, format, exif=exif)), expected), format
    opened = Image.open(io.BytesIO(encoded(PICTURE, exif=exif)))
    assert np.array_equal(pixels(opened), expected)
    assert opened.size == (17, 13)


def test_the_first_frame_is_read():
    other = Image.new("RGB", PICTURE.size, "red")
    tiff = encoded(PICTURE, "TIFF", save_all=True, append_images=[other])
    with pytest.warns(UserWarning, match="several pages, and only the first.*read_pages"):
        assert np.array_equal(pixels(tiff), NOISE)
    black, white = (Image.new("L", (4, 4), shade) for shade in (0, 255))
    gif = encoded(black, "GIF", save_all=True, append_images=[white])
    with pytest.warns(UserWarning, match="several frames, and only the first"):
        assert pixels(gif).max() == 0


# what is refused


def test_files_that_are_no_image(tmp_path):
    text = tmp_path / "note.png"
    text.write_text("hello")
    refused(tmp_path / "none.png", "none.png does not exist", "check the path")
    refused(tmp_path, "is a folder", "give one inside it")
    refused(text, "note.png", "in no format Pillow knows", "expected PNG", "check that")
    refused(b"", "0 bytes", "no format")
    refused("a\0b", "cannot be read")
    refused("x" * 5000, "cannot be read", "expected a whole image")


def test_empty_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO()))
    refused("-", "standard input", "no format")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
def test_damaged_files(format):
    data = encoded(PICTURE, format)
    refused(data[: len(data) * 2 // 3], "expected")
    random = np.random.default_rng(len(data))
    for _ in range(60):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        try:
            assert load_image(bytes(damaged)).mode == "RGB"
        except ImageError as error:
            assert "expected" in str(error)


def test_a_truncated_image_opened_by_the_caller():
    data = encoded(PICTURE)
    refused(Image.open(io.BytesIO(data[:-300])), "the image", "damaged")


def bomb(width: int, height: int) -> bytes:
    """A PNG of 60 bytes whose header claims a size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        ends = len(body).to_bytes(4, "big"), zlib.crc32(name + body).to_bytes(4, "big")
        return ends[0] + name + body + ends[1]

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    body = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_from_the_header():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused(bomb(10_000, 10_000), "10000x10000", "at most 89478485", "cut it up")
        refused(bomb(60_000, 60_000), "too large", "at most 89478485")
    assert caught == []


def test_sizes_in_memory(monkeypatch):
    monkeypatch.setattr(boxes, "PIXEL_LIMIT", 13 * 17)
    load_image(PICTURE)
    monkeypatch.setattr(boxes, "PIXEL_LIMIT", 13 * 17 - 1)
    refused(PICTURE, "17x13", "at most 220")
    refused(NOISE, "17x13", "at most 220")


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_single_pixels(size):
    name = f"{size[0]}x{size[1]} pixels"
    image = Image.new("RGB", size)
    for source in [image, encoded(image), np.asarray(image)]:
        refused(source, name, "at least 2", "check that")
    refused(np.zeros((0, 4, 3), dtype=np.uint8), "4x0", "at least 2")


def test_arrays_that_are_no_image():
    refused(NOISE.transpose(2, 0, 1), "(3, 13, 17)", "channels first", "transpose(1, 2, 0)")
    refused(mx.zeros((1, 13, 17)), "(1, 13, 17)", "channels first")
    refused(NOISE[..., :2], "(13, 17, 2)", "1, 3 or 4 channels")
    refused(NOISE[None], "(1, 13, 17, 3)", "as a list")
    refused(NOISE[0, 0], "(3,)", "(height, width)")
    refused(np.float32(3), "()")


def test_values_that_are_no_grey_levels():
    refused(NOISE.astype(np.int64), "int64", "expected uint8", ".astype('uint8')")
    refused(NOISE.astype(np.float32), "float32", "from 0.0 to 255.0", "floats from 0 to 1")
    refused(NOISE / 255 - 0.5, "float64", "from -0.5")
    refused(np.full((4, 4), np.nan), "nan")
    refused(np.full((4, 4), "x"), "<U1")
    refused(Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32)), "int32", "to 70000")
    refused(Image.fromarray(np.full((4, 4), 255, dtype=np.float32)), "float32", "to 255.0")
    refused(mx.zeros((4, 4, 3), dtype=mx.bfloat16), "bfloat16", "cast it first")


@pytest.mark.parametrize("source", [None, 3, ["a.png"], {}])
def test_things_that_are_no_source(source):
    refused(source, type(source).__name__, "expected a path")
