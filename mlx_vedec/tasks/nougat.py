r"""Nougat's pages (arXiv:2308.13418) as Markdown: the clean-up that follows the decoding.

The rules are transformers' `post_process_generation`, in their order, without what it needs beside
(nltk, Levenshtein). They mend what the model gets wrong again and again; where they lose text, such
as items of one word in "- one - two three", they do so there too. Two things differ, both rarely:

- a page that ends with a word has a space put after it. There, where nltk's word list is installed,
  only a word of that list has.
- made-up references of which no text comes out are left. There, a marker goes between all letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from .nougat_repeats import cut_repeated_tail, drop_made_up_references

Rule = Callable[[str], str]


def to_markdown(text: str, fix_markdown: bool = True) -> str:
    r"""A page as the model writes it, cleaned up.

    fix_markdown -- also make equation numbers, links and code blocks what Markdown understands.

    >>> to_markdown("## 3\n## Results\n\\[x=1\\] (2a)\n\n\n\nSee _a_ in http://a.org/b.")
    '\n## Results\n\\[x=1 \\tag{2a}\\]\n\nSee \\(a\\) in [http://a.org/b](http://a.org/b).\n\n '
    """
    for rule in (*RULES, *(MARKDOWN if fix_markdown else ())):
        text = rule(text)
    return text


def _sub(pattern: str, by: str | Callable[[re.Match[str]], str], *, lines: bool = False) -> Rule:
    """Replace what a pattern matches; lines -- where ^ and $ stand for those of lines."""
    return partial(re.compile(pattern, re.MULTILINE if lines else 0).sub, by)


def _swap(old: str, new: str) -> Rule:
    return lambda text: text.replace(old, new)


def _split_lists(text: str) -> str:
    """Items that run on in one line get lines of their own."""
    lines = text.split("\n")
    parts = [_split_list(line, first=number == 0) for number, line in enumerate(lines)]
    if parts[-1] is not None:
        parts[-1] += "\n"
    return "\n".join(
        line if part is None else part for line, part in zip(lines, parts, strict=True)
    )


def _split_list(line: str, *, first: bool) -> str | None:
    """The items of a line as lines, indented by the dots in their numbers; None if it has no more.

    The marker of all is the first within the line, but that of the first item stays, if the page
    does not begin with it. An item of one word goes.
    """
    inner = re.search(". ([-*]) ", line)
    if inner is None or line[0] not in "-*":
        return None
    marker = inner.group(1) + " "
    lines = ""
    for index, item in enumerate(map(str.strip, line.split(marker)[1:])):
        number, _, rest = item.partition(" ")
        if rest:
            numbered = re.fullmatch(r"[\dixv]+(\.[\dixv])*", number, re.IGNORECASE)
            indent = "\t" * (number.count(".") if numbered else 0)
            own = marker if index or first else line[0] + " "
            lines += "\n" * (index > 0) + indent + own + item
    return lines


def _finish_end(text: str) -> str:
    """Leave room for the next page: lines after a paragraph or a title, a space after a word."""
    if text.endswith((".", "}")):
        text += "\n\n"
    if re.match("[A-Z0-9,;:]$", text):
        return text + " "
    if text.startswith(("#", "**", r"\begin")):
        return "\n\n" + text
    last = text.rpartition("\n")[2]
    return text + ("\n\n" if last.startswith(("#", "Figure", "Table")) else " ")


def _drop_wild_tables(text: str) -> str:
    """A page without lines that no table has: too many tables, cells or joined cells."""
    limits = {r"\begin{tabular}": 15, r"\multicolumn": 60, "&": 400}
    for line in text.split("\n"):
        if any(line.count(part) > most for part, most in limits.items()):
            text = text.replace(line, "")
    return text


def _empty_table(table: re.Match[str]) -> str:
    """A table, or nothing if its cells are empty and at most one of its rows ends."""
    cells = table.group(1).removesuffix(r"\\").strip()
    return table.group() if set(cells) - {"&", " "} else ""


def _code_block(block: re.Match[str]) -> str:
    """A block whose fences stand on lines of their own."""
    code = block.group(2) or block.group(3)[-1]
    return f"```\n{code.rstrip() or code}\n```"


TITLES: tuple[Rule, ...] = (
    _sub(r"(?:^|\n)#+ \d*\W? ?(.{100,})", r"\n\1"),  # so long a title is a paragraph
    str.strip,
    _swap("\n* [leftmargin=*]\n", "\n"),
    _sub(r"^#+ (?:[\d+.]+|[ixv.]+)?\s*(?:$|\n\s*)", "", lines=True),  # a number and no title
    _sub(r"\n#+ [^\n]*\Z", ""),  # a title that nothing follows is made up
)
REFERENCES: tuple[Rule, ...] = (
    drop_made_up_references,
    _sub(r"^\* \[\d+\]\s?(?:[A-W]\.+\s{0,2}){9,}[A-W]\.+\s?.*$", "", lines=True),  # only initials
    _sub(r"^(\* \[\d+\])\[\]", r"\1", lines=True),
)
PARTS: tuple[Rule, ...] = (
    _sub(r"^\w\n\n|\n\n\w$", ""),  # one letter as a paragraph
    # PubMed Central's italics: _x__ij_ and _x_ are formulas.
    _sub(
        r"([\s.,()])_([a-zA-Z0-9])__[a-zA-Z0-9]{0,2}([a-zA-Z0-9])_([\s.,:()])", r"\1\(\2_{\3}\)\4"
    ),
    _sub(r"([\s.,\d])_([a-zA-Z0-9])_([\s.,\d;])", r"\1\(\2\)\3"),
    _sub(r"(\nFootnote .*?:) (?:footnotetext|thanks):\W*(.*(?:\n\n|$))", r"\1 \2"),
    _sub(r"\[FOOTNOTE:.[^\]\n]*\].*?\[ENDFOOTNOTE\]", ""),
    _split_lists,
    _finish_end,
)
TABLES: tuple[Rule, ...] = (
    _drop_wild_tables,
    _swap(r"\begin{table} \begin{tabular}", "\\begin{table}\n\\begin{tabular}"),
    _swap(r"\end{tabular} \end{table}", "\\end{tabular}\n\\end{table}"),
    _swap(r"\end{table} Tab", "\\end{table}\nTab"),
    _sub(r"(^.+)\\begin{tab", "\\1\n\\\\begin{tab", lines=True),
    _swap(r"\begin{tabular}{l l}  & \\ \end{tabular}", ""),
    _swap("\\begin{tabular}{}\n\n\\end{tabular}", ""),
    _swap(r"\begin{array}[]{", r"\begin{array}{"),
    _sub(r"\\begin{tabular}{[clr ]{2,}}([\s&\\]*) \\end{tabular}", _empty_table),
)
REMAINS: tuple[Rule, ...] = (
    _sub(r"(?:\*\*S\. A\. B\.\*\*\n+){2,}", ""),
    _sub(r"^#+(?: [\[\d\w])?$", "", lines=True),
    _sub(r"^\.\s*$", "", lines=True),
    _sub(r"\n{3,}", "\n\n"),
)
RULES = (*TITLES, cut_repeated_tail, *REFERENCES, *PARTS, *TABLES, *REMAINS)

NUMBER = r"\(([\d.]+[a-zA-Z]?)\)"  # of an equation
MARKDOWN: tuple[Rule, ...] = (
    _sub(rf"^{NUMBER} \\\[(.+?)\\\]$", r"\[\2 \\tag{\1}\]", lines=True),
    _sub(rf"^\\\[(.+?)\\\] {NUMBER}$", r"\[\1 \\tag{\2}\]", lines=True),
    _sub(rf"^\\\[(.+?)\\\] {NUMBER} (\\\[.+?\\\])$", r"\[\1 \\tag{\2}\] \3", lines=True),
    _swap(r"\. ", ". "),
    _swap(r"\bm{", r"\mathbf{"),
    _swap(r"{\\bm ", r"\mathbf{"),
    _sub(r"\\mbox{ ?\\boldmath\$(.*?)\$}", r"\\mathbf{\1}"),
    _sub(
        r"((?:https?|ftp)://[\w-]+(?:\.[\w-]+)+[\w.,@?^=%&:/~+#-]*[\w@?^=%&/~+#-])",
        r"[\1](\1)",
    ),
    # The second way is for blocks of white space alone, the first character of which is the code.
    _sub(r"(?s)```(?=(\s*))\1(.+?)```|```(\s+)```", _code_block),
)
