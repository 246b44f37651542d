"""Tokenizers made from the Hub's older files against transformers' classes: same ids, same text."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("hypothesis")

from hypothesis import (  # noqa: E402
    given,
    settings,
    strategies as st,  # noqa: E402
)
from tokenizers.processors import TemplateProcessing  # noqa: E402
from transformers import (  # noqa: E402
    AddedToken,
    BartTokenizer,
    BertJapaneseTokenizer,
    BertTokenizer,
    BigBirdTokenizer,
    CamembertTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    PegasusTokenizer,
    PreTrainedTokenizerFast,
    RemBertTokenizer,
    RobertaTokenizer,
    RoCBertTokenizer,
    T5Tokenizer,
    XGLMTokenizer,
    XLMRobertaTokenizer,
)
from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS  # noqa: E402

from mlx_vedec.text.sentencepiece import Piece, PieceModel, read_pieces  # noqa: E402
from mlx_vedec.text.tokenizer import Tokenizer  # noqa: E402
from tests.text.test_sentencepiece import SPECIAL, TABLE, charsmap, model_file  # noqa: E402
from tests.text.test_slow_tokenizers import named, put, with_bytes, with_pieces, with_words  # noqa: E402

MODEL = "tokenizers/trocr-small/sentencepiece.bpe.model"
POOLS = [
    "abc XYZ 019 .,!?'\"-()  ",
    "naïveéÀßñøŁ",
    "あいうアイウ漢字東京。、「」ーｱﾞ",
    "😀👍🏽👨‍👩‍👧❤️",
    "ae\u0301\u0308\u0327n\u0303が\u3099",
    " \t\n\r\v\f\x85\u00a0\u3000\u2003\u2028\u200b",
    "\0\x01\x1f\x7f\u200d\ufeff\ufffd\ufdd0",
    "ﬁ①㎏Ａ１½²ﾊﾟ",
    "кирилл العربية ไทย हिन्दी 한국어",
    "▁_#<s>[]|\\",
]
SPECIALS = "<s> </s> <pad> <unk> <mask> [CLS] [SEP] [MASK] [UNK] <|endoftext|> en_XX <extra_id_7>"
WORDS = ["word", "the quick", "don't .", " isn't", "東京", "Ａ", "##ing", *SPECIALS.split(" ")]


def texts(count: int) -> list[str]:
    """From single scripts, from all of them mixed, and words between special tokens."""
    numbers = random.Random(count)
    made = []
    for _ in range(count):
        pool = "".join(numbers.sample(POOLS, numbers.choice([1, 1, 2, len(POOLS)])))
        made.append("".join(numbers.choices(pool, k=numbers.randrange(40))))
        joint = numbers.choice(["", " ", "  b ", "\n"])
        made.append(joint.join(numbers.choices(WORDS, k=numbers.randrange(6))))
    return made


def same_ids(ours: Tokenizer, theirs, text: str) -> None:
    for special in (True, False):
        expected = theirs.encode(text, add_special_tokens=special)
        assert ours.encode(text, add_special_tokens=special) == expected, text
    same_text(ours, theirs, theirs.encode(text))


def same_text(ours: Tokenizer, theirs, ids: list[int]) -> None:
    for skip in (True, False):
        expected = theirs.decode(ids, skip_special_tokens=skip)
        assert ours.decode(ids, skip_special_tokens=skip) == expected, ids


def same(ours: Tokenizer, theirs, count: int, *, generated: int = 0) -> None:
    """The same for twice `count` texts, for some that hypothesis makes, and for random ids."""
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    roles = {k: str(v) for k, v in theirs.special_tokens_map.items() if k.endswith("_token")}
    assert {role: getattr(ours, role) for role in roles} == roles
    for text in texts(count):
        same_ids(ours, theirs, text)
    numbers = random.Random(1)
    for _ in range(count):
        same_text(ours, theirs, [numbers.randrange(len(ours)) for _ in range(20)])
    if generated:
        only = settings(derandomize=True, database=None, max_examples=generated, deadline=None)
        only(given(st.text(max_size=40))(lambda text: same_ids(ours, theirs, text)))()


def saved(ours: Tokenizer, folder: Path) -> Path:
    ours.save_pretrained(folder)
    return folder


# Real files


def gpt2(shared: Path, folder: Path) -> Path:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "tokenizers" / "gpt2" / name, folder)
    return folder


def roberta(shared: Path, folder: Path, checkpoint: str) -> Path:
    """GPT-2's tokens with RoBERTa's number of others around them, and a checkpoint's settings."""
    vocabulary = json.loads((gpt2(shared, folder) / "vocab.json").read_text())
    rest = [f"madeupword{i}" for i in range(3)]
    listed = ["<s>", "<pad>", "</s>", "<unk>", *vocabulary, *rest, "<mask>"]
    put(folder, vocab={token: id for id, token in enumerate(listed)})
    return settings_of(shared, folder, checkpoint)


def settings_of(shared: Path, folder: Path, checkpoint: str) -> Path:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(shared / "configs" / checkpoint / name, folder)
    return folder


def test_gpt2(shared, tmp_path):
    folder = gpt2(shared, put(tmp_path / "gpt2", **named("GPT2")))
    ours = Tokenizer.from_pretrained(folder)
    same(ours, GPT2Tokenizer.from_pretrained(folder), 300, generated=100)
    same(ours, GPT2Tokenizer.from_pretrained(saved(ours, tmp_path / "saved")), 50)
    put(folder, **named("GPT2", add_bos_token=True, add_prefix_space=True, pad_token="<pad>"))
    same(Tokenizer.from_pretrained(folder), GPT2Tokenizer.from_pretrained(folder), 100)


@pytest.mark.parametrize(
    ("checkpoint", "count"),
    [("microsoft__trocr-base-printed", 300), ("amruthvardhan__trocr-base-finetuned-4.52", 200)],
)
def test_roberta(shared, tmp_path, checkpoint, count):
    folder = roberta(shared, put(tmp_path / "source"), checkpoint)
    ours = Tokenizer.from_pretrained(folder)
    same(ours, RobertaTokenizer.from_pretrained(folder), count, generated=count // 4)
    same(ours, RobertaTokenizer.from_pretrained(saved(ours, tmp_path / "saved")), 50)


def test_roberta_with_more_tokens(shared, tmp_path):
    folder = roberta(shared, put(tmp_path), "microsoft__trocr-base-printed")
    (folder / "special_tokens_map.json").unlink()
    config = {"additional_special_tokens": ["<x>", "[CLS]"], "pad_token": "[P]", "sep_token": "[S]"}
    put(folder, tokenizer_config=config, added_tokens={"<s_a>": 50265, "[CLS]": 50266})
    same(Tokenizer.from_pretrained(folder), RobertaTokenizer.from_pretrained(folder), 100)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
    ],
    ids=str,
)
def test_bert(shared, tmp_path, config):
    folder = put(tmp_path / "source", tokenizer_config=config)
    shutil.copy(shared / "tokenizers" / "bert-base-uncased" / "vocab.txt", folder)
    ours = Tokenizer.from_pretrained(folder)
    many = not config
    same(ours, BertTokenizer.from_pretrained(folder), 1000 if many else 300, generated=250 * many)
    same(ours, PreTrainedTokenizerFast.from_pretrained(saved(ours, tmp_path / "saved")), 50)


def test_nougat(shared):
    folder = shared / "tokenizers" / "nougat"
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    same(Tokenizer.from_pretrained(folder), theirs, 1000, generated=300)


def japanese(shared: Path, folder: Path, **options: object) -> Path:
    source = shared / "configs" / "kha-white__manga-ocr-base" / "tokenizer_config.json"
    put(folder, tokenizer_config={**json.loads(source.read_text()), **options})
    shutil.copy(shared / "tokenizers" / "manga-ocr" / "vocab.txt", folder)
    return folder


def test_manga_ocr(shared, tmp_path):
    """Without its words, for which transformers needs a dictionary; they only cost the spaces."""
    folder = japanese(shared, tmp_path / "source", do_word_tokenize=False)
    theirs, ours = BertJapaneseTokenizer.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    same(ours, theirs, 300, generated=100)
    same(ours, PreTrainedTokenizerFast.from_pretrained(saved(ours, tmp_path / "saved")), 50)
    words = Tokenizer.from_pretrained(japanese(shared, tmp_path / "words"))
    vocabulary = words.backend.get_vocab()
    for text in texts(500)[::2]:
        spaceless = re.sub("[ \t\n\v]", "", unicodedata.normalize("NFKC", text))
        assert words.encode(text)[1:-1] == [vocabulary.get(letter, 1) for letter in spaceless]


def test_manga_ocr_in_one_file(shared, tmp_path):
    """The same texts as from the `tokenizer.json` that transformers makes, but for one setting."""
    ours = Tokenizer.from_pretrained(japanese(shared, tmp_path))
    whole = Tokenizer.from_pretrained(shared / "tokenizers" / "manga-ocr")
    assert ours.backend.get_vocab() == whole.backend.get_vocab()
    assert ours.all_special_ids == whole.all_special_ids
    numbers = random.Random(0)
    for _ in range(500):
        ids = [numbers.randrange(len(ours)) for _ in range(20)]
        for skip in (True, False):
            text, other = (one.decode(ids, skip_special_tokens=skip) for one in (ours, whole))
            assert text.replace(" ", "") == other.replace(" ", "")  # only theirs tightens


@pytest.mark.skipif(not importlib.util.find_spec("unidic_lite"), reason="needs a dictionary")
def test_manga_ocr_with_words(shared, tmp_path):
    folder = japanese(shared, tmp_path)
    theirs, ours = BertJapaneseTokenizer.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    for text in texts(1000):
        if "\0" not in text:  # where MeCab stops
            same_ids(ours, theirs, text)


# SentencePiece's

PIECE_CLASSES = {
    "XLMRoberta": XLMRobertaTokenizer,
    "Camembert": CamembertTokenizer,
    "MBart": MBartTokenizer,
    "MBart50": MBart50Tokenizer,
    "XGLM": XGLMTokenizer,
    "T5": T5Tokenizer,
    "BigBird": BigBirdTokenizer,
    "RemBert": RemBertTokenizer,
    "Pegasus": PegasusTokenizer,
}


def arranged(name: str, model: PieceModel, **options: object):
    """What transformers makes of a model file, but for the reading, which needs its package."""
    scores = [(piece.text, piece.score) for piece in model.pieces]
    converter = SLOW_TO_FAST_CONVERTERS[f"{name}Tokenizer"]
    if name == "XGLM":  # reads no model file any more; its ids are those of the older converter
        head = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        tail = [(f"<madeupword{i}>", 0.0) for i in range(7)]
        made = {"vocab": [*head, *scores[3:], *tail]}
    else:
        control = [piece.text for piece in model.pieces if piece.kind == 3]
        made = converter.convert_from_spm(scores, additional_special_tokens=control, **options)
    charsmap = model.charsmap or None
    theirs = PIECE_CLASSES[name](**{**made, **options}, _spm_precompiled_charsmap=charsmap)
    if name == "RemBert":  # 5.24 sets this, as version 4 did, and loses it two lines later
        ends = [(token, theirs.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
        frame = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        theirs.backend_tokenizer.post_processor = frame
    return theirs


def test_trocr_small(shared, tmp_path):
    folder = settings_of(shared, put(tmp_path / "source"), "microsoft__trocr-small-printed")
    shutil.copy(shared / MODEL, folder)
    mask = AddedToken("<mask>", lstrip=True, normalized=True, special=True)
    theirs = arranged("XLMRoberta", read_pieces(shared / MODEL), mask_token=mask)
    ours = Tokenizer.from_pretrained(folder)
    same(ours, theirs, 300, generated=100)
    same(ours, XLMRobertaTokenizer.from_pretrained(saved(ours, tmp_path / "saved")), 50)
    same(ours, PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved"), 50)


def test_pieces_of_trocr_small(shared):
    """Against what SentencePiece's own reader says of the file."""
    model = read_pieces(shared / MODEL)
    assert len(model.pieces) == 64000
    assert model.pieces[:4] == [*SPECIAL, Piece("▁the", -3.229032039642334)]
    assert {piece.kind for piece in model.pieces[3:]} == {1}
    assert (model.merging, model.byte_fallback, len(model.charsmap)) == (False, False, 237539)


CHARACTERS = "▁ abcdehikonqrtuxfi.',é東京あア1kg"
LEARNT = [
    *CHARACTERS,
    "▁the",
    "▁qu",
    "ick",
    "▁is",
    "n't",
    "on",
    "▁東京",
    "▁d",
    "▁w",
    "ord",
    "k▁",
    "k▁d",
]
TINY = [*SPECIAL, *(Piece(text, -1 - rank / 7) for rank, text in enumerate(dict.fromkeys(LEARNT)))]
T5 = [Piece("<pad>", 0, 3), Piece("</s>", 0, 3), SPECIAL[0], *TINY[3:]]
OWN = [*T5, *(Piece(token, 0, 3) for token in ("<s>", "[CLS]", "[SEP]")), Piece("[MASK]", -9)]
FILES = {"T5": T5, "Pegasus": T5, "BigBird": OWN, "RemBert": OWN}


@pytest.mark.parametrize("name", PIECE_CLASSES)
@pytest.mark.parametrize("table", [b"", charsmap(TABLE)], ids=["plain", "normalized"])
def test_layouts(tmp_path, name, table):
    if name == "Pegasus" and not table:
        table = charsmap({"\n": " "})  # which theirs puts in where a file has no table
    content = model_file(FILES.get(name, TINY), table=table)
    folder = with_pieces(tmp_path, content, **named(name))
    ours = Tokenizer.from_pretrained(folder)
    same(ours, arranged(name, read_pieces(folder / "sentencepiece.bpe.model")), 300)


@pytest.mark.parametrize("options", [{}, {"add_bos_token": True, "add_prefix_space": False}])
def test_llama(tmp_path, options):
    bytes_ = [Piece(f"<0x{byte:02X}>", 0, 6) for byte in range(256)]
    pieces = [*TINY, *bytes_]
    content = model_file(pieces, kind=2, byte_fallback=True)
    ours = Tokenizer.from_pretrained(with_pieces(tmp_path, content, **named("Llama", **options)))
    vocabulary = {piece.text: id for id, piece in enumerate(pieces)}
    merges = [(t[:i], t[i:]) for t in vocabulary for i in range(1, len(t))]
    learnt = [pair for pair in merges if {*pair} <= {*vocabulary}]
    same(ours, LlamaTokenizer(vocab=vocabulary, merges=learnt, **options), 300)


@pytest.mark.parametrize("option", [{"do_lower_case": True}, {"keep_accents": False}], ids=str)
def test_rembert_as_configured(tmp_path, option):
    content = model_file(OWN, table=charsmap(TABLE))
    folder = with_pieces(tmp_path, content, **named("RemBert", **option))
    theirs = arranged("RemBert", read_pieces(folder / "sentencepiece.bpe.model"), **option)
    same(Tokenizer.from_pretrained(folder), theirs, 100)


def test_roc_bert(tmp_path, shared):
    """A decoder's ids are those of the text; shapes and sounds are not told."""
    source = shared / "tokenizers" / "bert-base-uncased" / "vocab.txt"
    unknown = {"[UNK]": 1, "[CLS]": 1, "[SEP]": 1}
    looks = {"word_shape": unknown, "word_pronunciation": unknown}
    folder = put(tmp_path / "source", **named("RoCBert"), **looks)
    shutil.copy(source, folder)
    theirs, ours = RoCBertTokenizer.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    for text in texts(300):
        if not {*text} & {*POOLS[6]}:  # Python and Rust differ in what is no character
            same_ids(ours, theirs, text)


TOKENIZER_CLASSES = {
    "Roberta": RobertaTokenizer,
    "Bart": BartTokenizer,
    "GPT2": GPT2Tokenizer,
    "Bert": BertTokenizer,
}
ROLE_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
NAMES = ("<s>", "</s>", "<new>", "[X]", "<|endoftext|>", "[UNK]")


def role_subsets(kind: str) -> list[dict[str, str]]:
    """Every subset of roles, each with a name of its own or one of few, which then have several."""
    numbers, found = random.Random(kind), []
    for chosen in range(2 ** len(ROLE_NAMES)):
        roles = [role for i, role in enumerate(ROLE_NAMES) if chosen >> i & 1]
        own = numbers.random() < 0.5
        found.append({f"{r}_token": f"<{r}>" if own else numbers.choice(NAMES) for r in roles})
    return found


@pytest.mark.parametrize("kind", ["Roberta", "Bart", "GPT2", "Bert", "XLMRoberta", "Camembert"])
def test_ids_of_special_tokens_that_the_vocabulary_lacks(tmp_path, kind):
    """In transformers' order of roles, each at its first one, whichever are named."""
    for number, roles in enumerate(role_subsets(kind)):
        folder = tmp_path / str(number)
        if kind == "Bert":
            roles.pop("unk_token", None)  # which the pieces have to hold
            with_words(folder, **named(kind, **roles))
        elif kind in PIECE_CLASSES:
            roles.pop("unk_token", None)
            with_pieces(folder, model_file(TINY), **named(kind, **roles))
        else:
            with_bytes(folder, **named(kind, **roles))
        if kind in PIECE_CLASSES:
            theirs = arranged(kind, read_pieces(folder / "sentencepiece.bpe.model"), **roles)
        else:
            theirs = TOKENIZER_CLASSES[kind].from_pretrained(folder)
        ours = Tokenizer.from_pretrained(folder)
        assert ours.backend.get_vocab(True) == theirs.get_vocab(), roles
        same_ids(ours, theirs, "don't the <s> quick </s>")
