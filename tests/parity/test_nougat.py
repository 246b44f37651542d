"""The clean-up of Nougat's pages against transformers' own, which needs nltk and Levenshtein.

Where they are not installed, the one thing asked of each is put in their place: a similarity, by
plain dynamic programming, and a word list that is not there.
"""

from __future__ import annotations

import random
import types
from functools import cache

import pytest

pytest.importorskip("transformers")

from transformers.models.nougat import tokenization_nougat as theirs  # noqa: E402

from mlx_vedec.tasks.nougat import to_markdown  # noqa: E402
from mlx_vedec.tasks.nougat_repeats import MISSING, drop_made_up_references, similarity  # noqa: E402


@cache
def plain_ratio(first, second):
    """1 - (characters to insert and to delete) / (all characters)."""
    row = list(range(len(second) + 1))
    for count, a in enumerate(first, 1):
        last, row = row, [count]
        for place, b in enumerate(second):
            row.append(last[place] if a == b else 1 + min(last[place + 1], row[place]))
    total = len(first) + len(second)
    return 1 - row[-1] / total if total else 1.0


def no_words():
    raise LookupError


NLTK = types.SimpleNamespace(
    corpus=types.SimpleNamespace(words=types.SimpleNamespace(words=no_words))
)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(theirs, "nltk", NLTK, raising=False)
    if not hasattr(theirs, "ratio"):
        monkeypatch.setattr(theirs, "ratio", plain_ratio, raising=False)


def cleaned(text, fix_markdown=True):
    tokenizer = object.__new__(theirs.NougatTokenizer)  # no vocabulary is asked for
    return tokenizer.post_process_single(text, fix_markdown)


def same(text):
    for fix_markdown in (True, False):
        assert to_markdown(text, fix_markdown) == cleaned(text, fix_markdown), text


def test_similarity():
    chance = random.Random(0)
    ratio = getattr(theirs, "ratio", plain_ratio)
    for _ in range(500):
        first, second = ("".join(chance.choices("abé ", k=chance.randrange(40))) for _ in "ab")
        assert similarity(first, second) == ratio(first, second) == plain_ratio(first, second)


WORDS = "we the model of x_i Theorem page a I i Figure results are shown in Table".split()  # noqa: SIM905
LONG = (
    "A title of more than one hundred characters is most likely no title at all but a paragraph "
    * 2
)
PIECES = [
    *["# ", "## 3 ", "### 2.1 Method", "#", "# ix.", "## A", "#### [x", "## 12", "# \t ", LONG],
    *["* [1] ", "* [12][]A. B. Author", "* [3] " + "A. B.. " * 6, "* [leftmargin=*]"],
    *["## References", " _a_ ", ",_x__ij_.", "(_A__abc_)", "_x__abcd_ ", " _a_ _b_ _c_ "],
    *["Footnote 1: thanks:  Paid by", "Footnote 2: footnotetext: -- x"],
    *["[FOOTNOTE: a] b [ENDFOOTNOTE]", "[FOOTNOTE:]] c[ENDFOOTNOTE] d]"],
    *["- one two - 1.2 three four - five", "* a * b c - d", "- x * y z"],
    *["- i. a b * iv.x c d * 1.. e f", "-", "* ", "- - ", "a - b c"],
    *[r"\begin{table} \begin{tabular}{ll} a & b \\ \end{tabular} \end{table} Table 1"],
    *[r"\begin{tab", r"\begin{tabular}{l l}  & \\ \end{tabular}"],
    *[r"\begin{tabular}{cc r} & &  \\ \end{tabular}", r"\begin{tabular}{c} \end{tabular}"],
    *[r"\begin{tabular}{cc}\end{tabular}", "\\begin{tabular}{}\n\n\\end{tabular}", "&" * 401],
    *[r"\begin{tabular}" * 16, r"\multicolumn" * 61, r"\begin{array}[]{cc}", "**S. A. B.**", "."],
    *[". ", "...", "}", "**bold", r"\begin{equation}", "[MISSING_PAGE_POST]", r"\[x=1\] (2.1a)"],
    *[r"(3) \[y\]", r"\[a\] (1) \[b\]", r"\[a\] (1) \[b\] (2)", r"\bm{x}", r"{\\bm y}"],
    *[r"\mbox{\boldmath$x$}", r"\mbox{ \boldmath$y$} z$}", r"e.g\. so", "http://a-b.org/x_y?z=1."],
    *["ftp://a.b,", "https://a", "see https://a.b.c/#d", "```", "``` code ```", "```", "``` ```"],
    *["`", "``````", "``` x", " ", "  ", "\t", "é", "İ", "１２", "x", "B", "7", ",", "Figure 3"],
    *["Table 2"],
    *[""] * 3,
]  # fmt: skip


def page(chance):
    """Lines of pieces and words in any order."""
    lines = []
    for _ in range(chance.randint(1, 12)):
        kinds = chance.choices([*PIECES, *WORDS], k=chance.choice([1, 1, 1, 2, 3, 6]))
        lines.append(chance.choice(["", " "]).join(kinds))
    return chance.choice(["\n", "\n", "\n\n"]).join(lines)


def sentence(chance):
    return " ".join(chance.choices(WORDS, k=chance.randint(3, 12))).capitalize() + chance.choice(
        ["", ".", ".", "?", "!", ",", "\n"]
    )


def loop(chance):
    """A page whose end repeats itself, more or less."""
    block = " ".join(sentence(chance) for _ in range(chance.randint(1, 3)))
    before = "\n".join(sentence(chance) for _ in range(chance.randint(0, 6)))
    tail = (block + chance.choice(["", " ", "\n"])) * chance.randint(1, 6)
    swapped = tail.swapcase() if chance.random() < 0.3 else tail
    return (
        before + tail[: len(tail) // 2] + swapped[len(tail) // 2 :] + block[: chance.randint(0, 5)]
    )


def references(chance):
    """A page with entries that are all alike, and something before and after them."""
    entry = "[{}] " + sentence(chance) + " {} pp. {}"
    lines = [sentence(chance).strip() for _ in range(chance.randint(0, 8))]
    lines += chance.choice([[], ["## References"], ["## References", ""], ["text * [1] " + entry]])
    for number in range(chance.randint(10, 30)):
        line = "* " + entry.format(number, number + 1900, "x" * chance.choice([0, 0, 0, 1, 2, 9]))
        lines += [line, *[""] * chance.choice([0, 0, 1, 2, 4])]
    lines[-1] += chance.choice(["", " Text of the next page", "3"])
    lines += [sentence(chance).strip() for _ in range(chance.randint(0, 8))]
    return "\n".join(lines)


@pytest.mark.parametrize(("make", "count"), [(page, 800), (loop, 200), (references, 40)])
def test_pages(make, count):
    chance = random.Random(make.__name__)
    for _ in range(count):
        same(make(chance))


def variant(chance, base):
    """A line with a few letters changed, numbered anew."""
    letters = list(base)
    for _ in range(chance.choice([0, 0, 0, 1, 2, 3, len(base) // 4])):
        letters[chance.randrange(len(letters))] = chance.choice("xyz19")
    return chance.choice(["", "* [1] ", "7 "]) + "".join(letters)


def alike(chance):
    """Lines that are more or less alike, about as many and as long as it takes."""
    base = "".join(chance.choices("abcde ", k=chance.choice([3, 4, 5, 20, 30, 198, 199, 200])))
    most = (
        chance.choice([base, base, variant(chance, base)]) for _ in range(chance.randint(11, 18))
    )
    few = [variant(chance, base) for _ in range(6)]
    others = [
        "",
        "",
        "Other.",
        "text * [1] " + base,
        "text * [2] " + base[: len(base) * 73 // 100],
        "## References",
        *few,
    ]
    lines = [*chance.choices(others, k=chance.randint(0, 8)), *most]
    lines += chance.choices(others, k=chance.randint(0, 8))
    for _ in range(chance.choice([0, 1, 3])):
        lines.insert(chance.randrange(len(lines)), chance.choice(others))
    return "\n".join(lines)


def test_references():
    chance = random.Random(3)
    found = 0
    for _ in range(250):
        text = alike(chance)
        expected = theirs.NougatTokenizer.remove_hallucinated_references(None, text)
        if expected.count(MISSING) > len(text):  # between all letters: see tasks/nougat.py
            assert drop_made_up_references(text).count(MISSING) < 5
            continue
        found += expected != text
        assert drop_made_up_references(text) == expected, text
    assert found > 30


@pytest.mark.parametrize("piece", sorted({*PIECES, *WORDS}))
def test_each_piece_alone_and_among_lines(piece):
    for text in (
        piece,
        f"Text\n{piece}",
        f"{piece}\ntext",
        f"a\n\n{piece}\n\nb.",
        f"{piece} {piece}",
    ):
        same(text)


def test_a_real_page(shared):
    same((shared / "images" / "phototest.txt").read_text(encoding="utf-8"))
