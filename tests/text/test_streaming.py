"""Text as its tokens come: the pieces make up the whole, early and at a bounded cost."""

from __future__ import annotations

import random

import pytest

from mlx_vedec.errors import TokenError
from mlx_vedec.text.streaming import UNDECODED, StreamingDecoder
from mlx_vedec.text.tokenizer import Tokenizer
from tests.text.test_tokenizer import (
    byte_fallback,
    byte_level,
    made,
    single_characters,
    unigram,
    word_pieces,
)


def streamed(tokenizer: Tokenizer, ids: list[int], skip: bool) -> list[str]:
    decoder = StreamingDecoder(tokenizer, skip_special_tokens=skip)
    return [*map(decoder.add, ids), decoder.finish()]


@pytest.mark.parametrize("build", [byte_level, word_pieces, unigram, single_characters])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_pieces_join_to_the_whole(build, clean, skip):
    tokenizer = made(build(), clean_up_tokenization_spaces=clean)
    random_ids = random.Random(0)
    for _ in range(400):
        narrow = random_ids.choice([3, 12, len(tokenizer)])  # few tokens make many repetitions
        start = random_ids.randrange(len(tokenizer) - narrow + 1)
        ids = [start + random_ids.randrange(narrow) for _ in range(random_ids.randrange(50))]
        whole = tokenizer.decode(ids, skip_special_tokens=skip)
        assert "".join(streamed(tokenizer, ids, skip)) == whole, ids


def test_byte_fallback_text():
    tokenizer = made(byte_fallback())
    ids = tokenizer.encode("abé東京😀😀b")
    assert len(ids) == 19  # a as a byte too: the vocabulary has it only after a space
    assert "".join(streamed(tokenizer, ids, True)) == tokenizer.decode(
        ids, skip_special_tokens=True
    )


def test_half_a_character_is_held_back():
    tokenizer = made(byte_level())
    ids = [tokenizer.backend.token_to_id(c) for c in "æĿ±"]  # the three bytes of 東
    assert streamed(tokenizer, ids, True) == ["", "", "東", ""]
    assert streamed(tokenizer, ids[:2], True) == ["", "", UNDECODED]


def test_a_character_after_bytes_that_are_none():
    """However many there are, and wherever patience with them ends."""
    tokenizer = made(byte_level())
    stray, *character = [tokenizer.backend.token_to_id(c) for c in "ĢæĿ±"]
    for count in range(40):
        ids = [*[stray] * count, *character, stray, *character]
        whole = UNDECODED * count + "東" + UNDECODED + "東"
        assert tokenizer.decode(ids, skip_special_tokens=True) == whole
        assert "".join(streamed(tokenizer, ids, True)) == whole


def test_text_comes_as_soon_as_it_is_certain():
    tokenizer = made(word_pieces())
    ids = tokenizer.encode("the quick brown fox")
    pieces = streamed(tokenizer, ids, True)
    assert pieces[-1] == ""
    assert all(pieces[:-1])
    spelled = made(single_characters(), clean_up_tokenization_spaces=True)
    ids = [spelled.backend.token_to_id(character) for character in "x n't xx ."]
    assert streamed(spelled, ids, True) == ["x", "", "", "", "n't", "", " x", "x", "", ".", ""]


def test_a_decoder_can_be_used_again():
    tokenizer = made(byte_level())
    decoder = StreamingDecoder(tokenizer)
    ids = tokenizer.encode("fox 東")
    first = "".join(map(decoder.add, ids[:-2])) + decoder.finish()
    assert first == tokenizer.decode(ids[:-2], skip_special_tokens=True)
    assert "".join(map(decoder.add, ids)) + decoder.finish() == "fox 東"


def test_the_window_does_not_grow():
    """Also where nothing ever is a character, as for a model that has gone astray."""
    tokenizer = made(byte_level())
    decoder = StreamingDecoder(tokenizer)
    lengths = []
    decoder._decode = lambda ids: lengths.append(len(ids)) or tokenizer.decode(ids)  # type: ignore
    continuation = tokenizer.backend.token_to_id("Ģ")  # the byte 0x80
    pieces = [decoder.add(continuation) for _ in range(500)]
    assert max(lengths) <= 32
    assert len("".join(pieces)) > 450
    pieces += [decoder.add(id) for id in tokenizer.encode("fox " * 300)]
    assert max(lengths) <= 32


def test_streamed_ids_outside_the_vocabulary():
    decoder = StreamingDecoder(made(byte_level()))
    assert decoder.add(99999) + decoder.finish() == ""
    with pytest.raises(TokenError, match="-100 are no ids of tokens"):
        decoder.add(-100)


@pytest.mark.parametrize(
    "name", ["checkpoints/tiny-ocr", "tokenizers/nougat", "tokenizers/manga-ocr"]
)
def test_real_tokenizers(shared, name):
    tokenizer = Tokenizer.from_pretrained(shared / name)
    assert tokenizer.pad_token_id is not None
    random_ids = random.Random(0)
    for _ in range(100):
        ids = [random_ids.randrange(len(tokenizer)) for _ in range(40)]
        assert "".join(streamed(tokenizer, ids, True)) == tokenizer.decode(
            ids, skip_special_tokens=True
        )
