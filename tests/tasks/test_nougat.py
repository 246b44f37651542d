"""Nougat's clean-up without its reference, and pages read one by one."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from mlx_vedec.errors import ImageError, OptionError
from mlx_vedec.tasks.nougat import to_markdown
from mlx_vedec.tasks.nougat_pages import page_to_markdown, read_pages
from mlx_vedec.tasks.nougat_repeats import (
    cut_repeated_tail,
    drop_made_up_references,
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


# --- pages

ENTRIES = [f"* [{n}] A. Author, A paper on pages, 20{n}." for n in range(10, 40)]


def test_pages_and_those_that_are_missing():
    pages = [
        ("# Title\n\n\n\nText", "stop", 1),
        ("again and again", "repetition", 2),
        ("", "repetition", 3),
        ("", None, 4),
        ("", "stop", 5),
        ("cut sho", "length", 6),
        ("\n".join(ENTRIES), "stop", 7),
    ]
    assert [page_to_markdown(*page) for page in pages] == [
        "# Title\n\nText",
        "[MISSING_PAGE_FAIL:2]",
        "[MISSING_PAGE_EMPTY:3]",
        "[MISSING_PAGE_FAIL:4]",
        "",
        "cut sho",
        "[MISSING_PAGE_EMPTY:7]",
    ]
    assert page_to_markdown("One\n\ntwo.", "stop", 1) == "One\n\ntwo."


class Reader:
    """Reads strings, and stops where it is told to."""

    def __init__(self, stop_at=None, broken=()):
        self.seen, self.stop_at, self.broken = [], stop_at, broken

    def __call__(self, source):
        if source == self.stop_at:
            raise KeyboardInterrupt
        if source in self.broken:
            raise ImageError(f"{source} cannot be read")
        self.seen.append(source)
        return SimpleNamespace(text=f"page {source}", finish_reason="stop")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_run_goes_on(tmp_path):
    folder = tmp_path / "of" / "one"
    with pytest.raises(KeyboardInterrupt):
        read_pages(Reader(stop_at="c"), "abcd", folder)
    assert names(folder) == ["0001.md", "0002.md"]
    reader = Reader()
    assert read_pages(reader, iter("abcd"), str(folder)) == "page a\n\npage b\n\npage c\n\npage d"
    assert reader.seen == ["c", "d"]
    assert (folder / "0003.md").read_text() == "page c\n"


def test_pages_that_cannot_be_read_are_tried_again(tmp_path):
    text = read_pages(Reader(broken="b"), "abc", tmp_path)
    assert text == "page a\n\n[MISSING_PAGE_FAIL:2]\n\npage c"
    assert names(tmp_path) == ["0001.md", "0003.md"]
    failed = SimpleNamespace(text="", finish_reason=None)
    assert "[MISSING_PAGE_FAIL:2]" in read_pages(lambda source: failed, "abc", tmp_path)
    assert read_pages(Reader(), "abc", tmp_path) == "page a\n\npage b\n\npage c"


def test_loops_and_empty_pages_are_kept(tmp_path):
    looped = SimpleNamespace(text="so so", finish_reason="repetition")
    read_pages(lambda source: looped, "a", tmp_path)
    blank = SimpleNamespace(text="", finish_reason="stop")
    assert read_pages(lambda source: blank, "ab", tmp_path) == "[MISSING_PAGE_FAIL:1]"
    assert names(tmp_path) == ["0001.md", "0002.md"]


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(path, text, **options):
        path.write_bytes(b"pa")
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="no space left"):
        read_pages(Reader(), "a", tmp_path)
    assert names(tmp_path) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="is a file; expected a folder"):
        read_pages(Reader(), "a", tmp_path / "file")
