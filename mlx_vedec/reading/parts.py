"""How sure a model is of parts of a text, and where they stand: Donut's fields, Nougat's lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..images.boxes import Box
from ..text.streaming import characters_of
from ..text.tokenizer import Tokenizer

Named = tuple[str, str]  # what a part is called, and its text


@dataclass(frozen=True)
class Part:
    """A part of a text.

    name       -- of a field, its path in the JSON, such as "menu[0].nm"; of a line, nothing
    text       -- as the result has it
    confidence -- geometric mean of the probabilities of its tokens, 0 to 1
    box        -- left, top, right, bottom in pixels, where boxes were asked for
    """

    name: str
    text: str
    confidence: float
    box: Box | None = None


def fields_of(data: Any, name: str = "") -> Iterator[Named]:
    """The values of Donut's JSON that are texts, in its order, each with its path.

    >>> list(fields_of({"menu": [{"nm": "Tea"}, {"nm": "Rice"}], "sum": "9"}))
    [('menu[0].nm', 'Tea'), ('menu[1].nm', 'Rice'), ('sum', '9')]
    """
    if isinstance(data, dict):
        for key, value in data.items():
            yield from fields_of(value, f"{name}.{key}" if name else key)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from fields_of(value, f"{name}[{index}]")
    else:
        yield name, str(data)


def parts_of(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    named: Sequence[Named],
    place: Callable[[list[int]], Box] | None = None,
) -> tuple[Part, ...]:
    """Parts of the text that tokens spell, in its order, with the tokens that each is made of.

    A part that the clean-up of the text has changed takes what is between its neighbours; one that
    no token is left for is left out. place -- the box of tokens, by their indices
    """
    whole, owners = characters_of(tokenizer, tokens)
    parts = []
    for (name, text), span in zip(named, _spans([t for _, t in named], whole), strict=True):
        indices = sorted({i for own in owners[slice(*span)] for i in own})
        if indices:
            mean = sum(logprobs[i] for i in indices) / len(indices)
            parts.append(Part(name, text, math.exp(mean), place(indices) if place else None))
    return tuple(parts)


def _spans(texts: Sequence[str], whole: str) -> list[tuple[int, int]]:
    """Where texts stand in a whole without spaces, one after the other."""
    found: list[tuple[int, int] | None] = []
    end = 0
    for text in texts:
        bare = "".join(text.split())
        start = whole.find(bare, end) if bare else -1
        found.append((start, start + len(bare)) if start >= 0 else None)
        end = start + len(bare) if start >= 0 else end
    spans, before = [], 0
    for index, span in enumerate(found):
        after = next((s[0] for s in found[index:] if s is not None), len(whole))
        spans.append(span or (before, after))
        before = spans[-1][1]
    return spans
