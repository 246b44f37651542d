"""Other vocabularies for a tokenizer: one learned from texts, and what all of them have in common.

What is special stays: added tokens, those with a role, those that frame a text. Each of them keeps
its id where the new vocabulary is large enough for it, and the tokens of texts take the other ids.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from ..errors import DataError, OptionError, TokenError, check_whole, listed, shown
from .inputs import has_half_character
from .special_tokens import NUMBERED, ROLES, content_of
from .token_bytes import decoder_steps
from .tokenizer import Tokenizer

UNKNOWN = "<unk>"
SPACE = "▁"  # SentencePiece's
PLAIN_CLASS = "PreTrainedTokenizerFast"  # which takes a tokenizer.json as it is


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer in place of another, and where its tokens come from.

    sources -- for each id the id that its token had, None for a new token. rows -- how many tokens
    the model had that these ids are of
    """

    tokenizer: Tokenizer
    sources: tuple[int | None, ...]
    rows: int | None = None

    @property
    def new(self) -> int:
        """How many tokens are new."""
        return self.sources.count(None)

    def for_rows(self, rows: int) -> Vocabulary:
        """The same for a model of so many tokens: those with a later id are new to it."""
        sources = (None if id is None or id >= rows else id for id in self.sources)
        return Vocabulary(self.tokenizer, tuple(sources), rows)


def learn_vocabulary(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    size: int | None = None,
    named: Collection[int] = (),
) -> Vocabulary:
    """A vocabulary of the characters of texts, in place of a tokenizer's.

    size -- of all tokens: frequent sequences of characters become tokens too, until there are so
    many (byte pair encoding, here of characters). named -- further ids whose tokens stay.

    A character is a code point, and no text is normalized: what is encoded decodes to itself. A
    token that the old tokenizer has for the same text is known by it.
    """
    if size is not None:
        check_whole("vocabulary_size", size, 1)
    kept, unknown = kept_tokens(tokenizer, named), _unknown_token(tokenizer)
    kept.setdefault(unknown, tokenizer.backend.token_to_id(unknown))
    added = {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}
    parts = [part for text in checked_texts(texts) for part in _between(text, {*added, unknown})]
    characters = sorted({character for part in parts for character in part})
    _warn_of_two_forms(parts, characters)
    least = len({*kept, *characters})
    if size is not None and size < least:
        raise OptionError(
            f"vocabulary_size is {size}; expected {least} or more: the texts have "
            f"{len(characters)} characters, and {len(kept)} tokens are special or have a role"
        )
    merges = [] if size is None else _pairs(parts, size - len(kept))
    pieces = dict.fromkeys([*characters, *(left + right for left, right in merges)])
    known = _ids_by_text(tokenizer)
    ids, sources = numbered(kept, {piece: known.get(piece) for piece in pieces})
    backend = tokenizers.Tokenizer(BPE(ids, merges, unk_token=unknown, fuse_unk=False))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    backend.decoder = decoders.Fuse()
    old = json.loads(tokenizer.content)
    added = [t for t in old["added_tokens"] if t["content"] != unknown]
    pipeline = {**json.loads(backend.to_str()), "added_tokens": [*added, _special(unknown)]}
    pipeline["post_processor"] = old["post_processor"]
    return Vocabulary(
        with_ids(pipeline, ids, {**named_roles(tokenizer), "unk_token": unknown}), sources
    )


def checked_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; a `DataError` where there is none, or one is no text."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise DataError(f"the texts are {shown(texts)}; expected a list of texts")
    found = [*texts]
    for number, text in enumerate(found):
        if not isinstance(text, str) or has_half_character(text):
            raise DataError(
                f"text {number} is {shown(text)}; expected characters, and no half of one; "
                "correct the file that it is from"
            )
    if not any(map(str.strip, found)):
        raise DataError(
            f"there are {len(found)} texts and no characters in them; expected what is to be read"
        )
    return found


def kept_tokens(tokenizer: Tokenizer, named: Collection[int] = ()) -> dict[str, int | None]:
    """The tokens that every vocabulary keeps, with their ids; named -- ids of further ones."""
    backend = tokenizer.backend
    framing = _framing(json.loads(tokenizer.content).get("post_processor"))
    roles = [token for role in ROLES if (token := getattr(tokenizer, role)) is not None]
    ids = {*backend.get_added_tokens_decoder(), *tokenizer.all_special_ids, *named}
    ids |= {id for t in (*roles, *framing) if (id := backend.token_to_id(t)) is not None}
    tokens = {id: backend.id_to_token(id) for id in sorted(ids)}
    lost = [id for id, token in tokens.items() if token is None]
    if lost:
        raise TokenError(
            f"a special token would be lost: the model's configs name the id {lost[0]}, for which "
            f"the tokenizer of {len(tokenizer)} tokens has none; correct the ids in config.json "
            "and generation_config.json, or give the model's own tokenizer"
        )
    return {token: id for id, token in tokens.items() if token is not None}


def _framing(part: Any) -> Iterator[str]:
    """The tokens that a post-processor, as JSON, puts around a text."""
    if isinstance(part, Mapping):
        yield from (name for key in ("sep", "cls") for name in part.get(key, ())[:1])
        for entry in (part.get("special_tokens") or {}).values():
            yield from entry["tokens"]
        for inner in part.get("processors", ()):
            yield from _framing(inner)


def _unknown_token(tokenizer: Tokenizer) -> str:
    """The token for characters that are not in the vocabulary, if it is for nothing else."""
    others = (role for role in ROLES if role != "unk_token")
    taken = {getattr(tokenizer, role) for role in others}
    own = tokenizer.unk_token
    return UNKNOWN if own is None or own in taken else own


def _special(token: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": token, **flags, "special": True}


def _between(text: str, tokens: Iterable[str]) -> list[str]:
    """What is left of a text around tokens in it."""
    return re.split("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))), text)


def _warn_of_two_forms(texts: Sequence[str], characters: Sequence[str]) -> None:
    """Warn of characters that some texts write as one code point and others as several."""
    loose = (text for text in texts if not unicodedata.is_normalized("NFC", text))
    composed = (Counter(unicodedata.normalize("NFC", text)) - Counter(text) for text in loose)
    both = sorted({c for found in composed for c in found}.intersection(characters))
    if both:
        warnings.warn(
            f"the texts write {listed(both)} in two ways, as one character and with combining "
            "marks, and both look the same; bring them into one form, such as NFC",
            stacklevel=4,
        )


def _pairs(texts: Sequence[str], size: int) -> list[tuple[str, str]]:
    """The pairs of characters or longer pieces that become one, the most frequent first."""
    backend = tokenizers.Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    most = 2 * sum(map(len, texts))  # characters, and merges of which each makes them one fewer
    backend.train_from_iterator(texts, BpeTrainer(vocab_size=min(size, most), show_progress=False))
    return [*map(pair_of, json.loads(backend.to_str())["model"]["merges"])]


def pair_of(merge: str | Sequence[str]) -> tuple[str, str]:
    """The two pieces of a merge in a `tokenizer.json`: a list, in older files a text."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _ids_by_text(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of a tokenizer's tokens by the text that each stands for.

    Of several for one text it is that which goes on with a word, or else does not end one, and of
    these the first.
    """
    before, after = marks(json.loads(tokenizer.content)["model"])
    of_bytes = "ByteLevel" in decoder_steps(tokenizer)

    def within(named: tuple[str, int]) -> tuple[bool, bool, int]:
        token, id = named
        goes_on = before != "" and token.startswith(before)
        return goes_on, after == "" or not token.endswith(after), -id

    def spell(token: str) -> str:
        bare = token.removeprefix(before).removesuffix(after) or token
        # bytes that are no text become one that no text has
        return decoders.ByteLevel().decode([bare]) if of_bytes else bare.replace(SPACE, " ")

    ordered = sorted(tokenizer.backend.get_vocab().items(), key=within)
    return {spell(token): id for token, id in ordered}


def marks(model: Mapping[str, Any]) -> tuple[str, str]:
    """What a token has before it that goes on with a word, and after it that ends one.

    model -- of a `tokenizer.json`. WordPiece has the first, CLIP's BPE the second.
    """
    return model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""


def numbered(
    kept: Mapping[str, int | None], pieces: Mapping[str, int | None]
) -> tuple[dict[str, int], tuple[int | None, ...]]:
    """The new id of each token, and for each id the token's old one.

    kept -- special tokens with their ids, which they keep if these are less than the count of all.
    pieces -- the other tokens in order; those that are also kept are left out.
    """
    others = [piece for piece in pieces if piece not in kept]
    total = len(kept) + len(others)
    places = {id: token for token, id in kept.items() if id is not None and id < total}
    placed = {*places.values()}
    rest = iter([*others, *(token for token in kept if token not in placed)])
    tokens = [places[id] if id in places else next(rest) for id in range(total)]
    ids = {token: id for id, token in enumerate(tokens)}
    return ids, tuple(kept.get(token, pieces.get(token)) for token in tokens)


def named_roles(tokenizer: Tokenizer) -> dict[str, Any]:
    """The config of a tokenizer with the roles that its class, or a caller, gave to tokens."""
    roles = {role: getattr(tokenizer, role) for role in ROLES}
    others = {
        role: token
        for role, token in roles.items()
        if token is not None and content_of(tokenizer.config.get(role)) != token
    }
    return {**tokenizer.config, **others}


def with_ids(
    pipeline: Mapping[str, Any], ids: Mapping[str, int], config: Mapping[str, Any]
) -> Tokenizer:
    """A tokenizer of a `tokenizer.json` whose model has these ids, all else in it made to fit.

    config -- that of `named_roles`; its class becomes one that changes nothing in the file.
    """
    added = sorted(
        ({**token, "id": ids[token["content"]]} for token in pipeline["added_tokens"]),
        key=lambda token: token["id"],
    )
    whole = {
        **pipeline,
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "post_processor": _framed(pipeline.get("post_processor"), ids),
    }
    config = {**config, "tokenizer_class": PLAIN_CLASS, "clean_up_tokenization_spaces": False}
    if NUMBERED in config:
        config[NUMBERED] = {
            str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added
        }
    return Tokenizer(json.dumps(whole, ensure_ascii=False).encode(), config)


def _framed(part: Any, ids: Mapping[str, int]) -> Any:
    """A post-processor, as JSON, with the new ids of the tokens that it puts around a text."""
    if not isinstance(part, Mapping):
        return part
    changed = dict(part)
    for key in ("sep", "cls"):
        if key in part:
            changed[key] = [part[key][0], ids[part[key][0]]]
    if "special_tokens" in part:
        changed["special_tokens"] = {
            name: {**entry, "ids": [ids[token] for token in entry["tokens"]]}
            for name, entry in part["special_tokens"].items()
        }
    if "processors" in part:
        changed["processors"] = [_framed(inner, ids) for inner in part["processors"]]
    return changed
