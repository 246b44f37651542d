"""Donut's documents (arXiv:2111.15664): JSON as a sequence of tokens, both ways.

A field is `<s_key>…</s_key>`, the items of a list stand with `<sep/>` between them, and a value out
of a closed set may be one token, `<value/>`.

Reading is transformers' token2json, whatever the text: a model's text need not be well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError, TokenError

LEVELS = 100  # fields inside each other; real documents have 3 or 4
SEPARATOR = "<sep/>"
TEXT = "text_sequence"  # the key of a text that has no fields

BEGINS = re.compile("<s_", re.IGNORECASE)
ADVICE = "expected a document; generate with donut_grammar.field_grammar, or leave the text out"


# --- tokens to JSON


def token2json(text: str, added_vocab: Container[str] = ()) -> dict[str, Any] | list[Any]:
    """The JSON that a text of tags stands for: an object, or a list of several.

    added_vocab -- where a value `<x/>` is among these tokens, it is read as x.

    A tag that is never closed is passed over, a repeated key has its last value, a list of one is
    its item, and a text without fields is `{"text_sequence": text}`. End tags go by their letters
    in either case. A text that no document has is a `TokenError`: fields inside each other more
    than 100 deep, or end tags before their start that make the JSON outgrow the text.

    >>> token2json("<s_menu><s_nm>Tea</s_nm><sep/><s_nm>Rice</s_nm></s_menu><s_sum>9</s_sum>")
    {'menu': [{'nm': 'Tea'}, {'nm': 'Rice'}], 'sum': '9'}
    >>> token2json("<s_class><memo/></s_class>", {"<memo/>"})
    {'class': 'memo'}
    """
    items, rest = _Parser(added_vocab, len(text)).items(text, LEVELS)
    return _filled(items) if len(items) > 1 else items[0] or {TEXT: rest}


@dataclass
class _Parser:
    """Reads a text, in time that grows with its square; `room` -- values that may still come."""

    added_vocab: Container[str]
    room: int

    def items(self, text: str, levels: int) -> tuple[list[dict[str, Any]], str]:
        """The objects on one level, the last perhaps empty, and the text that is left."""
        if not levels:
            raise TokenError(f"fields stand inside each other more than {LEVELS} deep; {ADVICE}")
        items: list[dict[str, Any]] = [{}]
        again: tuple[list[Any], int] | None = None  # what was read of a field that comes once more
        while tag := _first_tag(text):
            key, start = tag.group()[3:-1], tag.end()
            closing = re.compile(re.escape(f"</s_{key}>"), re.IGNORECASE)
            end, own = closing.search(text), closing.search(text, start)
            if end is None:
                text = text.replace(tag.group(), "")
                continue
            if own is not None:
                again = again or self.value(text[start : own.start()].strip(), levels)
                self.put(items[-1], key, *again)
            # An end tag before its start takes only the text before it. Then the field is next once
            # more, and if each level read it twice, the time would grow exponentially.
            again = again if end.start() < start else None
            text = text[end.end() :].strip()
            if text.startswith(SEPARATOR):
                items.append({})
                text = text.removeprefix(SEPARATOR)
        return items, text

    def put(self, item: dict[str, Any], key: str, value: list[Any], size: int) -> None:
        """Give an object a field of so many values, unless it is there or empty."""
        if value and item.get(key) is not value[0]:
            self.room -= size
            item[key] = value[0]
        if self.room < 0:
            raise TokenError(f"end tags come so often that the JSON outgrows its text; {ADVICE}")

    def value(self, content: str, levels: int) -> tuple[list[Any], int]:
        """A field's value in a list, which is empty where it has none, and how many are in it."""
        if "<s_" not in content or "</s_" not in content:
            leaves = [_leaf(part.strip(), self.added_vocab) for part in content.split(SEPARATOR)]
            return [leaves if len(leaves) > 1 else leaves[0]], 1
        room = self.room
        items = _filled(self.items(content, levels - 1)[0])
        size, self.room = room - self.room + 1, room
        return [items] if len(items) > 1 else items, size


def _first_tag(text: str) -> re.Match[str] | None:
    begin = BEGINS.search(text)
    return begin and re.compile("[^>]*>").match(text, begin.start())


def _filled(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects without the last one, where nothing followed its separator."""
    return items if items[-1] else items[:-1]


def _leaf(text: str, added_vocab: Container[str]) -> str:
    category = text.startswith("<") and text.endswith("/>") and text in added_vocab
    return text[1:-2] if category else text


# --- JSON to tokens


def json2token(
    data: Any, sort_keys: bool = True, added_vocab: Container[str] = ()
) -> tuple[str, list[str]]:
    """The text that Donut is trained to write for JSON, and the tokens a tokenizer still needs.

    sort_keys -- from z to a, as Donut's training has it; else as they come. added_vocab -- tokens
    that are there: a value x becomes `<x/>` where that is one of them.

    Values become strings. `token2json` gives the same data again where values are strings without
    tags and outer spaces, or lists of two or more of them, or of objects: the format has no empty
    lists and objects, no lists of one and none of lists.

    >>> json2token({"menu": [{"nm": "Tea"}, {"nm": "Rice"}]}, added_vocab={"<sep/>"})[0]
    '<s_menu><s_nm>Tea</s_nm><sep/><s_nm>Rice</s_nm></s_menu>'
    >>> json2token({"total": 9})
    ('<s_total>9</s_total>', ['<s_total>', '</s_total>'])
    """
    writer = _Writer(sort_keys, added_vocab)
    text = writer.write(data)
    return text, [token for token in writer.used if token not in added_vocab]


@dataclass
class _Writer:
    """The settings of `json2token`, and the tokens that it used, in order."""

    sort_keys: bool
    added_vocab: Container[str]
    used: dict[str, None] = field(default_factory=dict)

    def write(self, data: Any, outer: tuple[str, ...] = ()) -> str:
        """The text of data inside the fields `outer`."""
        if isinstance(data, Mapping):
            return self.write_fields(data, outer)
        if not isinstance(data, (list, tuple)):
            return f"<{data}/>" if f"<{data}/>" in self.added_vocab else str(data)
        if any(isinstance(item, (list, tuple)) for item in data):
            raise OptionError(
                f"a list stands in a list{_inside(outer)}; expected strings or objects in it; give "
                "the inner ones a key"
            )
        if len(data) > 1:
            self.used[SEPARATOR] = None
        return SEPARATOR.join(self.write(item, outer) for item in data)

    def write_fields(self, data: Mapping[Any, Any], outer: tuple[str, ...]) -> str:
        """The text of an object."""
        if set(data) == {TEXT}:
            return str(data[TEXT])
        keys = [_checked_key(key, outer) for key in data]
        written = []
        for key in sorted(keys, reverse=True) if self.sort_keys else keys:
            tags = f"<s_{key}>", f"</s_{key}>"
            self.used.update(dict.fromkeys(tags))
            written.append(self.write(data[key], (*outer, key)).join(tags))
        return "".join(written)


def _checked_key(key: Any, outer: tuple[str, ...]) -> str:
    if not isinstance(key, str) or re.search("[<>]", key):
        raise OptionError(f"key {key!r} makes no tag; expected a string without < and >; rename it")
    if key.lower() in map(str.lower, outer) or len(outer) >= LEVELS:
        raise OptionError(
            f"field {key!r} stands{_inside(outer)}; expected none inside one of its own name, and "
            f"at most {LEVELS} levels, so that it can be read again; rename it"
        )
    return key


def _inside(outer: tuple[str, ...]) -> str:
    return f" inside {' > '.join(outer[-4:])}" if outer else ""
