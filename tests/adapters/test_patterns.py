"""Patterns of PEFT's files: what Python's `re` says of them, and no pattern that takes for ever."""

import re
import sys

import pytest
from hypothesis import given, settings, strategies as st

from mlx_vedec.adapters.patterns import LONGEST, matches
from mlx_vedec.errors import ConfigError

NAMES = ("decoder.layers.2.q_proj", "encoder.layer.11.fc1", "a", "aaa", "a.b", "a{2}", "", "x.é")
PATTERNS = (
    *("q_proj", "fc1", "decoder.*q_proj", r"layers\.\d+\.q_proj", r"layer\.1[01]\.fc[12]", ".*"),
    *(
        "a|fc1",
        "(q|k)_proj",
        "(?:q|k)_proj",
        "a+",
        "a*",
        "a?",
        "a{3}",
        "a{2,}",
        "a{1,2}",
        "(a|aa)+",
    ),
    *(
        "(a*)*",
        "(a?){3}",
        "(a?){30}",
        "^a",
        "^layers",
        "a$",
        "(^a|b)",
        "()",
        "",
        "[^.]+",
        r"[\w.]+",
    ),
    *("[]a]+", "[a-c]+?", "(?P<x>a)b?", r"a\{2\}", r"\D+\d\S+", "(a|){2}", "(|b)"),
    *("x.é", r"a\.b"),
)


def theirs(pattern, name):
    """PEFT's rule."""
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_as_peft_matches(pattern):
    for name in NAMES:
        assert matches(pattern, name) == theirs(pattern, name), name


TIMES = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])
PIECES = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\.", r"\w", ""]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, TIMES),
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(PIECES, st.text("ab.", max_size=6))
def test_patterns_of_every_form(pattern, name):
    assert matches(pattern, name) == theirs(pattern, name)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a|a)*b",
        "(a*)*b",
        "((a+)+)+b",
        "(.*)*(.*)*(.*)*b",
        ".*" * 15 + "b",
        "(a?){900000000}b",
    ],
)
def test_none_takes_for_ever(pattern):
    """Their calls are counted: `re` makes 2 to the power of the name's length."""
    calls = [0]
    sys.setprofile(lambda *_: calls.__setitem__(0, calls[0] + 1))
    try:
        assert not matches(pattern, "a" * 60)
    finally:
        sys.setprofile(None)
    assert calls[0] < 2_000_000


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(",
            ")",
            "a)",
            "[",
            "[z-a]",
            "*",
            "a**",
            "a{3,2}",
            "\\",
            r"\1",
            r"(a)\1",
            "(?i)a",
            "(?=a)",
        ),
        *(
            "(?<!a)",
            r"\b",
            "{2}",
            "a{2",
            "(" * 200,
            "(" * 200 + ")" * 200 + "(",
            "a" * (LONGEST + 1),
            "a?" * 17,
        ),
    ],
)
def test_what_is_not_understood(pattern):
    with pytest.raises(ConfigError, match="is not understood; expected the name of a layer"):
        matches(pattern, "a")
