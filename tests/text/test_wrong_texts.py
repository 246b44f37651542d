"""Values of wrong types end in our errors, whatever function of a tokenizer gets them."""

import numpy as np
import pytest

from mlx_vedec import load
from mlx_vedec.errors import OptionError, TokenError

WRONG = (
    None,
    5,
    -1,
    1.5,
    "\ud800",
    b"x",
    {1: 2},
    [5],
    [None],
    [["a"], 5],
    object(),
    np.array([1.5]),
)


@pytest.fixture(scope="module")
def tokenizer():
    return load()[1].tokenizer


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_no_text_and_no_ids(tokenizer, value):
    ids = value in (5, [5]) if isinstance(value, (int, list)) else False
    for call in (tokenizer, tokenizer.encode):
        with pytest.raises(OptionError, match="a text is .*expected a string"):
            call(value)
    for call in (tokenizer.decode, tokenizer.batch_decode):
        if not ids and value != b"x" and value != {1: 2}:  # bytes, and keys, are numbers
            with pytest.raises(TokenError, match="expected"):
                call(value)


@pytest.mark.parametrize("value", ["x", -1, 1.5, True, [3]])
def test_lengths_that_are_none(tokenizer, value):
    with pytest.raises(OptionError, match="max_length is .*expected a whole number"):
        tokenizer("abc", truncation=True, max_length=value)
