"""The zip archive that torch writes: where in the file its members' bytes lie, all uncompressed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import WeightsError

ZIP = b"PK\x03\x04"
HEADER = 30  # bytes of a member's own header, before its name and padding
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number, torch's before 1.6
POINTER = b"version https://git-lfs"
WAY_OUT = (
    "take a revision of it with safetensors, as revision='refs/pr/1' may be, or write it anew "
    "where torch is: torch.save(torch.load(path, weights_only=True), path)"
)
BROKEN = (  # what reading a zip archive of any bytes whatever may raise
    *(zipfile.BadZipFile, struct.error, LookupError, EOFError),
    *(ValueError, OverflowError, RuntimeError, OSError),
)


@dataclass(frozen=True)
class Member:
    """The bytes of one member in the file."""

    start: int
    size: int


def members(path: Path) -> Mapping[str, Member]:
    """Every member of an archive, by its name in its one folder, which may be called anything."""
    if not path.is_file():
        raise WeightsError(f"{path} is no regular file; expected what torch.save writes")
    with path.open("rb") as file:
        _check_kind(path, file.read(64))
        try:
            found = _read(file)
        except BROKEN as error:
            raise WeightsError(f"{path} is not whole ({error}); download it again") from error
    roots = [name.removesuffix("data.pkl") for name in found if name.count("/") == 1]
    roots = [root for root in roots if f"{root}data.pkl" in found]
    if len(set(roots)) != 1:
        raise WeightsError(
            f"{path} is a zip archive without torch's data.pkl; expected what torch.save writes"
        )
    return {name.removeprefix(roots[0]): member for name, member in found.items()}


def _check_kind(path: Path, start: bytes) -> None:
    """Raise `WeightsError` for what is no archive, and name it where it is often found instead."""
    if start.startswith(ZIP):
        return
    if start.startswith(LEGACY):
        raise WeightsError(f"{path} is of torch before 1.6, which is not read here; {WAY_OUT}")
    if start.startswith(POINTER):
        raise WeightsError(f"{path} is only Git LFS's pointer; fetch the file: git lfs pull")
    raise WeightsError(f"{path} is no archive of torch's; download it again, or {WAY_OUT}")


def _read(file: BinaryIO) -> dict[str, Member]:
    """The members by name; a ValueError where one reaches into another or past the end."""
    with zipfile.ZipFile(file) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if len({info.filename for info in infos}) != len(infos):
        raise ValueError("two members of one name")
    ends = [*(info.header_offset for info in infos[1:]), file.seek(0, 2)]
    found: dict[str, Member] = {}
    for info, end in zip(infos, ends, strict=True):
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{info.filename[:80]!r} is compressed or encrypted")
        start = _start(file, info.header_offset)
        if start + info.file_size > end:
            raise ValueError(f"{info.filename[:80]!r} has no {info.file_size} bytes")
        found[info.filename] = Member(start, info.file_size)
    return found


def _start(file: BinaryIO, offset: int) -> int:
    """Where a member begins, which only its own header says: torch pads it to a multiple of 64."""
    file.seek(offset)
    header = file.read(HEADER)
    if len(header) < HEADER or not header.startswith(ZIP):
        raise ValueError(f"no header at byte {offset}")
    name, extra = struct.unpack("<HH", header[26:])
    return offset + HEADER + name + extra
