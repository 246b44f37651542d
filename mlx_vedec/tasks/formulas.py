r"""Formulas as three projects clean what their models write, each in its own way.

The rules and their order are those of TexTeller's `to_katex`, of nougat-latex-ocr's
`process_raw_latex_code` and of texify's `postprocess`, odd cases included. Two things are left out:
TexTeller's layout of the result over lines (tex-fmt's), and texify's mending of wrongly decoded
characters (ftfy's), which texts from a tokenizer do not have.

>>> squeezed(r"\frac { a } { b } \operatorname { sin } x")
'\\frac{a}{b}\\operatorname{sin}x'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class Change(NamedTuple):
    """A command with brackets about its content, and what comes in the place of both brackets."""

    command: str
    brackets: str
    by: str = " "
    end: str = ""


LENGTH = r"-? ?\d+\.\d+(?:pt)?"
SIZES = re.findall(r"\w+", "Huge huge LARGE Large large normalsize small footnotesize tiny")
FENCES = (
    *("left", "middle", "right"),
    *(f"{size}{side}" for side in ("", "l", "m", "r") for size in ("big", "Big", "bigg", "Bigg")),
)
STYLES: tuple[Change, ...] = (
    *(Change(f"\\{name}", "$$", f"\\{name}{{", "}") for name in SIZES),
    Change("\\mathbf", "{}", "\\bm{", "}"),
    Change("\\boldmath ", "{}", "\\bm{", "}"),
    Change("\\boldmath", "{}", "\\bm{", "}"),
    Change("\\boldmath ", "$$", "\\bm{", "}"),
    Change("\\boldmath", "$$", "\\bm{", "}"),
    Change("\\scriptsize", "$$", "\\scriptsize{", "}"),
    Change("\\emph", "{}", "\\textit{", "}"),
    Change("\\emph ", "{}", "\\textit{", "}"),
    Change("\\bm", "{}"),
    *(Change(f"\\{name}", "{}", f"\\{name}") for name in FENCES),
)
SPACES = tuple(re.compile(rf"(?:\\{mark})+") for mark in ",!;:")
TEXTS = re.compile(r"(?:\\text\{[^}]*\}\s*){2,}")
DOLLARS = re.compile(r"\\[a-zA-Z]+\$.*?\$|\$.*?\$")
NAMES = re.compile(r"\\(?:operatorname|mathrm|text|mathbf)\s?\*? {.*?}")
LETTER, OTHER = "[a-zA-Z]", r"[\W_^\d]"
GAPS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?!\\ )({OTHER})\s+?({OTHER})",
        rf"(?!\\ )({OTHER})\s+?({LETTER})",
        rf"({LETTER})\s+?({OTHER})",
    )
)


def to_katex(text: str) -> str:
    r"""A formula of TexTeller's as KaTeX shows it: no boxes, no bold, no spaces of given widths.

    >>> to_katex(r"\mathbf{x} \, = \mbox{if } \left{(} y \right)")
    'x = if \\left( y \\right)'
    """
    for command in ("\\mbox ", "\\mbox"):
        text = changed(text, Change(command, "{}"))
    text = re.sub(rf"\\hbox to ?{LENGTH}\{{", r"\\hbox{", text)
    text = changed(text, Change("\\hbox", "{}", end=" "))
    text = re.sub(rf"\\raise ?{LENGTH}", " ", text)
    text = re.sub(r"\\makebox ?\[\d+\.\d+(?:pt)?\]\{", r"\\makebox{", text)
    text = changed(text, Change("\\makebox", "{}", end=" "))
    for name in ("raisebox", "scalebox"):
        text = re.sub(rf"\\{name}\{{{LENGTH}\}}\{{", rf"\\{name}{{", text)
    for name in ("scalebox", "raisebox", "vbox"):
        text = changed(text, Change(f"\\{name}", "{}", end=" "))
    for change in STYLES:
        text = changed(text, change)
    text = re.sub(r"\\\[(.*?)\\\]", r"\1\\newline", text).removesuffix(r"\newline")
    for spaces in SPACES:
        text = spaces.sub(" ", text)
    text = re.sub(r"\\vspace\{.*?}", "", text)
    text = TEXTS.sub(_merged, text).replace(r"\bf ", "")
    for part in DOLLARS.findall(text):
        if not re.match(r"\\[a-zA-Z]+", part):
            text = text.replace(part, f" {part.strip('$')} ")
    return re.sub(" +", " ", text).strip()


def squeezed(text: str) -> str:
    r"""A formula of nougat-latex's without the spaces that mean nothing.

    >>> squeezed(r"x _ { 1 } + \text { a b }")
    'x_{1}+\\text{ab}'
    """
    text, before = NAMES.sub(lambda name: name.group().replace(" ", ""), text), None
    while text != before:
        before = text
        for gap in GAPS:
            text = gap.sub(r"\1\2", text)
    return text


def without_references(text: str) -> str:
    r"""What texify reads without the labels and references of the paper that it was set in.

    >>> without_references(r"$$x=1\label{eq:one}$$ as in \ref{eq:two}")
    '$$x=1$$ as in '
    """
    return re.sub(r"\\(?:label|ref|pageref)\{[^}]*\}", "", text)


CLEANERS: dict[str, Callable[[str], str]] = {  # by the names of image steps
    "texteller": to_katex,
    "nougat-latex": squeezed,
    "texify": without_references,
}


def changed(text: str, change: Change) -> str:
    r"""Each use of a command with its brackets, replaced; uses within it as well.

    >>> changed(r"\emph{a \emph{b}}", Change(r"\emph", "{}", r"\textit{", "}"))
    '\\textit{a \\textit{b}}'
    """
    use, closing = change.command + change.brackets[0], change.brackets[1]
    again = not change.by.startswith(change.command)
    places = [found.start() for found in re.finditer(re.escape(use), text)]
    for place in reversed(places):
        rest = _once(text[place:], use, closing, change)
        while again and use in rest:
            rest = _once(rest, use, closing, change)
        text = text[:place] + rest
    return text


def _once(text: str, use: str, closing: str, change: Change) -> str:
    """The uses in a text replaced, but not those within them; one without an end has no end."""
    parts, last = [], 0
    while (place := text.find(use, last)) >= 0:
        inside = place + len(use)
        stop = _closing(text, inside, use[-1], closing)
        parts += [text[last:place], change.by]
        last = inside
        if stop is not None:
            parts += [text[inside:stop], change.end]
            last = stop + 1
    return "".join((*parts, text[last:]))


def _closing(text: str, start: int, opening: str, closing: str) -> int | None:
    """Where the bracket closes that was opened before `start`; those after a backslash are text."""
    depth, escaped = 1, False
    for place in range(start, len(text)):
        letter = text[place]
        if letter == "\\" and not escaped:
            escaped = True
            continue
        if not escaped and letter in (opening, closing):
            depth += -1 if letter == closing else 1
            if not depth:
                return place
        escaped = False
    return None


def _merged(texts: re.Match[str]) -> str:
    r"""Several \text{…} one after another as one."""
    inside = re.findall(r"\\text\{([^}]*)\}", texts.group())
    return rf"\text{{{''.join(inside)}}}"
