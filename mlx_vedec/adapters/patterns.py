"""Regular expressions of others, matched without trying one way after another.

Python's `re` does that, and a pattern such as `(a+)+b` has more ways than there is time. Here the
places where a part of the pattern may end are found once for each place where it may begin. Known
are literals, classes, groups, `|`, `^`, `$` and quantifiers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

from ..errors import ConfigError

LONGEST = 500  # characters of a pattern
MOST = 16  # quantifiers in it, each of which takes as long as the square of the text
TOKEN = re.compile(  # a class or character, a quantifier, or what joins the two
    r"(?P<one>\\[dDwWsS]|\\[^a-zA-Z0-9]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[\](){}*+?|^$])"
    r"|(?P<times>[*+?]|\{\d{1,9}(?:,\d{0,9})?\})\??(?![*+?{])"
    r"|(?P<join>\(\?:|\(\?P<\w+>|\((?!\?)|[)|^$])",
    re.DOTALL,
)
MANY = 10**9
BOUNDS = {"*": (0, MANY), "+": (1, MANY), "?": (0, 1)}
Ends = Callable[[int], frozenset[int]]  # places where a part may end, by where it begins
Part = Callable[[str], Ends]  # the same, by the text


def matches(pattern: str, text: str) -> bool:
    """Whether a whole text is of a pattern, or the end of it that follows a point is.

    >>> matches("layers.[02].q_proj|fc1", "decoder.layers.2.q_proj")
    True
    """
    starts = [0, *(at + 1 for at, character in enumerate(text) if character == ".")]
    try:
        ends = _parsed(pattern)(text)
        return any(len(text) in ends(start) for start in starts)
    except RecursionError:
        raise _unknown(pattern) from None


@lru_cache(maxsize=64)
def _parsed(pattern: str) -> Part:
    tokens = [*_tokens(pattern)][::-1]
    quantifiers = sum(kind == "times" for kind, _ in tokens)
    part = _any(tokens)
    if tokens or quantifiers > MOST:
        raise _unknown(pattern)
    return part


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(pattern):
        found = TOKEN.match(pattern, place) if len(pattern) <= LONGEST else None
        if found is None or found.lastgroup is None:
            raise _unknown(pattern)
        yield found.lastgroup, found[found.lastgroup]
        place = found.end()


def _unknown(pattern: str) -> ConfigError:
    return ConfigError(
        f"the pattern {pattern[:80]!r} is not understood; expected the name of a layer, or a plain "
        f"regular expression of at most {LONGEST} characters and {MOST} quantifiers"
    )


def _any(tokens: list[tuple[str, str]]) -> Part:
    """Alternatives, up to a `)` that is left, or all; tokens are taken from the end of a list."""
    parts = [_sequence(tokens)]
    while tokens and tokens[-1][1] == "|":
        tokens.pop()
        parts.append(_sequence(tokens))

    def of(text: str) -> Ends:
        options = [part(text) for part in parts]
        return cache(lambda at: frozenset().union(*(option(at) for option in options)))

    return of


def _sequence(tokens: list[tuple[str, str]]) -> Part:
    parts: list[Part] = []
    while tokens and tokens[-1] not in (("join", "|"), ("join", ")")):
        part = _atom(tokens)
        if tokens and tokens[-1][0] == "times":
            part = _repeated(part, tokens.pop()[1])
        parts.append(part)

    def of(text: str) -> Ends:
        steps = [part(text) for part in parts]

        @cache
        def ends(at: int) -> frozenset[int]:
            places = frozenset({at})
            for step in steps:
                places = frozenset().union(*map(step, places))
            return places

        return ends

    return of


def _atom(tokens: list[tuple[str, str]]) -> Part:
    kind, token = tokens.pop()
    if kind == "one":
        return _one(token)
    if kind == "join" and token in "^$":
        return lambda text: lambda at: frozenset({at} & {0 if token == "^" else len(text)})
    if kind == "join" and token[0] == "(":
        part = _any(tokens)
        if tokens and tokens.pop()[1] == ")":
            return part
    raise _unknown(token)


def _one(token: str) -> Part:
    try:
        known = re.compile(token, re.DOTALL)
    except re.error as error:
        raise _unknown(token) from error
    return lambda text: lambda at: frozenset({at + 1} if known.match(text[at : at + 1]) else ())


def _repeated(part: Part, times: str) -> Part:
    least, most = BOUNDS.get(times) or _bounds(times)

    def of(text: str) -> Ends:
        step, enough = part(text), len(text) + 1  # rounds after which the places stay

        @cache
        def ends(at: int) -> frozenset[int]:
            new = frozenset({at})
            for _ in range(min(least, enough)):
                new = frozenset().union(*map(step, new))
            found, left = new, most - least
            while new and left:
                new = frozenset().union(*map(step, new)) - found
                found, left = found | new, left - 1
            return found

        return ends

    return of


def _bounds(times: str) -> tuple[int, int]:
    least, comma, most = times[1:-1].partition(",")
    bounds = int(least), int(most) if most else MANY if comma else int(least)
    if bounds[1] < bounds[0]:
        raise _unknown(times)
    return bounds
