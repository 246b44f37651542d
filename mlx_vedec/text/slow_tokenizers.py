"""Tokenizers from the files that were usual before `tokenizer.json`, as transformers 5.23 does.

transformers calls them slow; here they become a `tokenizer.json`.

The class of the tokenizer tells how: `tokenizer_class` of `tokenizer_config.json`, else that of
`config.json`. Where none is named, the files that are there and the decoder's `model_type` tell:

- `vocab.json` and `merges.txt`: GPT-2's for `gpt2`, RoBERTa's for `BYTE_LEVEL_TYPES`, and for any
  other type RoBERTa's if the vocabulary has `<s>` and `</s>`;
- `vocab.txt`: that of the type if it is in `WORD_TYPES`, else BERT's, or the Japanese one's if the
  config has a `subword_tokenizer_type`;
- a SentencePiece model: that of the type if it is in `PIECE_TYPES`, else XLM-RoBERTa's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from ..checkpoints.config import read_json
from ..errors import CheckpointError, ConfigError
from ..files import seen
from . import backends, sentencepiece_layouts as layouts
from .sentencepiece import read_pieces
from .special_tokens import add_new, add_tokens, content_of, numbered_tokens
from .vocab_files import INSTEAD, check_ids, check_whole, read_merges, read_words

BYTE_LEVEL = ("vocab.json", "merges.txt")
WORDS = ("vocab.txt",)
PIECES = (  # one of them
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)
BYTE_LEVEL_TYPES = {"bart", "data2vec-text", "mvp", "roberta", "roberta-prelayernorm", "trocr"}
WORD_TYPES = {"roc_bert": "RoCBert", "roformer": "RoFormer"}
PIECE_TYPES = {
    "big_bird": "BigBird",
    "bigbird_pegasus": "Pegasus",
    "camembert": "Camembert",
    "gpt-sw3": "GPTSw3",
    "mbart": "MBart",
    "pegasus": "Pegasus",
    "rembert": "RemBert",
    "t5": "T5",
    "xglm": "XGLM",
}
UNNAMED = {"", "PreTrained", "TokenizersBackend", "PythonBackend"}  # any class may be meant

Pipeline = tuple[Tokenizer, list[AddedToken]]  # with the tokens of it that are not text


@dataclass(frozen=True)
class Family:
    """How a class of tokenizers is made: from which files, and with which special tokens."""

    files: tuple[str, ...]
    build: Callable[[Path, Mapping[str, Any]], Pipeline]
    roles: Mapping[str, Any]
    frame: tuple[str, ...] = ()  # what encoding puts around a text, $A, by role; else what is asked
    saved_as: str | None = None  # the class to name beside a tokenizer.json, if not its own


def build(folder: Path, config: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a `tokenizer.json`, and the config with the roles that the class gives."""
    family = _family(folder, config)
    config = {**family.roles, **config}
    backend, own = family.build(folder, config)
    add_tokens(backend, _numbered(folder, config), config, folder)
    add_new(backend, own)
    backend.post_processor = _framing(backend, family, config)
    if family.saved_as:
        config["tokenizer_class"] = family.saved_as
    return backend.to_str().encode(), config


def _numbered(folder: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """The added tokens whose ids a folder's files say."""
    older = folder / "added_tokens.json"
    return numbered_tokens(config, read_json(older) if older.is_file() else {})


# Pipelines from files


def _byte_level(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    vocabulary = read_json(folder / "vocab.json")
    check_ids(vocabulary, folder / "vocab.json")
    taken, last = {*vocabulary.values()}, max(vocabulary.values())
    for id, token in _numbered(folder, config).items():
        # one between the others cannot be added later
        if id < last and id not in taken:
            vocabulary.setdefault(token.content, id)
    check_whole({*vocabulary.values()}, folder)
    merges = read_merges(folder / "merges.txt", vocabulary)
    return backends.byte_level(vocabulary, merges, bool(config.get("add_prefix_space"))), []


def _words(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    vocabulary, unknown = _vocabulary(folder, config)
    kept = [token for token in config.get("never_split") or [] if token in vocabulary]
    own = [AddedToken(token, single_word=True, normalized=False) for token in kept]
    return backends.word_pieces(vocabulary, unknown, config), own


def _loose_words(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    backend, own = _words(folder, config)
    backend.decoder = backends.loose_decoder()
    return backend, own


def _characters(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    cut = config.get("subword_tokenizer_type", "wordpiece")
    if cut != "character":
        raise ConfigError(
            f"subword_tokenizer_type of {folder / 'tokenizer_config.json'} is {cut!r}, which needs "
            f"a Japanese dictionary; expected 'character', {INSTEAD}"
        )
    return backends.characters(*_vocabulary(folder, config), config), []


def _vocabulary(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    """The tokens of `vocab.txt` with their ids, and the token for unknown text."""
    vocabulary = read_words(folder / "vocab.txt")
    unknown = content_of(config.get("unk_token")) or BERT_ROLES["unk_token"]
    if unknown not in vocabulary:
        raise CheckpointError(
            f"{folder / 'vocab.txt'} has no {unknown!r}; expected the unk_token of "
            "tokenizer_config.json; take both files from one checkpoint"
        )
    return vocabulary, unknown


def _pieces(folder: Path, config: Mapping[str, Any], *, layout: layouts.Layout) -> Pipeline:
    return layouts.arranged(_piece_file(folder), layout, config)


def _pegasus(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    usual = len(layouts.PEGASUS_UNUSED) + 2
    if config.get("offset", usual) != usual:
        raise ConfigError(
            f"offset of {folder / 'tokenizer_config.json'} is {config['offset']!r}; expected "
            f"{usual}, as Google's Pegasus has, {INSTEAD}"
        )
    return _pieces(folder, config, layout=layouts.LAYOUTS["Pegasus"])


def _llama(folder: Path, config: Mapping[str, Any]) -> Pipeline:
    model = read_pieces(_piece_file(folder))
    prefix, legacy = config.get("add_prefix_space") is not False, bool(config.get("legacy"))
    backend = backends.llama(model, prefix=prefix, legacy=legacy)
    return backend, layouts.not_text(model.pieces)


def _piece_file(folder: Path) -> Path:
    return next(folder / name for name in PIECES if (folder / name).is_file())


def _framing(backend: Tokenizer, family: Family, config: Mapping[str, Any]) -> TemplateProcessing:
    """What encoding puts around a text: what the class does, or else what the config asks for."""
    begin = ("bos_token",) if config.get("add_bos_token") else ()
    end = ("eos_token",) if config.get("add_eos_token") else ()
    frame = [
        content_of(config.get(part)) or family.roles.get(part) or part
        for part in family.frame or (*begin, "$A", *end)
    ]
    ids = {token: backend.token_to_id(token) for token in frame if token != "$A"}
    missing = [token for token, id in ids.items() if id is None]
    if missing:
        raise ConfigError(
            f"tokenizer_config.json has texts framed by {missing[0]!r}, which is no token; "
            "expected one of the vocabulary"
        )
    return TemplateProcessing(single=frame, special_tokens=[*ids.items()])


# Which class

ROBERTA_ROLES = {**layouts.ROLES, "sep_token": "</s>", "cls_token": "<s>"}
MASK = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True}
CAMEMBERT_ROLES = {**ROBERTA_ROLES, "mask_token": MASK}
MBART_ROLES = {**ROBERTA_ROLES, "mask_token": MASK, "src_lang": "en_XX"}
BERT_FRAME = ("cls_token", "$A", "sep_token")
END = "<|endoftext|>"
GPT2_ROLES = {"bos_token": END, "eos_token": END, "unk_token": END}
BERT_ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def _sentencepiece(
    name: str, *frame: str, roles: Mapping[str, Any] = ROBERTA_ROLES, without: str = ""
) -> Family:
    roles = {role: token for role, token in roles.items() if role not in without.split()}
    return Family(PIECES, partial(_pieces, layout=layouts.LAYOUTS[name]), roles, frame)


ROBERTA = Family(BYTE_LEVEL, _byte_level, ROBERTA_ROLES, BERT_FRAME)
BERT = Family(WORDS, _words, BERT_ROLES, BERT_FRAME)
FAMILIES = {
    "Roberta": ROBERTA,
    "Bart": ROBERTA,
    "Mvp": ROBERTA,
    "GPT2": Family(BYTE_LEVEL, _byte_level, GPT2_ROLES),
    "Bert": BERT,
    "DistilBert": BERT,
    "Electra": BERT,
    "RoCBert": replace(
        BERT,
        build=_loose_words,
        saved_as="PreTrainedTokenizerFast",  # its own reads no tokenizer.json
    ),
    "BertJapanese": replace(
        BERT,
        build=_characters,
        saved_as="PreTrainedTokenizerFast",  # its own reads no tokenizer.json
    ),
    "XLMRoberta": _sentencepiece("XLMRoberta", "bos_token", "$A", "eos_token"),
    "Camembert": _sentencepiece("Camembert", "bos_token", "$A", "eos_token", roles=CAMEMBERT_ROLES),
    "MBart": _sentencepiece("MBart", "$A", "eos_token", "src_lang", roles=MBART_ROLES),
    "MBart50": _sentencepiece("MBart50", "src_lang", "$A", "eos_token", roles=MBART_ROLES),
    "XGLM": _sentencepiece("XGLM", "eos_token", "$A", without="mask_token"),
    "T5": _sentencepiece(
        "T5", "$A", "eos_token", without="bos_token sep_token cls_token mask_token"
    ),
    "BigBird": _sentencepiece("BigBird", *BERT_FRAME, roles=layouts.BIG_BIRD_ROLES),
    "RemBert": _sentencepiece("RemBert", *BERT_FRAME, roles=layouts.REM_BERT_ROLES),
    "Pegasus": Family(PIECES, _pegasus, layouts.PEGASUS_ROLES, ("$A", "eos_token")),
    "Llama": Family(
        PIECES, _llama, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    ),
}
ALL_FILES = "vocab.json and merges.txt, vocab.txt, or one of " + ", ".join(PIECES)


def _family(folder: Path, config: Mapping[str, Any]) -> Family:
    """The class of tokenizer that a folder's files name, or the one that they fit."""
    model = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    decoder = model["decoder"] if isinstance(model.get("decoder"), dict) else model
    names = filter(None, map(_class_named, (config, model, decoder)))
    name = next(names, "") or _fitting(folder, config, decoder.get("model_type"))
    if name not in FAMILIES:
        raise CheckpointError(
            f"{folder} has no tokenizer.json, and the tokenizer_class {name}Tokenizer is not built "
            f"from other files; expected one of {', '.join(FAMILIES)}, {INSTEAD}"
        )
    family = FAMILIES[name]
    held = [file for file in family.files if (folder / file).is_file()]
    if not held or len(held) < len(family.files) and family.files is not PIECES:
        wanted = " or " if family.files is PIECES else " and "
        raise CheckpointError(
            f"{folder} has no tokenizer.json and holds {seen(folder)}; expected "
            f"{wanted.join(family.files)} for {name}Tokenizer, {INSTEAD}"
        )
    return family


def _class_named(config: Mapping[str, Any]) -> str:
    """The name of a class without its ends, if it says more than that there is a tokenizer."""
    name = str(config.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    return "" if name in UNNAMED else name


def _fitting(folder: Path, config: Mapping[str, Any], model_type: Any) -> str:
    """The class that a folder's files fit, where none of them names one."""
    if (folder / "vocab.json").is_file():
        return _byte_level_class(folder, model_type)
    if (folder / "vocab.txt").is_file():
        usual = "BertJapanese" if "subword_tokenizer_type" in config else "Bert"
        return WORD_TYPES.get(model_type, usual)
    if any((folder / name).is_file() for name in PIECES):
        return PIECE_TYPES.get(model_type, "XLMRoberta")
    raise CheckpointError(
        f"{folder} has no tokenizer: it holds {seen(folder)}; expected tokenizer.json, or "
        f"{ALL_FILES}, there or in a folder tokenizer, {INSTEAD}; or give the checkpoint that the "
        "model was trained from: load(…, processor=…), --processor at a command"
    )


def _byte_level_class(folder: Path, model_type: Any) -> str:
    if model_type == "gpt2":
        return "GPT2"
    if model_type in BYTE_LEVEL_TYPES:
        return "Roberta"
    return "Roberta" if {"<s>", "</s>"} <= {*read_json(folder / "vocab.json")} else "GPT2"
