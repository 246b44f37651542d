"""SentencePiece's pieces among the special tokens of the classes that use them."""

from __future__ import annotations

import pytest

from mlx_vedec.errors import ConfigError
from mlx_vedec.text.sentencepiece import USER_DEFINED, Piece
from mlx_vedec.text.tokenizer import Tokenizer
from tests.text.test_sentencepiece import PIECES, SPECIAL, model_file
from tests.text.test_slow_tokenizers import BYTES, named, put, refused, tokens, with_pieces


def test_pieces_with_fairseqs_ids(tmp_path):
    for files in ({}, named("XLMRoberta"), {"config": {"decoder": {"model_type": "trocr"}}}):
        tokenizer = Tokenizer.from_pretrained(with_pieces(tmp_path, **files))
        first = [tokenizer.backend.id_to_token(id) for id in range(6)]
        assert first == ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁the"]
        assert tokenizer.mask_token_id == len(tokenizer) - 1 == len(PIECES) + 1
        text = tokens(tokenizer, "the Ａ\t ﬁ x")
        assert text == ["<s>", "▁the", "▁", "a", "▁", "fi", "▁", "<unk>", "</s>"]
        ids = tokenizer.encode("the fox don't. 東京😀")
        assert tokenizer.decode(ids, skip_special_tokens=True) == "the fox don't. 東京😀"
        assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 2)


def test_other_names_of_the_file(tmp_path):
    folder = with_pieces(tmp_path)
    content = Tokenizer.from_pretrained(folder).content
    for name in ("tokenizer.model", "spiece.model", "spm.model", "sentencepiece.model"):
        (path,) = folder.iterdir()
        path.rename(folder / name)
        assert Tokenizer.from_pretrained(folder).content == content


@pytest.mark.parametrize(
    ("name", "kept", "ids", "framed"),
    [
        ("XLMRoberta", 3, {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<s> ▁the </s>"),
        ("MBart", 3, {"<s>": 0, "ar_AR": 18, "zh_CN": 42, "<mask>": 43}, "▁the </s> en_XX"),
        ("MBart50", 3, {"<pad>": 1, "af_ZA": 43, "<mask>": 70}, "en_XX ▁the </s>"),
        ("Camembert", 1, {"<pad>": 1, "<unk>": 3, "<s>": 5, "</s>": 6}, "<s> ▁the </s>"),
        ("XGLM", 3, {"</s>": 2, "<madeupword0>": 18, "<madeupword6>": 24}, "</s> ▁the"),
    ],
)
def test_layouts(tmp_path, name, kept, ids, framed):
    files = named(name) if name != "XGLM" else {"config": {"decoder": {"model_type": "xglm"}}}
    tokenizer = Tokenizer.from_pretrained(with_pieces(tmp_path, **files))
    vocabulary = tokenizer.backend.get_vocab()
    assert {token: vocabulary[token] for token in ids} == ids
    start = max(vocabulary["<unk>"], vocabulary["<pad>"], 4 if kept == 1 else 0) + 1
    assert vocabulary["▁"] == start + 3 - kept
    assert tokens(tokenizer, "the") == framed.split()
    assert tokenizer.decode(tokenizer.encode("the"), skip_special_tokens=True) == "the"


def test_language_of_a_text(tmp_path):
    folder = with_pieces(tmp_path, **named("MBart", src_lang="ja_XX"))
    assert tokens(Tokenizer.from_pretrained(folder), "the")[-1] == "ja_XX"
    put(folder, **named("MBart", src_lang="xx_XX"))
    with pytest.raises(ConfigError, match="framed by 'xx_XX', which is no token"):
        Tokenizer.from_pretrained(folder)


def test_pieces_with_their_own_ids(tmp_path):
    pieces = [Piece("<pad>", 0, 3), Piece("</s>", 0, 3), SPECIAL[0], *PIECES[3:]]
    folder = with_pieces(tmp_path, model_file(pieces), **named("T5", extra_ids=2))
    tokenizer = Tokenizer.from_pretrained(folder)
    last = len(pieces)
    assert tokenizer.encode("the<extra_id_0>x") == [4, last + 1, 3, 2, 1]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.bos_token is None


OWN = [Piece("<pad>", 0, 3), Piece("</s>", 0, 3), SPECIAL[0], *PIECES[3:]]
ENDS = [*OWN, *(Piece(token, 0, 3) for token in ("<s>", "[CLS]", "[SEP]", "[MASK]"))]


@pytest.mark.parametrize(
    ("name", "model_type", "pieces", "framed"),
    [
        ("BigBird", "big_bird", ENDS, "[CLS] ▁the ▁ ` ` ▁ </s> [SEP]"),
        ("RemBert", "rembert", ENDS, '[CLS] ▁the ▁ " ▁ </s> [SEP]'),
        ("Pegasus", "bigbird_pegasus", OWN, "▁the ▁ ` ` ▁ </s> </s>"),
        ("Pegasus", "pegasus", OWN, "▁the ▁ ` ` ▁ </s> </s>"),
    ],
)
def test_classes_by_the_decoders_type(tmp_path, name, model_type, pieces, framed):
    pieces = [*pieces, Piece("`", -8), Piece('"', -8)]
    folder = with_pieces(tmp_path, model_file(pieces), **named(name))
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokens(tokenizer, "the `` </s>") == framed.split()
    shift = 103 if name == "Pegasus" else 0  # of all but padding and end
    vocabulary = tokenizer.backend.get_vocab()
    ids = {piece.text: id + shift * (id > 1) for id, piece in enumerate(pieces)}
    assert {token: vocabulary[token] for token in ids} == ids
    assert tokenizer.decode(tokenizer.encode("the"), skip_special_tokens=True) == "the"
    assert tokenizer.unk_token_id in tokenizer.encode("x")
    (folder / "tokenizer_config.json").unlink()
    put(folder, config={"decoder": {"model_type": model_type}})
    assert Tokenizer.from_pretrained(folder).content == tokenizer.content


def test_unused_tokens_of_pegasus(tmp_path):
    folder = with_pieces(tmp_path, model_file(OWN), **named("Pegasus"))
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.backend.id_to_token(2) == "<mask_1>"
    assert (tokenizer.mask_token_id, tokenizer.unk_token_id) == (3, 105)
    assert tokenizer.decode([2, 3, 4, 104, 106 + 1], skip_special_tokens=True) == "the"
    put(folder, **named("Pegasus", offset=0))
    refused(folder, "offset of .* is 0; expected 103, as Google's Pegasus has", ConfigError)
    with_pieces(folder, model_file(PIECES), **named("Pegasus"))
    refused(folder, r"begins with the pieces \['<unk>', '<s>'\]; expected \['<pad>', '</s>'\]")


def test_pieces_that_are_merged(tmp_path):
    """By rank: `t.` comes after `don` and `'`, though a longer piece would score better."""
    tokenizer = Tokenizer.from_pretrained(with_pieces(tmp_path, model_file(kind=2)))
    assert tokens(tokenizer, "a t.") == ["<s>", "▁", "a", "▁", "t.", "</s>"]
    assert tokens(tokenizer, "tz")[1:-1] == ["▁", "t", "<unk>"]


def test_unknown_characters_as_bytes(tmp_path):
    for kind, name in [(1, "XLMRoberta"), (2, "XLMRoberta"), (2, "Llama")]:
        content = model_file([*PIECES, *BYTES], kind=kind, byte_fallback=True)
        tokenizer = Tokenizer.from_pretrained(with_pieces(tmp_path, content, **named(name)))
        ids = tokenizer.encode("東ß京", add_special_tokens=False)
        bytes_ = [tokenizer.backend.id_to_token(id) for id in ids if id > len(PIECES)]
        assert bytes_ == ["<0xC3>", "<0x9F>"]
        assert tokenizer.decode(ids) == "東ß京"


def test_spaces_of_llama(tmp_path):
    content = model_file([*PIECES, *BYTES], kind=2, byte_fallback=True)
    folder = with_pieces(tmp_path, content, **named("Llama", add_bos_token=True))
    tokenizer = Tokenizer.from_pretrained(folder)
    ids = tokenizer.encode("a  t\n")
    assert tokens(tokenizer, "a  t\n") == ["<s>", "▁", "a", "▁", "▁", "t", "<0x0A>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a  t\n"


def test_pieces_of_the_user_are_matched_first(tmp_path):
    content = model_file([*PIECES, Piece("the fox", 0, USER_DEFINED)])
    tokenizer = Tokenizer.from_pretrained(with_pieces(tmp_path, content))
    ids = tokenizer.encode("athe foxa")
    assert tokens(tokenizer, "athe foxa")[1:-1] == ["▁", "a", "the fox", "▁", "a"]
    assert "the fox" in tokenizer.decode(ids, skip_special_tokens=True)


def test_special_tokens_may_have_other_names(tmp_path):
    folder = with_pieces(tmp_path, **named("XLMRoberta", pad_token="[P]"))
    assert Tokenizer.from_pretrained(folder).pad_token_id == 1
    put(folder, **named("XLMRoberta", pad_token="</s>"))  # the later of two alike, as there
    tokenizer = Tokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token_id, tokenizer.backend.token_to_id("<pad>")) == (2, None)


def test_pieces_of_another_layout(tmp_path):
    folder = with_pieces(tmp_path, model_file(PIECES[::-1]))
    refused(
        folder, r"begins with the pieces \['é', 'a', 'fi'\]; expected \['<unk>', '<s>', '</s>'\]"
    )
    with_pieces(folder, model_file([*PIECES, Piece("<mask>", -3)]))
    refused(folder, "has the pieces '<mask>', which this class adds by itself; name the right")
    put(folder, **named("T5", extra_ids="many"))
    refused(folder, "extra_ids is 'many'; expected the number", ConfigError)
