"""Rules that change the scores of the next token, as transformers 5.23 computes them.

A processor takes the tokens so far (N, T), or `Texts`, and the scores of the next one (N, V),
float32, and returns new scores; N counts rows, so images times beams. Each is lazy array code, as a
decoding step is kept in flight, and may be compiled: only `prefix_allowed_tokens`, which asks a
Python function, looks at values.
Option values are checked in `options`; here, where V is known, only that listed ids are inside it.

    >>> process = no_repeat_ngram(2)
    >>> process(mx.array([[3, 0, 3]]), mx.zeros((1, 4))).tolist()  # "3 0" was there before
    [[-inf, 0.0, 0.0, 0.0]]
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import mlx.core as mx

from ..errors import OptionError, TokenError, spelt
from .texts import Count, Texts

Tokens = mx.array | Texts
Rule = Callable[[Tokens, mx.array], mx.array]
PrefixFunction = Callable[[int, mx.array], Sequence[int]]


def check_listed_ids(name: str, ids: Iterable[int], vocab_size: int) -> None:
    """Raise `TokenError` for ids of the option `name` that are outside the vocabulary."""
    wrong = sorted({token for token in ids if not 0 <= token < vocab_size})
    if wrong:
        raise TokenError(
            f"{name} lists ids outside the vocabulary: {wrong[:8]}; expected 0 to {vocab_size - 1}"
        )


def sequence_bias(biases: Mapping[tuple[int, ...], float], *, name: str = "sequence_bias") -> Rule:
    """Add each sequence's bias to its last token, in rows that end with the tokens before it.

    Biases that meet in one token add up. `name` is the option that an error is about.
    """
    single = {ids[0]: bias for ids, bias in biases.items() if len(ids) == 1}
    groups = _by_length({ids: bias for ids, bias in biases.items() if len(ids) > 1})

    @cache
    def everywhere(width: int) -> mx.array:
        check_listed_ids(name, (token for ids in biases for token in ids), width)
        last, values = mx.array([*single], mx.int32), mx.array([*single.values()], mx.float32)
        total = mx.zeros((width,)).at[last].add(values)
        mx.eval(total)  # it may be asked for first within a step that is compiled
        return total

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        total = everywhere(scores.shape[1])
        for before, last, values in groups:
            due = mx.where(_ends_with(Texts.of(tokens), before), values, 0.0)
            total = total + mx.zeros_like(scores).at[:, last].add(due)
        return scores + total

    return process


def bad_words(words: Iterable[Sequence[int]], eos_token_ids: Sequence[int] = ()) -> Rule:
    """Ban the last token of each word where it would complete it.

    A word that is nothing but an end token is left out: rows could not end without it.
    """
    ends = {(token,) for token in eos_token_ids}
    banned = {tuple(word): -math.inf for word in words if tuple(word) not in ends}
    return sequence_bias(banned, name="bad_words_ids")


def repetition_penalty(penalty: float, attention_mask: mx.array | None = None) -> Rule:
    """Divide positive scores of ids in the row, prompt included, and multiply negative ones.

    attention_mask -- (N or images, P), of the prompt: padding on its left does not count. As in
    transformers, padding elsewhere does, and so does a row that is all padding.
    """
    padding = None if attention_mask is None else _padding_on_the_left(attention_mask)

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        rows, width = scores.shape
        ids = Texts.of(tokens).filled(width)
        if padding is not None:
            each = mx.repeat(padding, rows // padding.shape[0])[:, None]
            ids = mx.where(mx.arange(ids.shape[1]) < each, width, ids)
        penalised = mx.where(scores < 0, scores * penalty, scores / penalty)
        return mx.where(_marked(ids, width), penalised, scores)

    return process


def no_repeat_ngram(size: int) -> Rule:
    """Ban the ids that would complete, a second time, a run of `size` ids that the row has."""

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        texts, width = Texts.of(tokens), scores.shape[1]
        ids = texts.filled(width)
        count = ids.shape[1] - size + 1  # runs in a row, W
        if count < 1:
            return scores
        places = mx.arange(count)[:, None] + mx.arange(size - 1)  # (W, size - 1)
        begun = (ids[:, places] == texts.last(size - 1)[:, None]).all(axis=-1)  # (N, W)
        completing = mx.where(begun, ids[:, size - 1 :], width)  # or there is room
        return mx.where(_marked(completing, width), -mx.inf, scores)

    return process


def min_length(length: int, eos_token_ids: Sequence[int]) -> Rule:
    """Ban the end tokens in rows shorter than `length`, the prompt included."""
    return _ban("eos_token_id", eos_token_ids, lambda now: now < length)


def prefix_allowed_tokens(allowed: PrefixFunction, rows_per_image: int = 1) -> Rule:
    """Ban all ids but those that `allowed(image, tokens (T,))` lists for a row.

    Where other rules leave no such id in any row of an image, its listed ids are set to 0.
    """

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        rows, width = scores.shape
        texts = Texts.of(tokens).exact
        lists = [_listed(allowed, row // rows_per_image, texts[row], width) for row in range(rows)]
        longest = max(map(len, lists))
        ids = [[*found, *[width] * (longest - len(found))] for found in lists]
        mask = _marked(mx.array(ids, mx.int32), width)
        kept = mx.where(mask, scores, -mx.inf)
        best = kept.reshape(-1, rows_per_image * width).max(axis=1, keepdims=True)
        stuck = mx.repeat(best == -mx.inf, rows_per_image, axis=0)
        return mx.where(stuck, mx.where(mask, 0.0, -mx.inf), kept)

    return process


def forced_bos(token_id: int) -> Rule:
    """Leave only one id to follow the start token; a longer prompt is past it."""
    return _ban("forced_bos_token_id", (token_id,), lambda now: now == 1, others=True)


def forced_eos(token_ids: Sequence[int], max_length: int) -> Rule:
    """Leave only these ids for the last token of rows that reach `max_length`."""
    last = max_length - 1
    return _ban("forced_eos_token_id", token_ids, lambda now: now == last, others=True)


def remove_invalid_values() -> Rule:
    """Set nan to 0 and infinities, so also what was banned before, to the largest float32."""
    return lambda tokens, scores: mx.nan_to_num(scores)


def exponential_decay_length_penalty(
    start: int, factor: float, eos_token_ids: Sequence[int], prompt_length: int
) -> Rule:
    """Raise the end tokens by |score| * (factor^k - 1), k tokens after `start` new ones."""
    mask = _mask("eos_token_id", eos_token_ids)

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        ends = mask(scores.shape[1])
        past = Texts.of(tokens).length - prompt_length - start
        if isinstance(past, int) and past <= 0:
            return scores
        raised = scores + mx.abs(scores) * (_power(factor, past) - 1)
        return mx.where(ends & mx.isfinite(scores) & (past > 0), raised, scores)

    return process


def suppress_tokens(ids: Sequence[int]) -> Rule:
    """Ban ids throughout."""
    return _ban("suppress_tokens", ids, lambda now: True)


def begin_suppress_tokens(ids: Sequence[int], begin_index: int) -> Rule:
    """Ban ids in rows of `begin_index` tokens: where generation begins."""
    return _ban("begin_suppress_tokens", ids, lambda now: now == begin_index)


def _ban(
    name: str, ids: Sequence[int], when: Callable[[Count], bool | mx.array], *, others: bool = False
) -> Rule:
    """Ban ids in rows whose length T `when` is true of; or all others, and set the ids to 0."""
    mask = _mask(name, ids)

    def process(tokens: Tokens, scores: mx.array) -> mx.array:
        listed = mask(scores.shape[1])
        due = when(Texts.of(tokens).length)
        if isinstance(due, bool) and not due:
            return scores
        given = (mx.zeros_like(scores), -mx.inf) if others else (-mx.inf, scores)
        banned = mx.where(listed, *given)
        return banned if isinstance(due, bool) else mx.where(due, banned, scores)

    return process


def _mask(name: str, ids: Sequence[int]) -> Callable[[int], mx.array]:
    """The function from V to the mask (V,) of an option's ids: checked and built once."""

    @cache
    def mask(width: int) -> mx.array:
        check_listed_ids(name, ids, width)
        marked = _marked(mx.array([*ids], mx.int32)[None], width)[0]
        mx.eval(marked)  # it may be asked for first within a step that is compiled
        return marked

    return mask


def _marked(ids: mx.array, width: int) -> mx.array:
    """Ids (N, M) as a mask (N, V); V and above mark nothing, and may stand for "none"."""
    spare = mx.zeros((ids.shape[0], width + 1), mx.bool_)
    columns = mx.minimum(ids, width)
    return mx.put_along_axis(spare, columns, mx.array(True), axis=1)[:, :width]


def _by_length(
    biases: Mapping[tuple[int, ...], float],
) -> list[tuple[mx.array, mx.array, mx.array]]:
    """The M sequences of each length L: their starts (M, L - 1), last ids (M,) and biases (M,)."""
    return [
        (
            mx.array([ids[:-1] for ids in group], mx.int32),
            mx.array([ids[-1] for ids in group], mx.int32),
            mx.array([biases[ids] for ids in group], mx.float32),
        )
        for length in sorted({len(ids) for ids in biases})
        for group in [[ids for ids in biases if len(ids) == length]]
    ]


def _ends_with(texts: Texts, endings: mx.array) -> mx.array:
    """Which of N rows end with which of M endings (M, L): (N, M)."""
    length = endings.shape[1]
    return (texts.last(length)[:, None] == endings).all(axis=-1) & (texts.length >= length)


def _padding_on_the_left(attention_mask: mx.array) -> mx.array:
    """How many zeros each row of a mask (N, P) starts with; 0 where there is nothing else."""
    return mx.argmax((attention_mask != 0).astype(mx.int32), axis=1)


def _listed(allowed: PrefixFunction, image: int, tokens: mx.array, width: int) -> Sequence[int]:
    found = allowed(image, tokens)
    try:
        found = [operator.index(i) for i in getattr(found, "tolist", lambda: found)()]
    except TypeError as error:
        raise OptionError(
            f"prefix_allowed_tokens_fn gave {spelt(found)}; expected a list of token ids"
        ) from error
    if not found:
        raise OptionError(
            f"prefix_allowed_tokens_fn allows nothing for image {image} after "
            f"{spelt(tokens.tolist())}; let it return at least one id"
        )
    check_listed_ids("prefix_allowed_tokens_fn", found, width)
    return found


def _power(factor: float, exponent: Count) -> float | mx.array:
    """A power that stops at e^80, so that a score times it is still a float32."""
    most = 80 / math.log(factor) if factor > 1 else math.inf
    if isinstance(exponent, int):
        return factor ** min(exponent, most)
    return mx.power(factor, mx.minimum(exponent, most))
