"""Photographs from phones: HEIC through the package pillow-heif, AVIF through Pillow itself."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import features

from ..errors import ImageError

ENDINGS = (".avif", ".heic", ".heif")
AVIF = {b"avif", b"avis"}
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
LONGEST = 256  # bytes at a file's start in which its brands stand


def kind_of(source: Path | BinaryIO) -> str | None:
    """ "AVIF" or "HEIC" for a file of that kind, by the brands it begins with; else None."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return kind_of(file)
    source.seek(0)
    start = source.read(LONGEST)
    source.seek(0)
    if start[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[at : at + 4] for at in (8, *range(16, end, 4))}
    if brands & AVIF:
        return "AVIF"
    return "HEIC" if brands & HEIC else None


def make_readable(kind: str, name: str) -> None:
    """Let Pillow open files of a kind; an `ImageError` that says what to install where it cannot.

    kind -- what `kind_of` found; name -- the file's, for the error
    """
    if kind == "AVIF":
        if not features.check("avif"):
            raise ImageError(
                f"{name} is an AVIF image, which this Pillow was built without; Pillow 11.3 or "
                "newer reads it: pip install -U pillow"
            )
        return
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImageError(
            f"{name} is a HEIC photograph, which needs pillow-heif, not installed; "
            "pip install 'mlx-vedec[heic]', or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
