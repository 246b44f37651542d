"""A rule for generation: tags come only where they make a document that can be read again.

What is open in a row is computed anew from its tokens at every step, since beams change places; as
array code, and at a cost linear in the row's length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import mlx.core as mx
import numpy as np

from ..errors import OptionError, TokenError
from .donut import SEPARATOR
from .donut_prompts import field_names

ENDLESS = 2**30  # tokens of room, where nothing says how many


@dataclass(frozen=True, eq=False)
class _Tables:
    """What each id (V,) is to the grammar."""

    step: mx.array  # 1 for an opening tag, -1 for a closing one, 0 for all others
    field: mx.array  # which of the F fields a tag is of, F for all others
    closing: mx.array  # an opening tag's closing one, V for all others
    separator: mx.array
    end: mx.array
    text: mx.array  # all else that may come inside a field


@dataclass(frozen=True, eq=False)
class _State:
    """Which fields are open in each row."""

    depth: mx.array  # (N, 1), how many fields are open
    closing: mx.array  # (N, 1), the tag that closes the innermost, V where none is open
    is_open: mx.array  # (N, F + 1)


def field_grammar(
    added_vocab: Mapping[str, int],
    eos_token_ids: Sequence[int],
    *,
    max_length: int | None = None,
) -> Callable[[mx.array, mx.array], mx.array]:
    """The function of tokens (N, T) and scores (N, V) to scores, for the option `logits_processor`.

    added_vocab -- tokens and their ids, as `donut_prompts.added_vocabulary` lists them.
    max_length -- of a row, its prompt included: fields are closed before the room ends.

    A field does not open inside itself, only the innermost closes, text and values `<x/>` come in
    fields, and a row ends when none is open. Other tokens `<…>`, such as those of tasks, do not
    come. Tags of the prompt count. Where other rules leave nothing that this one allows, as one
    that forces an end does, their scores stay.

    >>> process = field_grammar({"<s_nm>": 3, "</s_nm>": 4, "<sep/>": 5}, [2])
    >>> tokens = mx.array([[0], [3]])  # "<s>" and "<s_nm>"
    >>> mx.isfinite(process(tokens, mx.zeros((2, 8)))).astype(mx.int32).tolist()
    [[0, 0, 1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1, 1, 1]]
    """
    names = field_names(added_vocab)
    if not names:
        raise OptionError(
            f"of {len(added_vocab)} added tokens none are a field's <s_…> and </s_…>; expected a "
            "checkpoint that writes fields; leave the grammar out"
        )
    tables = cache(lambda width: _tables(added_vocab, names, eos_token_ids, width))

    def process(tokens: mx.array, scores: mx.array) -> mx.array:
        width, room = scores.shape[1], (max_length or ENDLESS) - tokens.shape[1]
        table = tables(width)
        allowed = _allowed(table, _state(table, tokens, len(names)), room)
        kept = mx.where(allowed, scores, -mx.inf)
        stuck = kept.max(axis=1, keepdims=True) == -mx.inf
        return mx.where(stuck, scores, kept)

    return process


def _allowed(table: _Tables, state: _State, room: int) -> mx.array:
    """Which ids may come next, (N, V): those that leave room for what is open, and for the end."""
    inside = state.depth > 0
    spare = room - state.depth - 1  # tokens that are not needed to close and to end
    opens = (table.step > 0) & ~state.is_open[:, table.field]
    closes = mx.arange(table.step.size) == state.closing
    other = table.separator | (table.text & inside)
    return (closes & inside) | (table.end & ~inside) | (other & (spare > 0)) | (opens & (spare > 1))


def _state(table: _Tables, tokens: mx.array, fields: int) -> _State:
    """What is open after tokens (N, T): the last tag to reach a depth opened the innermost field.

    An end tag of the prompt that closes nothing does not count.
    """
    steps = table.step[tokens]
    height = mx.cumsum(steps, axis=1)
    depths = height - mx.minimum(mx.cummin(height, axis=1), 0)
    depth = depths[:, -1:]
    opened = (steps > 0) & (depths == depth)
    place = mx.where(opened, mx.arange(tokens.shape[1]), 0).max(axis=1, keepdims=True)
    closing = table.closing[mx.take_along_axis(tokens, place, axis=1)]
    rows = mx.arange(tokens.shape[0])[:, None]
    counts = mx.zeros((tokens.shape[0], fields + 1), mx.int32)
    return _State(depth, closing, counts.at[rows, table.field[tokens]].add(steps) > 0)


def _tables(
    added_vocab: Mapping[str, int], names: Sequence[str], eos_token_ids: Sequence[int], width: int
) -> _Tables:
    _check_ids([*added_vocab.values(), *eos_token_ids], width)
    step, field = np.zeros(width, np.int32), np.full(width, len(names), np.int32)
    closing = np.full(width, width, np.int32)
    separator, end, text = (np.zeros(width, np.bool_) for _ in range(3))
    lowered = [name.lower() for name in names]  # reading tells no end tags apart by their case
    for name in names:
        begin, finish = added_vocab[f"<s_{name}>"], added_vocab[f"</s_{name}>"]
        step[[begin, finish]] = 1, -1
        field[[begin, finish]] = lowered.index(name.lower())
        closing[begin] = finish
    end[[*eos_token_ids]] = True
    separator[[id for token, id in added_vocab.items() if token == SEPARATOR]] = True
    text[:] = ~end
    text[[id for token, id in added_vocab.items() if _is_tag(token)]] = False
    columns: list[np.ndarray] = [step, field, closing, separator, end, text]
    return _Tables(*map(mx.array, columns))


def _is_tag(token: str) -> bool:
    """Whether a token is a tag, but no value `<x/>`."""
    value = token.endswith("/>") and token != SEPARATOR
    return token.startswith("<") and token.endswith(">") and not value


def _check_ids(ids: Sequence[int], width: int) -> None:
    wrong = sorted({id for id in ids if not 0 <= id < width})
    if wrong:
        raise TokenError(
            f"added tokens have ids the model has not: {wrong[:8]}; expected 0 to {width - 1}; "
            "use the checkpoint's own tokenizer"
        )
