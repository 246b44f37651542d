"""What Nougat says again and again: a tail in circles, and references that it made up.

The rules and their numbers are Nougat's (arXiv:2308.13418), and so is what they do in odd cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

MISSING = "[MISSING_PAGE_POST]"  # what is put in place of references that were made up

SHORTEST = 30  # characters of a tail that counts as repeated
SENTENCE_END = re.compile(r"[.?!\n]")

SIMILAR = 0.9  # lines that are more alike are one line over and over
ENTRY = range(4, 200)  # characters of a reference
FEWEST = 15  # lines that similar lines have to span
LOOK_AROUND = 5  # lines before and after them

WINDOW = 15  # steps of the largest logit that one variance is of
TAIL = 10  # fewest variances whose own variance is looked at
CALM = 0.045  # below it, the rest of a page is a loop
SLACK, GROWTH = 120, 1.08  # tokens that are kept, and by how much more where the loop begins late
LATEST = 4095
NEAR_END = 0.9  # of the page: what begins past it is let be
AT_ONCE = 30  # a loop that begins before this step leaves nothing


def repetition_start(peaks: Sequence[float]) -> int | None:
    """How many tokens of a page to keep that did not end by itself; None where it is all right.

    peaks -- the largest logit of each step. 0 stands for a page that was in circles from its start.

    Once a page is read, this is stricter than the rule by which generation stops: the loop begins
    where the variances up to the end hardly vary any more.

    >>> repetition_start([20.0 + 3 * (step % 7) * (step < 300) for step in range(2000)])
    426
    """
    values = np.asarray(peaks, np.float32)
    windows = [values[i : i + WINDOW] for i in range(len(values) - WINDOW)]
    variances = np.array([window.var() / WINDOW for window in windows])
    rest = np.array([variances[i + 1 :].var() for i in range(len(variances) - TAIL)])
    calm = np.flatnonzero(rest < CALM)
    if len(calm) < 2 or (np.diff(calm) > 1).any():
        return None
    begin = int(calm[0])
    kept = int(min(max(begin, 1) * GROWTH + SLACK, LATEST))
    if kept / len(values) > NEAR_END:
        return None
    return 0 if begin < AT_ONCE else kept


def cut_repeated_tail(text: str) -> str:
    """A text whose end repeats itself, without the repeats.

    The longest tail that comes twice is what repeats. Its first sentence stays, as a rule: a text
    that is nothing but repeats may go altogether.

    >>> cut_repeated_tail("A page. " + "The same words come again, again. " * 4)
    'A page. The same words come again, again.'
    """
    lower = text.lower()
    size = len(lower)
    periods = range(size // 2 - 1, SHORTEST - 1, -1)
    period = next((p for p in periods if lower[size - 2 * p : size - p] == lower[size - p :]), None)
    if period is None:
        return text
    start, block = size, lower[size - period :]
    while lower.endswith(block, 0, start):
        start -= period
    return text[: _sentence_end(lower, start)]


def _sentence_end(text: str, start: int) -> int:
    """Where the sentence at `start` ends, if another one ends as far from the text's end."""
    end = SENTENCE_END.search(text, start)
    mirrored = SENTENCE_END.search(text[::-1], start)
    if end is None or mirrored is None or 0 in (end.start(), mirrored.start()):
        return start
    return end.end()


def drop_made_up_references(text: str) -> str:
    """Many similar lines one after another give way to a marker.

    >>> lines = [f"* [{n}] A. Author, A paper on pages, 20{n}." for n in range(10, 40)]
    >>> drop_made_up_references("\\n".join(["Text.", "## References", *lines]))
    'Text.\\n\\n\\n[MISSING_PAGE_POST]\\n\\n'
    """
    lines = text.split("\n")
    bare = [_bare(line) for line in lines]
    for start, end in reversed(list(_similar_runs(bare))):
        if part := _run_text(lines, bare, start, end):
            text = text.replace(part, f"\n\n{MISSING}\n\n")
    return re.sub(
        r"## References\n+\[MISSING_PAGE_POST(:\d+)?\]", r"\n\n[MISSING_PAGE_POST\1]", text
    )


def _bare(line: str) -> str:
    """A line without what numbers it and what makes it bold."""
    return re.sub(r"[\d_]|\*\*", "", line).strip()


def _similar_runs(bare: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First line and end of each run of lines that are like the next one, with gaps of up to 3."""
    alike = [index for index in range(len(bare) - 1) for index in _like_next(bare, index)]
    if not alike:
        return
    runs = np.split(np.array(alike), np.flatnonzero(np.diff(alike) > 3) + 1)
    for run in runs:
        if run[-1] + 2 - run[0] > FEWEST:
            yield int(run[0]), int(run[-1]) + 2


def _like_next(bare: Sequence[str], index: int) -> range:
    """A line and the empty ones after it, if the next that is not empty is like it; else none."""
    line = bare[index]
    if len(line) not in ENTRY or line.startswith("[MISSING_PAGE"):
        return range(0)
    following = range(index + 1, len(bare))
    after = next((place for place in following if bare[place]), len(bare) - 1)
    other = bare[after]
    alike = len(other) in ENTRY and (line == other or similarity(line, other) > SIMILAR)
    return range(index, after if alike else index)


def _run_text(lines: Sequence[str], bare: Sequence[str], start: int, end: int) -> str:
    """The text of a run of similar lines, as far as it is to go."""
    first, within = _first_line(lines, bare[start], start)
    after = range(end, min(len(lines), end + LOOK_AROUND))
    unlike = (place for place in after if similarity(bare[start], bare[place]) < SIMILAR)
    last = min(next(unlike, end), len(lines) - 1)
    part = "\n".join(lines[first : last + 1])
    if within and "* [" in part:
        part = "* [" + part.partition("* [")[2]
    shared = _shared_start(lines[last - 1], lines[last])
    kept = len(lines[last]) - shared if shared else 0  # of the last line, which is the next text's
    return part[: len(part) - kept].strip() if kept <= len(part) else ""


def _first_line(lines: Sequence[str], base: str, start: int) -> tuple[int, bool]:
    """The line a run begins with, and whether the run may begin within that line."""
    for place in range(start - 1, max(0, start - LOOK_AROUND), -1):
        if lines[place] == "## References":
            return place, False
        if lines[place] and similarity(base, _bare(lines[place])) < SIMILAR:
            entry = _bare(lines[place - 1].partition("* [")[2])
            whole = len(entry) >= 0.75 * len(base) and similarity(base, entry) < SIMILAR
            return (place if whole else place + 1), True
    return start, False


def _shared_start(first: str, second: str) -> int:
    """How far into `second` both are the same but for numerals, and their first difference."""
    rest, other = list(second)[::-1], ""  # taken from its end
    for letter in first:
        if letter.isnumeric():
            continue
        while rest and (other := rest.pop()).isnumeric():
            continue
        if not rest or letter != other:
            break
    return len(second) - len(rest)


def similarity(first: str, second: str) -> float:
    """1 for equal texts, 0 for texts that share no character: the longest common subsequence.

    Its length, twice, to the sum of both lengths, counted with one bit per character (Hyyrö 2004).

    >>> similarity("page 12", "page 13")
    0.8571428571428572
    """
    total = len(first) + len(second)
    if not total:
        return 1.0
    places: dict[str, int] = {}
    for place, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << place
    full = unmatched = (1 << len(first)) - 1
    for letter in second:
        matched = unmatched & places.get(letter, 0)
        unmatched = (unmatched + matched | unmatched - matched) & full
    common = len(first) - unmatched.bit_count()
    return 1 - (total - 2 * common) / total
