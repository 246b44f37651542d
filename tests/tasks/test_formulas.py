"""Formulas cleaned as three projects do; the results were taken from their own functions."""

import re

import pytest
from hypothesis import given, strategies as st

from mlx_vedec.tasks.formulas import CLEANERS, squeezed, to_katex, without_references

PIECES = st.sampled_from(
    [
        *(
            r"\mbox",
            r"\hbox",
            r"\boldmath ",
            r"\bm",
            r"\emph",
            r"\left",
            r"\Big",
            r"\tiny",
            r"\text",
        ),
        *("{", "}", "$", "\\", r"\\", r"\[", r"\]", r"\,", " ", "x", "1", "^", "é", r"\mathbf {"),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\mbox{if }x\mbox {or}", " if x or"),
        (r"\hbox to 3.5pt{ab}c", " ab c"),
        (r"\raise -2.0pt x \raisebox{1.0pt}{y} \scalebox{0.5}{z} \vbox{w}", " x y z w"),
        (r"\makebox[1.5pt]{a}", "a"),
        (r"\Huge$x$ \scriptsize$y$", r"\Huge{x} \scriptsize{y}"),
        (r"\mathbf{a \mathbf{b}} \boldmath$c$ \emph{d}", r" a b c \textit{d}"),
        (r"\left{(}\big{x}", r"\left(\bigx"),
        (r"\[a\]\[b\]", r"a\newlineb"),
        (r"a\,\,b\!c\;d\:e\vspace{3}", "a b c d e"),
        (r"\text{a }\text{b} \text{c}", r"\text{a bc}"),
        (r"\bf x $y$ \foo$z$", r"x y \foo$z$"),
        (r"\mbox{open", "open"),
        (r"\bm{a\}b}", r"a\}b"),
        ("", ""),
    ],
)
def test_texteller(text, expected):
    assert to_katex(text) == expected.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\frac { a } { b c }", r"\frac{a}{b c}"),
        (r"\operatorname * { l i m } _ { x }", r"\operatorname*{lim}_{x}"),
        (r"\mathrm { d } x \ y", r"\mathrm{d}x\ y"),
        (r"\alpha x + 1 2", r"\alpha x+12"),
        ("", ""),
    ],
)
def test_nougat_latex(text, expected):
    assert squeezed(text) == expected


def test_texify():
    text = r"\label{a}$x$\ref{b}, \pageref{c} \tag{1} \label{d"
    assert without_references(text) == r"$x$,  \tag{1} \label{d"


@given(TEXTS)
def test_any_text_is_cleaned(text):
    """No text breaks a cleaner; letters of no command stay; what is squeezed stays so."""
    for clean in CLEANERS.values():
        assert isinstance(clean(text), str)
    assert squeezed(squeezed(text)) == squeezed(text)
    assert re.sub(r"\s", "", squeezed(text)) == re.sub(r"\s", "", text)
    assert to_katex(text).count("é") == text.count("é")
