"""Metrics against their definitions, which are recursions."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mlx_vedec.errors import MetricError
from mlx_vedec.text.error_rates import (
    Normalization,
    character_error_rate,
    edit_distance,
    metric,
    word_error_rate,
)

SHORT = st.text("abé ", max_size=9)


def recursive_distance(a, b):
    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        replaced = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

    return distance(len(a), len(b))


# --- texts


@given(SHORT, SHORT)
def test_edit_distance_is_its_definition(a, b):
    assert edit_distance(a, b) == recursive_distance(a, b) == edit_distance(b, a)
    assert edit_distance(list(a), list(b)) == edit_distance(a, b)


def test_edit_distance_of_long_texts_and_of_words():
    rng = np.random.default_rng(0)
    a, b = ("".join(rng.choice(list("abcdef"), 200)) for _ in range(2))
    assert edit_distance(a, b) == recursive_distance(a, b)
    assert edit_distance("x" * 3000, "x" * 1000 + "y" + "x" * 1999) == 1
    assert edit_distance([1, (2, 3), None], [1, None]) == 1


@given(st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=6))
def test_rates_are_sums_over_sums(pairs):
    predictions, references = zip(*pairs, strict=True)
    if any(references):
        edits = sum(recursive_distance(*pair) for pair in pairs)
        expected = edits / sum(map(len, references))
        assert character_error_rate(predictions, references) == expected
    if any(text.split() for text in references):
        edits = sum(recursive_distance(p.split(), r.split()) for p, r in pairs)
        expected = edits / sum(len(text.split()) for text in references)
        assert word_error_rate(predictions, references) == expected


def test_means_over_samples():
    predictions, references = ["tea", "a b", ""], ["tee", "a b c", ""]
    assert metric("mean_cer", predictions, references) == pytest.approx((1 / 3 + 2 / 5) / 3)
    assert metric("mean_wer", predictions, references) == pytest.approx((1 + 1 / 3) / 3)
    assert metric("similarity", predictions, references) == pytest.approx((2 / 3 + 3 / 5 + 1) / 3)
    assert metric("exact_match", predictions, references) == pytest.approx(1 / 3)


def test_insertions_may_pass_the_whole():
    assert character_error_rate(["abcdef"], ["a"]) == 5
    assert metric("similarity", ["abcdef"], ["a"]) == pytest.approx(1 / 6)


def test_empty_references():
    assert character_error_rate(["ab", "cd"], ["", "cdef"]) == 1
    assert metric("mean_cer", ["ab", ""], ["", ""]) == 0.5
    assert metric("exact_match", ["", "x"], ["", ""]) == 0.5
    for name in ("cer", "wer"):
        with pytest.raises(MetricError, match=f"{name} is a share .* all of them are empty"):
            metric(name, ["ab"], [" " if name == "wer" else ""])


def test_anls():
    assert metric("anls", ["abcd"], ["abcx"]) == 0.75
    assert metric("anls", ["ab"], ["ax"]) == 0  # half of it is wrong, which is too much
    assert metric("anls", ["May 1", ""], ["may 1", "x"]) == pytest.approx(0.8 / 2)
    folded = Normalization(lowercase=True)
    assert metric("anls", ["May 1"], ["may 1"], normalization=folded) == 1


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, " Ａ\u0301 ", " Ａ\u0301 "),
        ({"unicode": "NFC"}, "e\u0301 ﬁ", "é ﬁ"),
        ({"unicode": "NFKC"}, "Ａ１ ﬁ", "A1 fi"),
        ({"lowercase": True}, "STRASSE Straße", "strasse strasse"),
        ({"lowercase": True, "unicode": "NFC"}, "J\u030c", "\u01f0"),
        ({"collapse_whitespace": True}, "\t a \u3000\n b ", "a b"),
        ({"ignore_punctuation": True}, "(«$5,00»)—, #1", "$500 1"),
        ({"ignore_punctuation": True, "collapse_whitespace": True}, "a - b", "a b"),
    ],
)
def test_normalization(options, text, expected):
    assert Normalization(**options)(text) == expected
    assert Normalization(**options)(expected) == expected
    if text != expected:
        normalization = Normalization(**options)
        assert character_error_rate([text], [expected]) > 0
        assert character_error_rate([text], [expected], normalization=normalization) == 0


def test_what_cannot_be_compared():
    with pytest.raises(MetricError, match="unicode is 'NFD'; expected NFC or NFKC"):
        Normalization(unicode="NFD")
    with pytest.raises(MetricError, match="2 predictions and 1 references"):
        character_error_rate(["a", "b"], ["a"])
    with pytest.raises(MetricError, match="no references"):
        word_error_rate([], [])
    with pytest.raises(MetricError, match="got one text"):
        character_error_rate("tea", "tea")
    with pytest.raises(MetricError, match="'exact' is not a metric; did you mean exact_match"):
        metric("exact", ["a"], ["a"])
    with pytest.raises(MetricError, match="'bleu' is not a metric; known are cer, wer"):
        metric("bleu", ["a"], ["a"])
