"""A tokenizer with fewer tokens that cuts given texts as before.

Each kind of model in a `tokenizer.json` cuts texts by a rule of its own; the function of the kind
says what that rule needs beside the tokens that the texts become, and why it then does the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tokenizers import pre_tokenizers

from ..errors import TokenError
from .token_bytes import BYTE, decoder_steps
from .tokenizer import Tokenizer
from .vocabularies import (
    Vocabulary,
    checked_texts,
    kept_tokens,
    marks,
    named_roles,
    numbered,
    pair_of,
    with_ids,
)


def shrink_vocabulary(
    tokenizer: Tokenizer, texts: Iterable[str], *, named: Collection[int] = ()
) -> Vocabulary:
    """The tokens that texts become, in place of all that a tokenizer has.

    These texts become the same tokens as before. The tokens of single bytes or characters that they
    have stay too, so that other texts can be spelled. named -- further ids whose tokens stay.
    """
    found = checked_texts(texts)
    pipeline = json.loads(tokenizer.content)
    model, vocabulary = pipeline["model"], tokenizer.backend.get_vocab()
    kept, before = kept_tokens(tokenizer, named), [_tokens(tokenizer, text) for text in found]
    words = {word for text in found for word in _words(tokenizer, text)}
    used = {token for row in before for token in row}.union(_letters(tokenizer, model, words))
    needed, changes = NEEDS[model["type"]](model, used.difference(kept), words)
    wanted = {*vocabulary} & {*used, *needed, _unknown(model)}
    order = {token: vocabulary[token] for token in sorted(wanted, key=lambda t: vocabulary[t])}
    ids, sources = numbered(kept, order)
    pipeline["model"] = {**model, **changes, **_own(model, ids)}
    shrunk = Vocabulary(with_ids(pipeline, ids, named_roles(tokenizer)), sources)
    _check_same(found, before, shrunk.tokenizer)
    return shrunk


def _tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.backend.encode(text, add_special_tokens=False).tokens


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    """What a text's words are before they are cut into tokens."""
    normalizer, pre_tokenizer = tokenizer.backend.normalizer, tokenizer.backend.pre_tokenizer
    text = normalizer.normalize_str(text) if normalizer else text
    return [word for word, _ in pre_tokenizer.pre_tokenize_str(text)] if pre_tokenizer else [text]


def _letters(tokenizer: Tokenizer, model: Mapping[str, Any], words: Iterable[str]) -> set[str]:
    """The tokens of single characters in words, or of all bytes where the tokens spell bytes."""
    letters = {character for word in words for character in word}
    if "ByteLevel" in decoder_steps(tokenizer):
        letters.update(pre_tokenizers.ByteLevel.alphabet())
    before, after = marks(model)
    marked = {f"{before}{letter}" for letter in letters} | {f"{x}{after}" for x in letters}
    return letters | marked | set(filter(BYTE.fullmatch, tokenizer.backend.get_vocab()))


def _unknown(model: Mapping[str, Any]) -> str | None:
    """The token for characters that are no tokens."""
    if model.get("unk_id") is not None:
        return model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")


def _own(model: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The vocabulary as the model's kind writes it: tokens with ids, or in their order, scored."""
    if model["type"] != "Unigram":
        return {"vocab": ids}
    scores, unknown = dict(map(tuple, model["vocab"])), _unknown(model)
    lowest = min(scores.values())  # of added tokens, which are found before a text is cut
    vocabulary = [[token, scores.get(token, lowest)] for token in ids]
    return {"vocab": vocabulary, "unk_id": None if unknown is None else ids[unknown]}


# What each kind needs: tokens beside those that are used, and changes of the model

Needs = tuple[Iterable[str], dict[str, Any]]


def _merging(model: Mapping[str, Any], used: Collection[str], words: Iterable[str]) -> Needs:
    """BPE merges the pair that comes first in its list, again and again.

    All that it merged is within the tokens that are used. Without the merges that no used token is
    made by, the pairs it can choose from are fewer, and still have the one that it chose.
    """
    ranks = {pair_of(merge): rank for rank, merge in enumerate(model["merges"])}
    needed: dict[tuple[str, str], int] = {}
    for token in used:
        if not BYTE.fullmatch(token):
            needed.update((pair, ranks[pair]) for pair in _merges_of(token, ranks, *marks(model)))
    pairs = sorted(needed, key=lambda pair: needed[pair])
    before, _ = marks(model)
    parts = {part for a, b in pairs for part in (a, b, a + b.removeprefix(before))}
    return parts, {"merges": [[*pair] for pair in pairs]}


def _merges_of(
    token: str, ranks: Mapping[tuple[str, str], int], before: str, after: str
) -> list[tuple[str, str]]:
    """The merges that BPE makes in a token, which it begins as characters."""
    inner = before and token.startswith(before)
    parts = [*token.removeprefix(before).removesuffix(after)]
    parts = [before + part if place or inner else part for place, part in enumerate(parts)]
    if parts and token.endswith(after):
        parts[-1] += after
    merges = []
    while pairs := [pair for pair in zip(parts, parts[1:], strict=False) if pair in ranks]:
        left, right = pair = min(pairs, key=lambda pair: ranks[pair])
        place = next(i for i in range(len(parts)) if (parts[i], parts[i + 1]) == pair)
        parts[place : place + 2] = [left + right.removeprefix(before)]
        merges.append(pair)
    return merges


def _longest_first(model: Mapping[str, Any], used: Collection[str], words: Iterable[str]) -> Needs:
    """WordPiece takes the longest token that a word goes on with, or makes all of it unknown.

    The longest is still there. Of words that are unknown, so are the tokens before the place where
    none fits, so that none fits there again.
    """
    before, vocabulary = model["continuing_subword_prefix"], model["vocab"]
    needed: set[str] = set()
    for word in words:
        start = 0
        while start < len(word):
            ends = range(len(word), start, -1)
            pieces = ((before if start else "") + word[start:end] for end in ends)
            piece = next((piece for piece in pieces if piece in vocabulary), None)
            if piece is None:
                break
            needed.add(piece)
            start += len(piece) - (len(before) if start else 0)
    return needed, {}


def _most_probable(model: Mapping[str, Any], used: Collection[str], words: Iterable[str]) -> Needs:
    """A unigram model takes the tokens of the highest sum of scores, of which it then has fewer.

    An unknown character scores by the lowest score of all tokens, so the token of that stays.
    """
    return [min(model["vocab"], key=lambda scored: scored[1])[0]], {}


def _whole_words(model: Mapping[str, Any], used: Collection[str], words: Iterable[str]) -> Needs:
    """Words that are tokens need no other one."""
    return (), {}


NEEDS: dict[str, Callable[[Mapping[str, Any], Collection[str], Iterable[str]], Needs]] = {
    "BPE": _merging,
    "WordPiece": _longest_first,
    "Unigram": _most_probable,
    "WordLevel": _whole_words,
}


def _check_same(
    texts: Sequence[str], before: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> None:
    """Raise `TokenError` where a text becomes other tokens than before."""
    for text, tokens in zip(texts, before, strict=True):
        if _tokens(tokenizer, text) != tokens:
            raise TokenError(
                f"with fewer tokens {ascii(text)[:80]} would be cut in another way; expected a "
                "tokenizer without dropout, whose tokens depend on the text alone; take it out of "
                "tokenizer.json"
            )
