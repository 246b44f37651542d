"""Text to token ids and back: a `tokenizer.json` with the special tokens its neighbours name.

The file is used as it is; transformers 5 rebuilds some pipelines from its vocabulary instead. Where
there is none, one is made from older files (see `slow_tokenizers`), and saving writes it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tokenizers
from tokenizers import AddedToken
from tokenizers.models import BPE

from ..checkpoints.hub import check_habits, fetch, part_of
from ..errors import CheckpointError, ConfigError, OptionError, TokenError, check_type
from ..files import make_folder, write_file, write_json
from ..layers.batch_feature import as_tensors
from .slow_tokenizers import BYTE_LEVEL, PIECES, build
from .special_tokens import CONFIG_FILE, ROLES, content_of, read_config, special_names

TOKENIZER_FILE = "tokenizer.json"
FILES = (TOKENIZER_FILE, "vocab.txt", *BYTE_LEVEL, *PIECES)  # of which a tokenizer has one or two
# Spaces before these go where clean_up_tokenization_spaces is set, in transformers' order.
TIGHT = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
PADDINGS = (False, "do_not_pad", True, "longest", "max_length")


class SupportsToList(Protocol):
    """An array of numpy or MLX."""

    def tolist(self) -> Any:
        """The values as nested lists."""
        ...


TokenIds = Sequence[int] | SupportsToList


class _TokenId:
    """The id of the token that the attribute of this name, less `_id`, holds."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.token = name.removesuffix("_id")

    def __get__(self, tokenizer: Tokenizer, owner: type | None = None) -> int | None:
        token = getattr(tokenizer, self.token, None)
        return None if token is None else tokenizer.backend.token_to_id(token)


@dataclass
class Encoding:
    """Token ids, and a mask that is 0 at padding: a list, or one for each of several texts."""

    input_ids: Any
    attention_mask: Any

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def to(self, *args: Any, **kwargs: Any) -> Encoding:
        """The encoding itself: MLX's arrays lie where every device reads them."""
        return self


class Tokenizer:
    """A tokenizer with its special tokens by name: `eos_token`, `eos_token_id` and so on.

    One that the vocabulary lacks is None. Tokens can be set: for GPT-2, which has no padding,
    `tokenizer.pad_token = tokenizer.eos_token`.
    """

    bos_token: str | None
    eos_token: str | None
    unk_token: str | None
    sep_token: str | None
    pad_token: str | None
    cls_token: str | None
    mask_token: str | None
    bos_token_id = _TokenId()
    eos_token_id = _TokenId()
    unk_token_id = _TokenId()
    sep_token_id = _TokenId()
    pad_token_id = _TokenId()
    cls_token_id = _TokenId()
    mask_token_id = _TokenId()

    def __init__(self, content: bytes, config: Mapping[str, Any] | None = None) -> None:
        """From the bytes of a `tokenizer.json` and a parsed `tokenizer_config.json`."""
        self.content = content
        self.config = dict(config or {})
        self.backend = tokenizers.Tokenizer.from_buffer(content)
        self.backend.no_truncation()
        self.backend.no_padding()
        self._mark_special()
        for role in ROLES:
            setattr(self, role, self._named(role))
        self.clean_up_tokenization_spaces = bool(self.config.get("clean_up_tokenization_spaces"))

    @classmethod
    def from_pretrained(
        cls,
        path_or_hf_repo: str | Path,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        **habits: Any,
    ) -> Tokenizer:
        """Read a folder's or a Hub id's `tokenizer.json`, or the files it can be made from.

        They may lie in a folder `tokenizer` or `processor` of it.
        """
        check_habits(habits)
        source = fetch(path_or_hf_repo, revision, weights=False, subfolder=subfolder)
        folder = part_of(source, ("tokenizer", "processor"), FILES)
        path = folder / TOKENIZER_FILE
        config = read_config(folder)
        try:
            made = (path.read_bytes(), config) if path.is_file() else build(folder, config)
            return cls(*made)
        except (CheckpointError, ConfigError):
            raise
        except Exception as error:  # the tokenizers package raises it bare
            raise CheckpointError(
                f"{path if path.is_file() else folder} cannot be read as a tokenizer ({error}); "
                "expected a whole file; download it again"
            ) from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `tokenizer.json` as it was read or made, and `tokenizer_config.json` as set."""
        folder = make_folder(folder)
        write_file(folder / TOKENIZER_FILE, lambda path: path.write_bytes(self.content) and None)
        tokens = {role: getattr(self, role) for role in ROLES}
        changed = {role: token for role, token in tokens.items() if token != self._named(role)}
        if self.config or changed:
            write_json(folder / CONFIG_FILE, {**self.config, **changed})

    def _named(self, role: str) -> str | None:
        """The token that the files give a role, if the vocabulary has the token."""
        if role in self.config:
            names = [content_of(self.config[role])]
        else:
            special = {token.content for token in self._added.values() if token.special}
            names = [name for name in ROLES[role] if name in special]
        return next((name for name in names if self._has(name)), None)

    def _mark_special(self) -> None:
        """Mark special tokens as transformers does: those only listed stay as they are if added."""
        with_role, listed = special_names(self.config)
        added = {token.content: token for token in self._added.values()}
        tokens = [added.get(name, AddedToken(name, special=True)) for name in with_role]
        new = [AddedToken(name, special=True) for name in listed if name not in added]
        self.backend.add_special_tokens([t for t in (*tokens, *new) if self._has(t.content)])

    def _has(self, token: str) -> bool:
        return self.backend.token_to_id(token) is not None

    @property
    def _added(self) -> dict[int, AddedToken]:
        return self.backend.get_added_tokens_decoder()

    @property
    def skipped_ids(self) -> list[int]:
        """The ids that decoding skips, in order."""
        return sorted(id for id, token in self._added.items() if token.special)

    @property
    def all_special_ids(self) -> list[int]:
        """The ids that are skipped, and those of tokens only listed as special, in order."""
        names = [getattr(self, role) or "" for role in ROLES] + special_names(self.config)[1]
        ids = map(self.backend.token_to_id, names)
        return sorted({id for id in ids if id is not None}.union(self.skipped_ids))

    @property
    def vocab_size(self) -> int:
        """How many tokens there are without the added ones, which `len` counts too."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text."""
        return self._encoding(text, add_special_tokens).ids

    def _encoding(self, text: Any, special: bool) -> Any:
        """What the backend makes of a text, or of a list of its words."""
        words = not isinstance(text, str)
        try:
            return self.backend.encode(text, is_pretokenized=words, add_special_tokens=special)
        except TypeError as error:  # half a character counts as none, too
            found = repr(text)[:80]
            raise OptionError(f"a text is {found}; expected a string, or words") from error

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> Encoding:
        """The ids of one text or several; options as in transformers.

        They are lists, or with return_tensors ("mx", "np") arrays (B, L), of one text too.
        """
        if padding not in PADDINGS:
            raise OptionError(f"padding is {repr(padding)[:80]}; expected one of {PADDINGS}")
        if max_length is not None and (type(max_length) is not int or max_length < 0):
            raise OptionError(f"max_length is {repr(max_length)[:80]}; expected a whole number")
        if max_length is None and (truncation or padding == "max_length"):
            raise OptionError("padding or truncation to a length is asked for; give max_length too")
        cut = max_length if truncation else None
        texts = text if isinstance(text, Iterable) and not isinstance(text, str) else [text]
        rows = [self.cut(one, add_special_tokens, cut) for one in texts]
        encoding = self.padded(rows, padding, max_length)
        if return_tensors is not None:
            if len({*map(len, rows)}) > 1 and not padding:
                raise OptionError("texts come out in several lengths; expected one: padding=True")
            tables = encoding.input_ids, encoding.attention_mask
            return Encoding(*(as_tensors(np.array(x, "i4"), return_tensors) for x in tables))
        if isinstance(text, str):
            return Encoding(encoding.input_ids[0], encoding.attention_mask[0])
        return encoding

    def cut(
        self, text: str | Sequence[str], add_special_tokens: bool, max_length: int | None
    ) -> list[int]:
        """The ids of a text or of its words, with room for special tokens where they are cut."""
        encoding = self._encoding(text, special=False)
        if max_length is not None:
            special = self.backend.num_special_tokens_to_add(False) if add_special_tokens else 0
            encoding.truncate(max(0, max_length - special))
        return self.backend.post_process(encoding, None, add_special_tokens).ids

    def padded(
        self, rows: list[list[int]], padding: bool | str, max_length: int | None
    ) -> Encoding:
        """Rows of ids, made as long as the longest or as `max_length` where padding asks for it."""
        longest = max(map(len, rows), default=0)
        widths = {True: longest, "longest": longest, "max_length": max_length}
        width = widths.get(padding) or 0
        pad, missing = self.pad_token_id, [max(0, width - len(row)) for row in rows]
        if pad is None and any(missing):
            raise TokenError(
                "rows of several lengths need padding, but the tokenizer has no pad_token; "
                "set it, as in tokenizer.pad_token = tokenizer.eos_token"
            )
        left = self.config.get("padding_side") == "left"

        def fill(kept: list[Any], count: int, value: Any) -> list[Any]:
            return [value] * count + kept if left else kept + [value] * count

        return Encoding(
            [fill(row, count, pad) for row, count in zip(rows, missing, strict=True)],
            [fill([1] * len(row), n, 0) for row, n in zip(rows, missing, strict=True)],
        )

    def decode(
        self,
        ids: TokenIds | int,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The text of one row of ids."""
        text = self.backend.decode(self.checked(ids), skip_special_tokens=bool(skip_special_tokens))
        return tightened(text) if self.tightens(clean_up_tokenization_spaces) else text

    def tightens(self, wanted: bool | None = None) -> bool:
        """Whether decoding cleans up spaces, which to a BPE model are part of the text."""
        check_type("clean_up_tokenization_spaces", wanted, (bool, type(None)), "True or False")
        wanted = self.clean_up_tokenization_spaces if wanted is None else wanted
        return wanted and not isinstance(self.backend.model, BPE)

    def batch_decode(self, rows: Iterable[TokenIds] | SupportsToList, **options: Any) -> list[str]:
        """The text of each row of ids; options are those of `decode`."""
        listed = _listed(rows)
        if not isinstance(listed, list):
            raise TokenError(f"rows are {repr(rows)[:80]}; expected rows of token ids")
        return [self.decode(row, **options) for row in listed]

    def checked(self, ids: TokenIds | int) -> list[int]:
        """Ids as a list; a `TokenError` names those that can be no token.

        An id past the vocabulary has no text: a head may be wider than the tokenizer.
        """
        listed = _listed(ids)
        try:
            values = [operator.index(i) for i in (listed if isinstance(listed, list) else [listed])]
        except TypeError as error:
            raise TokenError(
                f"token ids hold what is no integer ({error}); expected one row of integers; "
                "several rows go to batch_decode"
            ) from error
        wrong = sorted({i for i in values if not 0 <= i < 2**31})
        if wrong:
            raise TokenError(
                f"token ids {str(wrong[:8])[1:-1]} are no ids of tokens; expected 0 or more; "
                "replace -100 in labels"
            )
        return values


def _listed(values: Any) -> Any:
    if hasattr(values, "tolist"):
        return values.tolist()
    return list(values) if isinstance(values, Iterable) else values


def tightened(text: str) -> str:
    """A text without the spaces that word pieces leave before punctuation and contractions."""
    for spaced in TIGHT:
        text = text.replace(spaced, spaced.strip())
    return text
