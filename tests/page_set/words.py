"""Texts of printable ASCII, made of the lists in words.txt: no two pages say the same."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

LISTS = {
    name: [word.replace("_", " ") for word in words.split()]
    for name, _, words in (
        line.partition(":")
        for line in Path(__file__).with_suffix(".txt").read_text("ascii").splitlines()
    )
}


class Writer:
    """Sentences, headings and rows of tables, of a seeded choice of words."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def _any(self, kind: str) -> str:
        return self.random.choice(LISTS[kind])

    def noun(self) -> str:
        """One word."""
        return self._any("nouns")

    def _thing(self) -> str:
        adjective = f"{self._any('adjectives')} " if self.random.random() < 0.6 else ""
        return f"{adjective}{self.noun()}"

    def _deed(self) -> str:
        return f"{self._any('verbs')} the {self._thing()}"

    def _where(self) -> str:
        return self._any("places")

    def surname(self) -> str:
        """One word with a capital."""
        return self._any("names")

    def sentence(self) -> str:
        """One of fifteen kinds, the plainest as often as two; with figures, prices and marks."""
        r, name = self.random, self.surname
        kinds = (
            lambda: f"The {self._thing()} {self._deed()} {self._where()}.",
            lambda: f"The {self._thing()} {self._deed()} {self._where()}.",
            lambda: f"{name()} {self._deed()}, and the {self._thing()} stayed {self._where()}.",
            lambda: f"Nobody {self._deed()}; {name()} {self._deed()} {self._where()}.",
            lambda: (
                f"When {name()} {self._deed()}, the {self.noun()} was {self._any('adjectives')}."
            ),
            lambda: (
                f"In {self._any('months')} {r.randint(1741, 1999)}, a {self._thing()} was sold."
            ),
            lambda: f'"Who {self._deed()}?" asked {name()}. "A {self.noun()}!"',
            lambda: f"It cost ${r.randint(2, 980)}.{r.randint(10, 99)} (or {r.randint(2, 60)}%).",
            lambda: f"Every {self.noun()} needs a {self._thing()}: see page {r.randint(2, 480)}.",
            lambda: f"We {self._deed()} {self._where()}, but {name()} did not!",
            lambda: (
                f"A {self._thing()} of {r.randint(12, 990)} {self._any('units')} {self._deed()}."
            ),
            lambda: (
                f"{name()} & {name()} {self._deed()} at {r.randint(1, 11)}:{r.randint(10, 59)}."
            ),
            lambda: f"The {self.noun()}'s {self.noun()} was {self._any('adjectives')}-made.",
            lambda: (
                f"No. {r.randint(2, 99)}/{r.randint(10, 99)} is a {self._thing()} {self._where()}."
            ),
            lambda: f"Neither the {self._thing()} nor the {self._thing()} was {self._where()}.",
            lambda: f"{name()} wrote: {r.randint(2, 9)} {self.noun()}s + {r.randint(2, 9)} more.",
        )
        return _with_articles(r.choice(kinds)())

    def text(self, length: int) -> str:
        """Sentences of at least as many characters together."""
        found = ""
        while len(found) < length:
            found += f" {self.sentence()}"
        return found.strip()

    def title(self, words: int = 3) -> str:
        """A heading, each word with a capital."""
        found = [self._any("adjectives"), *(self.noun() for _ in range(words - 1))]
        return " ".join(found).title()

    def person(self) -> str:
        """Initial and surname."""
        return f"{self.random.choice('ABCDEFGHJKLMPRSTW')}. {self.surname()}"

    def date(self) -> str:
        """Month, day, year."""
        r = self.random
        return f"{self._any('months')} {r.randint(1, 28)}, {r.randint(1741, 1999)}"

    def number(self) -> str:
        """A figure as tables have them."""
        r = self.random
        return r.choice((f"{r.randint(100, 9999):,}", f"{r.randint(1, 99)}.{r.randint(10, 99)}"))


def _with_articles(sentence: str) -> str:
    """`a` before a vowel becomes `an`."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence)
