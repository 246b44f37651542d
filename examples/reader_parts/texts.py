"""Texts in the languages of Europe, of the words that the package wordfreq has."""

from __future__ import annotations

import string
import unicodedata
from functools import lru_cache
from importlib import import_module

import numpy as np

LONGEST = 64  # characters of a line
ACCENTED = """ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿŸĀāĂăĄąĆćČčĎďĐđĒēĖėĘęĚě
    ĢģĪīĮįĶķĹĺĻļĽľŁłŃńŅņŇňŐőŒœŔŕŘřŚśŠšȘșȚțŤťŪūŮůŰűŲųŴŵŶŷŹźŻżŽž"""
SIGNS = "‘’‚“”„«»‹›–—…€£¥¢§°·•†¡¿©®™±×½¼²³µªº"
CHARACTERS = string.printable[:95] + "".join(ACCENTED.split()) + SIGNS
LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "is", "pl", "cs", "sk"),
    *("hu", "ro", "sl", "sh", "lt", "lv", "ca"),
)
TESTED = "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "cs", "hu"
ENGLISH = 0.35  # share of the lines that are in English
CONTENTS = 0.05  # share of the lines that are of tables of contents
SIGNS_ALONE = 0.3  # share of these that are ASCII characters at random
QUOTES = ["“”", "„“", "„”", "«»", "»«", "‘’", "‹›", '""', "''", "()", "[]", "’’"]


@lru_cache
def words(language: str) -> list[str]:
    """The frequent words of a language, the most frequent first."""
    found = import_module("wordfreq").top_n_list(language, 30_000)
    return [word for word in found if set(word) <= set(CHARACTERS)]


def _word(random: np.random.Generator, language: str) -> str:
    """A word, one of two times a frequent one."""
    known = words(language)
    frequent = random.random() < 0.5
    return known[
        int(len(known) ** random.random()) - 1 if frequent else random.integers(len(known))
    ]


def _number(random: np.random.Generator) -> str:
    n = int(10 ** (random.random() * 6))
    d, m, y = random.integers(1, 29), random.integers(1, 13), random.integers(1700, 2040)
    cents = f"{random.integers(100):02}"
    kinds = [
        *(str(n), str(n), f"{n:,}", f"{n:,}".replace(",", "."), f"{n}.{cents}", f"{n},{cents}"),
        *(f"{d}.{m}.{y}", f"{d:02}/{m:02}/{y}", f"{y}-{m:02}-{d:02}", str(y), f"{d}:{cents}"),
        *(f"{n},{cents} €", f"€{n}", f"£{n}.{cents}", f"${n}", f"{n} %", f"{d}%", f"§ {d}"),
        *(f"{y}–{y + d}", f"No. {d}", f"+{n} {cents}", f"{d}°", f"{d}×{m}", f"({d})", f"{d}."),
        *(f"p. {n}", f"{n}/{d}", f"±{d}", f"{d}½", f"{m}²", f"#{n}", f"{n} kg", f"{d}ª", f"{d}º"),
    ]
    return str(random.choice(kinds))


def _address(random: np.random.Generator) -> str:
    a, b = (unicodedata.normalize("NFKD", _word(random, "en")) for _ in "ab")
    kinds = [f"www.{a}.com", f"https://{b}.org/{a}", f"{a}@{b}.eu", f"{a}_{b}.txt"]
    return str(random.choice(kinds))


def _scrambled(random: np.random.Generator, size: int) -> str:
    """Signs and letters at random, accented ones above all."""
    kinds = [CHARACTERS[95:], string.printable[:94], string.ascii_letters + string.digits]
    pool = kinds[random.integers(3)] if random.random() < 0.5 else kinds[0] + string.ascii_letters
    return "".join(random.choice([*pool], size))


def _part(
    random: np.random.Generator, language: str, scrambled: float, capital: float, start: bool
) -> str:
    """A word, number, address, or letters at random; capital -- how often words begin with one."""
    kind = random.random()
    if kind < 0.09:
        return _number(random)
    if kind < 0.1:
        return _address(random)
    if kind < 0.1 + scrambled:
        return _scrambled(random, int(random.integers(1, 9)))
    word = _word(random, language)
    capital = start or capital == 1 or random.random() < capital
    if random.random() < 0.03:
        return word.upper()
    return word[:1].upper() + word[1:] if capital else word


def _with_signs(random: np.random.Generator, part: str) -> str:
    """At times between quotes, and with a sign after it."""
    if random.random() < 0.06:
        left, right = QUOTES[random.integers(len(QUOTES))]
        part = left + part + right
    sign = random.random()
    if sign < 0.2:
        return part + str(random.choice([*",,,,...;:!?…"]))
    if sign < 0.23:
        return part + str(
            random.choice([*("–", " –", " —", "-", " -", " &", " ·", " /", " +"), " ="])
        )
    return part


def signs_of(random: np.random.Generator, longest: int) -> str:
    """Up to so many printable ASCII characters at random, with spaces among them."""
    text = "".join(random.choice([*string.printable[:94]], longest))
    for at in random.integers(0, longest, longest // 5):
        text = text[:at] + " " + text[at + 1 :]
    return " ".join(text.split())


def contents_of(random: np.random.Generator, language: str, longest: int) -> str:
    """A line of a table of contents, or of a form: words, many dots or the like, a number."""
    sign = str(random.choice([*"........_-·", " .", " .", " ."]))
    count = int(random.integers(3, 5 + longest // 2 // len(sign)))
    gap = " " if sign == " ." or random.random() < 0.7 else ""
    after = str(
        random.choice(["", str(random.integers(1, 1000)), _number(random)], p=(0.1, 0.7, 0.2))
    )
    row = (sign * count).strip() + gap + after
    title = text_of(random, language, max(1, longest - len(row) - 1), 0)
    return f"{title}{gap}{row}"[-longest:].strip()


def text_of(
    random: np.random.Generator, language: str, longest: int, scrambled: float = 0.06
) -> str:
    """A line of up to so many characters: words, with capitals, signs and numbers among them.

    scrambled -- how often letters at random stand in the place of a word
    """
    style = random.random()  # of the line: all capitals, each word, as in sentences
    capital = 1 if style > 0.85 else 0.4 if language == "de" else 0.12
    text, start = "", True
    while len(text) < longest:
        part = _with_signs(random, _part(random, language, scrambled, capital, start))
        start = part[-1] in ".!?…"
        text += f" {part}" if text else part
    text = text.upper() if style < 0.08 else text
    text = " ".join("".join(c for c in text if c in CHARACTERS).split())
    if len(text) > longest:  # at a word's end, where it is not too far off
        at = text.rfind(" ", longest // 2, longest + 1)
        text = text[: at if at > 0 else longest]
    return text.strip()
