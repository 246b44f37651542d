"""Parts of a text and the tokens that each is made of."""

from __future__ import annotations

import pytest

from mlx_vedec.reading.parts import parts_of
from tests.text.test_tokenizer import made, single_characters


def test_a_part_that_was_cleaned_up_takes_what_is_between_its_neighbours():
    tokenizer = made(single_characters())
    tokens = [tokenizer.backend.token_to_id(character) for character in "xnt."]
    logprobs, named = [-1.0, -2.0, -4.0, -8.0], [("x", "x"), ("y", "N T"), ("z", ".")]
    parts = parts_of(tokenizer, tokens, logprobs, named, lambda indices: (*indices, 0, 0)[:4])
    assert [part.name for part in parts] == ["x", "y", "z"]
    assert [part.box for part in parts] == [(0, 0, 0), (1, 2, 0, 0), (3, 0, 0)]
    assert parts[1].confidence == pytest.approx(2.718281828**-3)


def test_a_part_without_tokens_is_left_out():
    tokenizer = made(single_characters())
    tokens = [tokenizer.backend.token_to_id(character) for character in "xv"]
    named = [("x", "x"), ("y", "?"), ("z", "v")]
    assert [part.name for part in parts_of(tokenizer, tokens, [0.0, 0.0], named)] == ["x", "z"]
