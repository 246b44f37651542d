"""What each token adds to a text, as bytes: for readers that have no tokenizer library."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from ..errors import TokenError
from .streaming import UNDECODED
from .tokenizer import Tokenizer

BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece spells a byte that is no character


@dataclass(frozen=True)
class TokenBytes:
    """The bytes of every id; joined, and without the first space if so, they are the text.

    `of_id[i]` is empty where decoding skips the token. Spaces that `Tokenizer.tightens` would take
    away are there.
    """

    of_id: tuple[bytes, ...]
    drops_first_space: bool

    def text(self, ids: list[int]) -> str:
        """The text of ids, as the backend decodes them without special tokens."""
        joined = b"".join(self.of_id[id] for id in ids if id < len(self.of_id))
        return joined[joined.startswith(b" ") & self.drops_first_space :].decode(errors="replace")


def token_bytes(tokenizer: Tokenizer) -> TokenBytes:
    """The bytes of a tokenizer's ids, found by decoding each after a word.

    A `TokenError` if the tokenizer is of a kind whose tokens have no bytes of their own.
    """
    backend = tokenizer.backend
    steps = decoder_steps(tokenizer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    size = max(vocabulary.values(), default=-1) + 1
    skipped, added = set(tokenizer.skipped_ids), backend.get_added_tokens_decoder()
    byte_of = {char: byte for byte, char in _alphabet().items()} if "ByteLevel" in steps else {}
    before, shown = _word(tokenizer)
    found = [b""] * size
    for token, id in vocabulary.items():
        if id in skipped:
            continue
        if byte_of and id not in added and all(char in byte_of for char in token):
            found[id] = bytes(byte_of[char] for char in token)
        elif "ByteFallback" in steps and (spelled := BYTE.fullmatch(token)):
            found[id] = bytes.fromhex(spelled[1])
        else:
            text = backend.decode([before, id], skip_special_tokens=False)
            if not text.startswith(shown):
                raise TokenError(
                    f"the tokenizer decodes {token[:40]!r} into the word before it; expected "
                    "tokens that each add their own text"
                )
            found[id] = text[len(shown) :].encode()
    spaced = next((id for id, one in enumerate(found) if one[:1] == b" " and len(one) > 1), None)
    drops = spaced is not None and not backend.decode([spaced]).startswith(" ")
    return TokenBytes(tuple(found), drops)


def decoder_steps(tokenizer: Tokenizer) -> set[str]:
    """What a tokenizer's decoding is made of, such as "ByteLevel", where its tokens spell bytes."""

    def steps(decoder: Any) -> set[str]:
        if not isinstance(decoder, dict):
            return set()
        return {str(decoder.get("type"))}.union(*map(steps, decoder.get("decoders", ())))

    return steps(json.loads(tokenizer.content).get("decoder"))


def _alphabet() -> dict[int, str]:
    """The character that a byte-level vocabulary writes for each byte, by GPT-2's rule.

    Bytes that print stand for themselves, and the others follow from U+0100 on.
    """
    own = {ord(char) for char in ByteLevel.alphabet() if ord(char) < 256}
    others = iter(range(256, 512))
    return {byte: chr(byte if byte in own else next(others)) for byte in range(256)}


def _word(tokenizer: Tokenizer) -> tuple[int, str]:
    """A token of letters, and its text: what stands before the others."""
    skipped = set(tokenizer.skipped_ids)
    for id in range(len(tokenizer)):
        text = tokenizer.backend.decode([id], skip_special_tokens=False)
        if id not in skipped and text.isalpha() and UNDECODED not in text:
            return id, text
    raise TokenError("the tokenizer has no token of letters; expected one that spells words")
