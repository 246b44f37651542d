"""Pipelines of the `tokenizers` package, put together as transformers 5.23 does for its classes.

Special tokens are not here: they are added to a pipeline when their ids are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece

from .sentencepiece import NORMAL, Piece, PieceModel

SPACE = "▁"
MECAB_SPACES = r"[\t\n\v ]"


def byte_level(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], prefix_space: bool
) -> Tokenizer:
    """GPT-2's and RoBERTa's pipeline: pairs of bytes, then of tokens, become one token."""
    backend = Tokenizer(BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def word_pieces(vocabulary: dict[str, int], unknown: str, config: Mapping[str, Any]) -> Tokenizer:
    """BERT's pipeline: a word is cut into the longest pieces; decoding tightens punctuation."""
    backend = Tokenizer(WordPiece(vocabulary, unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece("##")
    return backend


def characters(vocabulary: dict[str, int], unknown: str, config: Mapping[str, Any]) -> Tokenizer:
    """The Japanese BERT's pipeline: a token for each character of the text, normalized by NFKC.

    transformers first cuts the text into words with MeCab. Which characters there are does not
    depend on the words, but the spaces between them are lost, and so they are here. (Where a text
    has a zero byte MeCab stops; here it is an unknown character.) Decoding puts a space between
    any two tokens, as transformers does; what reads Japanese takes them out again.
    """
    backend = Tokenizer(WordLevel(vocabulary, unk_token=unknown))
    lower = [normalizers.Lowercase()] if config.get("do_lower_case") else []
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *lower])
    words = [pre_tokenizers.Split(Regex(MECAB_SPACES), "removed")]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(words if config.get("do_word_tokenize", True) else []),
            pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"),
        ]
    )
    backend.decoder = loose_decoder()
    return backend


def loose_decoder() -> decoders.Decoder:
    """Pieces to words, with the spaces before punctuation that `word_pieces` takes away."""
    return decoders.WordPiece("##", cleanup=False)


def metaspace(
    model: PieceModel,
    vocabulary: Sequence[Piece],
    *,
    unknown: int,
    words: bool = True,
    prefix: bool = True,
) -> Tokenizer:
    """SentencePiece's pipeline: ▁ is a space, before each word or wherever the text has one."""
    backend = Tokenizer(_cutter(model, vocabulary, unknown, model.byte_fallback))
    backend.normalizer = normalizers.Sequence(
        [
            *([normalizers.Precompiled(model.charsmap)] if model.charsmap else []),
            *([] if words else [normalizers.Replace(Regex(" {2,}"), " ")]),
        ]
    )
    scheme = "always" if prefix else "never"
    metaspace = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    split = [pre_tokenizers.WhitespaceSplit()] if words else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*split, metaspace])
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    if model.byte_fallback:
        backend.decoder = _byte_decoder(prefix)
    return backend


def albert_rules(charsmap: bytes, config: Mapping[str, Any]) -> normalizers.Normalizer:
    """ALBERT's and RemBERT's normalization: quotation marks, spaces, the config's, the file's."""
    return normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.Replace(Regex(" {2,}"), " "),
            *(
                [normalizers.NFKD(), normalizers.StripAccents()]
                if config.get("keep_accents") is False
                else []
            ),
            *([normalizers.Lowercase()] if config.get("do_lower_case") else []),
            *([normalizers.Precompiled(charsmap)] if charsmap else []),
        ]
    )


def llama(model: PieceModel, *, prefix: bool = True, legacy: bool = False) -> Tokenizer:
    """LLaMA's pipeline: SentencePiece's with every space, and bytes for unknown characters."""
    backend = Tokenizer(_cutter(model, model.pieces, model.unknown, True))
    scheme = ("always" if legacy else "first") if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False)
    backend.decoder = _byte_decoder(prefix)
    return backend


def _cutter(
    model: PieceModel, vocabulary: Sequence[Piece], unknown: int, byte_fallback: bool
) -> BPE | Unigram:
    if not model.merging:
        scores = [(piece.text, piece.score) for piece in vocabulary]
        return Unigram(scores, unk_id=unknown, byte_fallback=byte_fallback)
    return BPE(
        {piece.text: id for id, piece in enumerate(vocabulary)},
        _merges(vocabulary),
        unk_token=vocabulary[unknown].text,
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def _merges(vocabulary: Sequence[Piece]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, in the order in which pieces were learnt."""
    texts = {piece.text for piece in vocabulary if piece.kind == NORMAL}
    lengths = sorted({*map(len, texts)})
    return [
        (text[:cut], text[cut:])
        for text in (piece.text for piece in vocabulary if piece.kind == NORMAL)
        for cut in itertools.takewhile(len(text).__gt__, lengths)
        if text[:cut] in texts and text[cut:] in texts
    ]


def _byte_decoder(prefix: bool) -> decoders.Decoder:
    """Bytes to characters; the space before the first word goes if one was put there."""
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    return decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
