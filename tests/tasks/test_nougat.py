"""Nougat's clean-up without its reference."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from mlx_vedec.tasks.nougat import to_markdown
from mlx_vedec.tasks.nougat_repeats import (
    cut_repeated_tail,
    drop_made_up_references,
    repetition_start,
    similarity,
)

# --- the clean-up; parity/test_nougat.py compares it with transformers'


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("## 3\n# Method\ntext", "\n# Method\ntext "),
        ("text\n# Made up", "text "),
        ("## " + "x" * 100 + " y", "x" * 100 + " y "),
        ("- one two - 1.2 three four", "- one two\n\t- 1.2 three four\n "),
        ("* [12][]A. Author", "* [12]A. Author "),
        ("an index _i_, and _x__ij_.", "an index \\(i\\), and \\(x_{j}\\).\n\n "),
        ("a [FOOTNOTE: 1] b [ENDFOOTNOTE] c", "a  c "),
        ("(2.1) \\[x\\]\n", "(2.1) \\[x\\] "),  # so its last line ends with a space
        ("(2.1) \\[x\\]\nis", "\\[x \\tag{2.1}\\]\nis "),
        ("see https://a.org/x?y.", "see [https://a.org/x?y](https://a.org/x?y).\n\n "),
        ("```x = 1```", "```\nx = 1\n``` "),
        ("a\\begin{tabular}{cc} &  & \\\\ \\end{tabular}", "a\n\n "),
        ("", " "),
    ],
)
def test_clean_up(text, cleaned):
    assert to_markdown(text) == cleaned


def test_markdown_can_be_left_out():
    text = "(2.1) \\[x\\]\nis"
    assert to_markdown(text, fix_markdown=False) == text + " "


def test_a_page_in_circles():
    block = "We show that this is the case for all of them. "
    assert cut_repeated_tail("Start here. " + block * 4 + block[:5]).count("We show") == 1
    assert cut_repeated_tail("too short. " * 5) == "too short. " * 5


def test_references_of_which_nothing_remains_are_left():
    """transformers puts its marker between all letters of this page."""
    lines = ["Here is a text.", "Another line."] * 3
    lines += [f"Author {number} wrote a paper" for number in range(25)]
    text = "\n".join([*lines, "What follows is longer than its end * [1]"])
    assert drop_made_up_references(text) == text


def test_similarity_of_nothing():
    assert (similarity("", ""), similarity("a", ""), similarity("ab", "ba")) == (1.0, 0.0, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "x" + " " * 16000,
        "\n" * 16000,
        "```" + " " * 16000 + "x",
        "`" * 16000,
        "\\begin{tabular}{ll}" + " " * 16000 + "x",
        "[FOOTNOTE:" * 1600 + "x",
        "\nFootnote : thanks:" + "-" * 8000 + "a\nb",
        "* [1]" + " A." * 5000 + "x",
        "\n".join("abcdefgh" + "\n" * 8 + str(n) for n in range(1600)),
        "# " * 8000,
        "http://" + "a." * 8000,
    ],
    ids=range(11),
)
def test_hostile_pages_take_no_time(text):
    begun = time.process_time()
    to_markdown(text + "end")
    assert time.process_time() - begun < 2


# --- loops in the largest logits


def told(peaks):
    """The rule one number at a time."""
    windows = [peaks[i : i + 15] for i in range(len(peaks) - 15)]
    variances = [statistics.pvariance(window) / 15 for window in windows]
    rests = [variances[i + 1 :] for i in range(len(variances) - 10)]
    calm = [i for i, rest in enumerate(rests) if statistics.pvariance(rest) < 0.045]
    if len(calm) < 2 or calm != list(range(calm[0], calm[0] + len(calm))):
        return None
    kept = int(min(max(calm[0], 1) * 1.08 + 120, 4095))
    if kept / len(peaks) > 0.9:
        return None
    return 0 if calm[0] < 30 else kept


@pytest.mark.parametrize("length", [0, 10, 26, 130, 200, 500])
@pytest.mark.parametrize("begin", [0, 0.1, 0.5, 0.8, 1])
def test_where_a_loop_begins(length, begin):
    generator = np.random.default_rng(length)
    spread = np.where(np.arange(length) < begin * length, 6.0, 0.1)
    peaks = (20 + spread * generator.normal(size=length)).astype(np.float32).tolist()
    assert repetition_start(peaks) == told(peaks)


def test_loops_are_found():
    noisy = np.random.default_rng(0).normal(20, 6, 400).tolist()
    assert repetition_start(noisy) is None
    assert 400 < repetition_start([*noisy, *[25.0] * 1200]) < 600
    assert repetition_start([25.0] * 1000) == 0
    assert repetition_start([*noisy, *[25.0] * 50]) is None  # near the end it is let be
