"""Where classes of tokenizers have their special tokens among the pieces of a SentencePiece model.

Fairseq's, which are most of them, give the first four ids to tokens of their own, in place of the
file's first three. The rest is as in transformers 5.23 too: any whitespace parts words, where
version 4 kept all but runs of spaces, and MBART's class leaves out the file's normalization. But a
file's merges and its bytes for unknown characters are used, while most classes there ignore them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from ..errors import CheckpointError, ConfigError
from .backends import albert_rules, metaspace
from .sentencepiece import CONTROL, UNKNOWN, USER_DEFINED, Piece, PieceModel, read_pieces
from .special_tokens import content_of

ROLES = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
FAIRSEQ = ("bos_token", "pad_token", "eos_token", "unk_token")
CAMEMBERT = ("<s>NOTUSED", "pad_token", "</s>NOTUSED", "unk_token", "<unk>NOTUSED")
MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT "
    "lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
MBART50 = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF "
    "pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
PEGASUS_UNUSED = tuple(f"<unk_{i}>" for i in range(2, 103))
BIG_BIRD_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "sep_token": "[SEP]",
    "cls_token": "[CLS]",
    "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True},
}
REM_BERT_ROLES = {
    **BIG_BIRD_ROLES,
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "mask_token": "[MASK]",
}
PEGASUS_ROLES = {
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask_2>",
    "additional_special_tokens": ["<mask_1>", *PEGASUS_UNUSED],
}
NEVER = -100.0  # a score that no text prefers


@dataclass(frozen=True)
class Layout:
    """The tokens before and after the pieces, by role or as they are, and how the text is cut."""

    head: tuple[str, ...] = FAIRSEQ
    replaced: tuple[str, ...] = ("<unk>", "<s>", "</s>")  # what the head stands for in the file
    tail: tuple[str, ...] = ("mask_token",)
    extra_ids: int = 0  # tokens <extra_id_0> and so on at the end, the last one first
    words: bool = True
    normalizes: bool = True
    quotes: bool = False  # two backticks or apostrophes are a quotation mark


LAYOUTS = {
    "XLMRoberta": Layout(),
    "Camembert": Layout(CAMEMBERT, replaced=("<unk>",)),
    "MBart": Layout(tail=(*MBART.split(), "mask_token"), normalizes=False),
    "MBart50": Layout(tail=(*MBART.split(), *MBART50.split(), "mask_token"), words=False),
    "XGLM": Layout(tail=tuple(f"<madeupword{i}>" for i in range(7)), words=False),
    "T5": Layout((), replaced=(), tail=(), extra_ids=100),
    "BigBird": Layout((), replaced=(), tail=(), words=False, normalizes=False),
    "RemBert": Layout((), replaced=(), tail=(), words=False, quotes=True),
    "Pegasus": Layout(
        ("pad_token", "eos_token", "<mask_1>", "<mask_2>", *PEGASUS_UNUSED),
        replaced=("<pad>", "</s>"),
        tail=(),
        words=False,
    ),
}


def arranged(
    path: Path, layout: Layout, config: Mapping[str, Any]
) -> tuple[Tokenizer, list[AddedToken]]:
    """The pipeline of a model file, with a layout's ids, and the tokens that are not text in it."""
    model = read_pieces(path)
    _check_dropped(model, layout, path)
    head, tail = _around(layout, config)
    kept = model.pieces[len(layout.replaced) :]
    given = {role: content_of(config.get(role)) for role in ROLES}
    renamed = {token for role, token in given.items() if token != ROLES[role]}
    _check_apart(({*head, *tail} - renamed) & {piece.text for piece in kept}, path)
    backend = metaspace(
        model if layout.normalizes else replace(model, charsmap=b""),
        [*map(_scored, head), *kept, *map(_scored, tail)],
        unknown=_unknown(model, layout),
        words=layout.words,
        prefix=config.get("add_prefix_space") is not False,
    )
    if layout.quotes:
        backend.normalizer = albert_rules(model.charsmap, config)
    return backend, [*(AddedToken(token, special=True) for token in tail), *not_text(model.pieces)]


def not_text(pieces: Iterable[Piece]) -> list[AddedToken]:
    """The pieces that are special, and those that are matched before a text is cut."""
    return [
        AddedToken(piece.text, normalized=False, special=piece.kind == CONTROL)
        for piece in pieces
        if piece.kind in (CONTROL, USER_DEFINED)
    ]


def _around(layout: Layout, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The tokens before and after the pieces; of two alike the last one's id is the token's."""
    count = config.get("extra_ids", layout.extra_ids) if layout.extra_ids else 0
    if not isinstance(count, int) or not 0 <= count <= 10_000:
        raise ConfigError(f"extra_ids is {count!r}; expected the number of T5's extra tokens")
    extra = [f"<extra_id_{i}>" for i in reversed(range(count))]
    slots = [*layout.head, *layout.tail, *extra]
    names = [content_of(config.get(slot)) or ROLES.get(slot, slot) for slot in slots]
    return names[: len(layout.head)], names[len(layout.head) :]


def _unknown(model: PieceModel, layout: Layout) -> int:
    """The id of the token for unknown text: the head's, or that of the file's piece."""
    if "unk_token" in layout.head:
        return layout.head.index("unk_token")
    return model.unknown - len(layout.replaced) + len(layout.head)


def _scored(token: str) -> Piece:
    never = token in (CAMEMBERT[-1], *PEGASUS_UNUSED)
    return Piece(token, NEVER if never else 0.0, CONTROL)


def _check_dropped(model: PieceModel, layout: Layout, path: Path) -> None:
    """Raise if the layout would drop pieces of text: then it is not the file's."""
    expected = [UNKNOWN if text == "<unk>" else CONTROL for text in layout.replaced]
    dropped = model.pieces[: len(expected)]
    if [piece.kind for piece in dropped] != expected:
        raise CheckpointError(
            f"{path} begins with the pieces {[piece.text for piece in dropped]}; expected "
            f"{[*layout.replaced]}, which this class replaces; name the "
            "right tokenizer_class in tokenizer_config.json"
        )


def _check_apart(repeated: set[str], path: Path) -> None:
    if repeated:
        raise CheckpointError(
            f"{path} has the pieces {str(sorted(repeated)[:8])[1:-1]}, which this class adds by "
            "itself; name the right tokenizer_class in tokenizer_config.json"
        )
