"""SentencePiece's model file: its pieces, and the table by which text is normalized.

The file is a protocol buffer, read here without its library: only the fields that a tokenizer needs
are kept. Every length and every index is checked before it is used, as the `tokenizers` package
follows the table's without looking.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import CheckpointError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # kinds of pieces
UNIGRAM, BPE = 1, 2  # kinds of models; the others split at words or at characters

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups, long given up
WIDTHS = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10
# The fields read of each message, by number: a name and how the field is stored.
MODEL = {1: ("pieces", BYTES), 2: ("trainer", BYTES), 3: ("normalizer", BYTES)}
PIECE = {1: ("text", BYTES), 2: ("score", FIXED32), 3: ("kind", VARINT)}
TRAINER = {3: ("model_type", VARINT), 35: ("byte_fallback", VARINT)}
NORMALIZER = {2: ("charsmap", BYTES)}


class Piece(NamedTuple):
    """A piece of text, its log probability (of BPE: minus its rank) and its kind."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


@dataclass(frozen=True)
class PieceModel:
    """What a model file says: its pieces by id, and how text is cut into them."""

    pieces: list[Piece]
    merging: bool = False  # cut by BPE, not by probability
    byte_fallback: bool = False  # an unknown character becomes a piece for each byte
    charsmap: bytes = b""  # normalizes text, mostly as NFKC does

    @property
    def unknown(self) -> int:
        """The id of the only piece for what no other one spells."""
        return next(id for id, piece in enumerate(self.pieces) if piece.kind == UNKNOWN)


class _Damage(Exception):
    """What is wrong with a file."""


def read_pieces(path: Path) -> PieceModel:
    """Read a model file; a `CheckpointError` says what is wrong with it."""
    try:
        return _model(path.read_bytes())
    except _Damage as damage:
        raise CheckpointError(
            f"{path} is no whole SentencePiece model: {damage}; download it again"
        ) from damage


def _model(data: bytes) -> PieceModel:
    pieces: list[Piece] = []
    trainer: dict[str, Any] = {}
    normalizer: dict[str, Any] = {}
    for name, value in _fields(data, MODEL):
        if name == "pieces":
            pieces.append(_piece(value))
        elif name == "trainer":
            trainer.update(_fields(value, TRAINER))
        else:
            normalizer.update(_fields(value, NORMALIZER))
    kind = trainer.get("model_type", UNIGRAM)
    if kind not in (UNIGRAM, BPE):
        raise _Damage(f"its model type is {kind}; expected {UNIGRAM} (unigram) or {BPE} (BPE)")
    _check_pieces(pieces)
    charsmap = normalizer.get("charsmap", b"")
    if charsmap:
        _check_charsmap(charsmap)
    return PieceModel(pieces, kind == BPE, bool(trainer.get("byte_fallback")), charsmap)


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data, PIECE))
    try:
        text = fields.get("text", b"").decode()
    except UnicodeDecodeError as error:
        raise _Damage(f"a piece is no UTF-8 ({error})") from error
    score = struct.unpack("<f", fields.get("score", bytes(4)))[0]
    kind = fields.get("kind", NORMAL)
    if not text or not math.isfinite(score) or not NORMAL <= kind <= BYTE:
        raise _Damage(f"a piece is {text!r} with score {score} and kind {kind}")
    return Piece(text, score, kind)


def _check_pieces(pieces: list[Piece]) -> None:
    repeated = [text for text, count in Counter(p.text for p in pieces).items() if count > 1]
    if repeated:
        raise _Damage(f"the pieces {str(repeated[:8])[1:-1]} have several ids each")
    unknown = [piece.text for piece in pieces if piece.kind == UNKNOWN]
    if len(unknown) != 1:
        raise _Damage(f"{len(unknown)} of {len(pieces)} pieces are for unknown text; expected one")


# The protocol buffer


def _fields(data: bytes, known: Mapping[int, tuple[str, int]]) -> Iterator[tuple[str, Any]]:
    """The name and value of each known field of a message, in the order of the file."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(data, position)
        else:
            value, position = _span(data, position, wire)
        name, expected = known.get(number, ("", wire))
        if wire != expected or not number:
            raise _Damage(f"field {number} has wire type {wire}; expected {expected}")
        if name:
            yield name, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits to a byte, and where the next one begins."""
    if position < len(data) and data[position] < 128:  # nearly all
        return data[position], position + 1
    value = 0
    for place, byte in enumerate(data[position : position + LONGEST_VARINT]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, position + place + 1
    raise _Damage(f"a number has no end, {len(data) - position} bytes before that of its message")


def _span(data: bytes, position: int, wire: int) -> tuple[bytes, int]:
    """The bytes of a field that is no number, and where the next field begins."""
    if wire == BYTES:
        length, position = _varint(data, position)
    elif wire in WIDTHS:
        length = WIDTHS[wire]
    else:
        raise _Damage(f"a field has wire type {wire}; expected {VARINT}, {BYTES} or {FIXED32}")
    end = position + length
    if end > len(data):
        raise _Damage(f"a field of {length} bytes has only {len(data) - position} left")
    return data[position:end], end


# The table of normalized characters


def _check_charsmap(charsmap: bytes) -> None:
    """Raise unless the table's every step stays inside it.

    It is a length, a trie as a double array of that many bytes, and the texts that the trie's
    leaves point into, each up to a zero byte.
    """
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 4 + size or not size or size % 4:
        raise _Damage(f"a table of {size} bytes is in a field of {len(charsmap)}")
    texts = charsmap[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError as error:
        raise _Damage(f"its normalized characters are no UTF-8 ({error})") from error
    if not _stays_inside(np.frombuffer(charsmap, "<u4", size // 4, offset=4), texts):
        raise _Damage("its table of characters leads out of itself")


def _stays_inside(units: np.ndarray, texts: bytes) -> bool:
    """Whether no node's children lie past the array, and no leaf's text past the texts."""
    inner = units < 1 << 31  # the others are leaves
    inner[0] = True  # which is where a search begins, whatever it looks like
    nodes = units[inner]
    offsets = (nodes >> 10) << ((nodes & 1 << 9) >> 6)
    children = np.flatnonzero(inner) ^ offsets  # a byte leads to its child at this place ^ byte
    if np.any(children | 255 >= len(units)):
        return False
    starts = units[children[nodes >> 8 & 1 == 1]] & (1 << 31) - 1
    heads = np.frombuffer(texts + b"\0", np.uint8)
    if np.any(starts >= len(heads)):
        return False
    return not np.any(heads[starts] & 0xC0 == 0x80)  # inside a character
