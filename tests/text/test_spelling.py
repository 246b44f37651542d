"""The tokens that spell a word, with tokenizers of every kind."""

from __future__ import annotations

import random

import pytest

from mlx_vedec.text.streaming import words_of
from tests.text.test_tokenizer import (
    byte_fallback,
    byte_level,
    made,
    single_characters,
    unigram,
    word_pieces,
)


@pytest.mark.parametrize("build", [byte_level, word_pieces, unigram, single_characters])
@pytest.mark.parametrize("clean", [False, True])
def test_words_are_those_of_the_text(build, clean):
    tokenizer = made(build(), clean_up_tokenization_spaces=clean)
    draw = random.Random(0)
    for _ in range(200):
        ids = [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(30))]
        words = words_of(tokenizer, ids)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert [word for word, _ in words] == text.split()
        used = [indices for _, indices in words]
        assert all(used), ids
        assert not {ids[i] for indices in used for i in indices} & set(tokenizer.skipped_ids)
        for before, after in zip(used, used[1:], strict=False):
            assert before == sorted(before)
            assert before[0] <= after[0]  # a token may end a word and begin the next
            assert before[-1] <= after[-1]


@pytest.mark.parametrize("build", [byte_level, word_pieces])
def test_the_tokens_of_a_word_spell_it(build):
    tokenizer = made(build())
    ids = tokenizer.encode("the quick brown fox stop")
    words = words_of(tokenizer, ids)
    assert len(words) == 5
    for word, indices in words:
        assert tokenizer.decode([ids[i] for i in indices]).replace(" ", "") == word


def test_a_character_of_several_tokens_is_theirs():
    tokenizer = made(byte_level())
    ids = [
        tokenizer.backend.token_to_id(token) for token in ["<s>", "æ", "Ŀ", "±", "Ġ", "f", "</s>"]
    ]
    assert words_of(tokenizer, ids) == [("東", [1, 2, 3]), ("f", [5])]
    assert words_of(tokenizer, ids[:3]) == [("\N{REPLACEMENT CHARACTER}", [1, 2])]
    assert words_of(tokenizer, ids[:1]) == words_of(tokenizer, []) == []
    tokenizer = made(byte_fallback())
    [(word, indices)] = words_of(tokenizer, ids := tokenizer.encode("東京"))
    assert (word, indices) == ("東京", list(range(len(ids))))


def test_spaces_that_cleaning_takes_join_words():
    tokenizer = made(single_characters(), clean_up_tokenization_spaces=True)
    ids = [tokenizer.backend.token_to_id(character) for character in "x n't v x ."]
    assert words_of(tokenizer, ids) == [("xn't", [0, 2, 3, 4]), ("v", [6]), ("x.", [8, 10])]
