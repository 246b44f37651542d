"""The bytes of tokens, against what the tokenizer itself decodes."""

import random

import pytest
import tokenizers
from tokenizers import decoders, models

from mlx_vedec.errors import TokenError
from mlx_vedec.reading.load import BUNDLED
from mlx_vedec.text.token_bytes import token_bytes
from mlx_vedec.text.tokenizer import Tokenizer
from tests.conftest import SHARED
from tests.text.test_tokenizer import byte_level, made

HUB = SHARED / "tokenizers"
ENDS = {"bert-base-uncased": "##"}  # what begins a token that only goes on a word


@pytest.mark.parametrize(
    "name", ["bundled", "bytes", "gpt2", "nougat", "trocr-small", "manga-ocr", *ENDS]
)
def test_joined_they_are_the_text(name):
    folder = BUNDLED if name == "bundled" else HUB / name
    if name != "bytes" and not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    tokenizer = made(byte_level()) if name == "bytes" else Tokenizer.from_pretrained(folder)
    draw = random.Random(0)
    table = token_bytes(tokenizer)
    skipped = tokenizer.skipped_ids
    assert skipped and not any(table.of_id[id] for id in skipped)
    for _ in range(500):
        ids = [draw.randrange(len(table.of_id)) for _ in range(draw.randrange(1, 12))]
        expected = tokenizer.decode(ids, True, clean_up_tokenization_spaces=False)
        if not expected.startswith(ENDS.get(name, "\0")):  # no word to go on: the mark is left
            assert table.text(ids) == expected


def test_bytes_of_one_character_come_together():
    tokenizer = made(byte_level())
    table = token_bytes(tokenizer)
    ids = tokenizer.encode("ø€", add_special_tokens=False)
    assert len(ids) == 5
    assert b"".join(table.of_id[id] for id in ids) == "ø€".encode()
    assert table.text(ids[:1]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("vocabulary", "decoder", "said"),
    [
        ({"1": 0, "2": 1}, decoders.Fuse(), "no token of letters"),
        ({"a": 0, "b": 1}, decoders.Replace("ab", "x"), "the word before it"),
    ],
)
def test_tokens_without_bytes_of_their_own(vocabulary, decoder, said):
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    backend.decoder = decoders.Sequence([decoders.Fuse(), decoder])
    with pytest.raises(TokenError, match=said):
        token_bytes(Tokenizer(backend.to_str().encode()))
