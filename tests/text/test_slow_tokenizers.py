"""Tokenizers from the files that came before `tokenizer.json`, made tiny here."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mlx_vedec.errors import CheckpointError, ConfigError
from mlx_vedec.text.sentencepiece import BYTE, Piece
from mlx_vedec.text.streaming import StreamingDecoder
from mlx_vedec.text.tokenizer import Tokenizer
from tests.text.test_sentencepiece import PIECES, TABLE, charsmap, model_file
from tests.text.test_tokenizer import CORPUS, byte_level, word_pieces

CHARACTERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"あいカガ東京aA1.!", "##い"]
JAPANESE = {
    "tokenizer_class": "BertJapaneseTokenizer",
    "word_tokenizer_type": "mecab",
    "subword_tokenizer_type": "character",
}
MODEL = "sentencepiece.bpe.model"
BYTES = [Piece(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]


def put(folder: Path, **files: dict) -> Path:
    """A folder with JSON files in it."""
    folder.mkdir(exist_ok=True)
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def with_bytes(folder: Path, **files: dict) -> Path:
    folder.mkdir(exist_ok=True)
    byte_level().model.save(str(folder))
    return put(folder, **files)


def with_words(folder: Path, words: list[str] | None = None, **files: dict) -> Path:
    folder.mkdir(exist_ok=True)
    vocabulary = word_pieces().get_vocab()
    lines = words or sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return put(folder, **files)


def with_pieces(folder: Path, content: bytes | None = None, **files: dict) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / MODEL).write_bytes(model_file(table=charsmap(TABLE)) if content is None else content)
    return put(folder, **files)


def named(name: str, **config: object) -> dict[str, dict]:
    return {"tokenizer_config": {"tokenizer_class": f"{name}Tokenizer", **config}}


def tokens(tokenizer: Tokenizer, text: str) -> list[str | None]:
    return [*map(tokenizer.backend.id_to_token, tokenizer.encode(text))]


KINDS = {
    "RoBERTa": lambda folder: with_bytes(folder, **named("Roberta")),
    "GPT-2": lambda folder: with_bytes(folder, **named("GPT2")),
    "BERT": lambda folder: with_words(folder, **named("Bert")),
    "Japanese": lambda folder: with_words(folder, CHARACTERS, tokenizer_config=JAPANESE),
    "XLM-R": with_pieces,
    "MBart-50": lambda folder: with_pieces(folder, **named("MBart50")),
    "merging": lambda folder: with_pieces(folder, model_file(kind=2)),
    "bytes": lambda folder: with_pieces(
        folder, model_file([*PIECES, *BYTES], byte_fallback=True), **named("XLMRoberta")
    ),
    "LLaMA": lambda folder: with_pieces(
        folder, model_file([*PIECES, *BYTES], kind=2, byte_fallback=True), **named("Llama")
    ),
}


# Every kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_reads_back(tmp_path, kind):
    tokenizer = Tokenizer.from_pretrained(KINDS[kind](tmp_path / "source"))
    tokenizer.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
    }
    again = Tokenizer.from_pretrained(tmp_path / "saved")
    assert again.content == tokenizer.content
    assert again.all_special_ids == tokenizer.all_special_ids
    assert vars(again).keys() == vars(tokenizer).keys()
    assert [getattr(again, name) for name in vars(again) if name.endswith("_token")] == [
        getattr(tokenizer, name) for name in vars(again) if name.endswith("_token")
    ]
    for text in [*CORPUS, *TABLE, "東京 ガ a", "<s> [CLS]", " \n"]:
        ids = tokenizer.encode(text)
        assert again.encode(text) == ids
        assert again.decode(ids) == tokenizer.decode(ids)


def streams(tokenizer: Tokenizer, ids: list[int]) -> None:
    for skip in (False, True):
        decoder = StreamingDecoder(tokenizer, skip_special_tokens=skip)
        pieces = [*map(decoder.add, ids), decoder.finish()]
        assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=skip), ids


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_pieces_join_to_the_whole(tmp_path, kind):
    tokenizer = Tokenizer.from_pretrained(KINDS[kind](tmp_path / "source"))
    for text in [*CORPUS, "東京ß😀 é\n\n b"]:
        streams(tokenizer, tokenizer.encode(text))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"bytes", "LLaMA"}))
def test_streamed_nonsense_joins_too(tmp_path, kind):
    """Where unknown characters are bytes, one that is no text undoes those before it instead."""
    tokenizer = Tokenizer.from_pretrained(KINDS[kind](tmp_path / "source"))
    numbers = random.Random(0)
    for _ in range(200):
        narrow = numbers.choice([3, 12, len(tokenizer)])
        start = numbers.randrange(len(tokenizer) - narrow + 1)
        ids = [start + numbers.randrange(narrow) for _ in range(numbers.randrange(40))]
        streams(tokenizer, ids)


def test_a_tokenizer_json_goes_first(tmp_path):
    folder = with_pieces(with_words(with_bytes(tmp_path)))
    (folder / "tokenizer.json").write_text(byte_level().to_str())
    assert Tokenizer.from_pretrained(folder).content == byte_level().to_str().encode()


# Bytes: vocab.json and merges.txt


def test_bytes_as_in_the_json_of_the_same_vocabulary(tmp_path):
    made = Tokenizer.from_pretrained(with_bytes(tmp_path, **named("Roberta")))
    whole = Tokenizer(byte_level().to_str().encode())
    for text in CORPUS:
        assert made.encode(text) == whole.encode(text)
        assert made.decode(made.encode(text)) == whole.decode(whole.encode(text))
    roles = [made.bos_token_id, made.pad_token_id, made.eos_token_id, made.unk_token_id]
    assert [*roles, made.cls_token_id, made.sep_token_id] == [0, 1, 2, 3, 0, 2]
    assert made.vocab_size == whole.vocab_size


DECODER = {"model_type": "vision-encoder-decoder", "encoder": {"model_type": "vit"}}


@pytest.mark.parametrize(
    ("files", "framed"),
    [
        ({}, True),  # the vocabulary has <s> and </s>
        (named("Roberta"), True),
        ({"tokenizer_config": {"tokenizer_class": "BartTokenizerFast"}}, True),
        ({"tokenizer_config": {"tokenizer_class": "GPT2TokenizerFast"}}, False),
        ({"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast"}}, True),
        ({"config": {"model_type": "gpt2"}}, False),
        ({"config": {**DECODER, "decoder": {"model_type": "gpt2"}}}, False),
        ({"config": {**DECODER, "decoder": {"model_type": "trocr"}}}, True),
        ({"config": {**DECODER, "decoder": {"model_type": "bert"}}}, True),
        ({"config": {"tokenizer_class": "GPT2Tokenizer", "model_type": "trocr"}}, False),
        ({**named("Roberta"), "config": {"model_type": "gpt2"}}, True),
    ],
    ids=str,
)
def test_which_tokens_frame_bytes(tmp_path, files, framed):
    tokenizer = Tokenizer.from_pretrained(with_bytes(tmp_path, **files))
    ids = tokenizer.encode("the fox")
    assert (ids[0] == 0, ids[-1] == 2) == (framed, framed)


def test_bytes_without_frames_in_the_vocabulary_are_gpt2s(tmp_path):
    folder = with_bytes(tmp_path)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    renamed = {token.replace("<s>", "<|endoftext|>"): id for token, id in vocabulary.items()}
    tokenizer = Tokenizer.from_pretrained(put(folder, vocab=renamed))
    assert tokenizer.encode("", add_special_tokens=True) == []
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token) == (0, 0, None)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer(["a", ""], padding=True).input_ids[1] == [0]


def test_options_of_bytes(tmp_path):
    asked = named("GPT2", add_prefix_space=True, add_bos_token=True, add_eos_token=True)
    config = {**asked["tokenizer_config"], "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = Tokenizer.from_pretrained(with_bytes(tmp_path, tokenizer_config=config))
    plain = Tokenizer(byte_level().to_str().encode())
    assert tokenizer.encode("the fox") == plain.encode(" the fox")


def test_added_tokens_continue_the_vocabulary(tmp_path):
    """In transformers' order: by number, by role, as listed."""
    size = byte_level().get_vocab_size()
    listed = {"additional_special_tokens": ["<last>", "the", "<new>"]}
    config = {"mask_token": "<mask>", "image_token": "<i>", "pad_token": "[P]", **listed}
    older = {"mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False}}
    added = {"<sep/>": size + 1, "<s_answer>": size, "<last>": size + 2}
    folder = with_bytes(
        tmp_path, tokenizer_config=config, special_tokens_map=older, added_tokens=added
    )
    tokenizer = Tokenizer.from_pretrained(folder)
    ids = tokenizer.encode("<s_answer>x  <mask><last><sep/>", add_special_tokens=False)
    x = tokenizer.backend.token_to_id("x")
    assert ids == [size, x, size + 4, size + 2, size + 1]  # the mask takes the spaces before it
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<s_answer>x<sep/>"
    assert [tokenizer.pad_token_id, tokenizer.mask_token_id] == [size + 3, size + 4]
    assert [*map(tokenizer.backend.token_to_id, ["<i>", "<new>"])] == [size + 5, size + 6]
    assert tokenizer.backend.token_to_id("the") in tokenizer.skipped_ids
    assert (len(tokenizer), tokenizer.vocab_size) == (size + 7, size)


def test_a_numbered_token_may_be_between_the_others(tmp_path):
    folder = with_bytes(tmp_path)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    del vocabulary["<pad>"]
    put(
        folder, vocab=vocabulary, **named("Roberta", added_tokens_decoder={"1": {"content": "[P]"}})
    )
    config = {"added_tokens_decoder": {"1": {"content": "[P]", "special": True}}}
    put(folder, tokenizer_config={**config, "pad_token": "[P]"})
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.encode("[P]") == [0, 1, 2]
    assert tokenizer.pad_token_id == 1
    assert len(tokenizer) == len(vocabulary) + 1 + len(["<mask>"])


# Words: vocab.txt

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", "##c", ".", "do", "n't", "#x"]


def test_words_and_their_options(tmp_path):
    text = "Café 東京b. bc"
    folder = with_words(tmp_path, [*BERT, "cafe", "Café", "café", "東", "京"])
    expected = {
        (): ["cafe", "東", "京", "b", ".", "b", "##c"],
        ("do_lower_case",): ["Café", "東", "京", "b", ".", "b", "##c"],
        ("strip_accents",): ["café", "東", "京", "b", ".", "b", "##c"],
        ("tokenize_chinese_chars",): ["cafe", "[UNK]", ".", "b", "##c"],
    }
    for options, pieces in expected.items():
        put(folder, tokenizer_config=dict.fromkeys(options, False))
        assert tokens(Tokenizer.from_pretrained(folder), text) == ["[CLS]", *pieces, "[SEP]"]


def test_words_are_decoded_tidily(tmp_path):
    tokenizer = Tokenizer.from_pretrained(with_words(tmp_path, BERT))
    ids = [tokenizer.backend.token_to_id(word) for word in ["b", "##c", ".", "do", "n't"]]
    assert tokenizer.decode([2, *ids, 3]) == "[CLS] bc. don't [SEP]"
    assert tokenizer.decode([2, *ids, 3], skip_special_tokens=True) == "bc. don't"


def test_words_that_are_never_split(tmp_path):
    folder = with_words(tmp_path, BERT, **named("DistilBert", never_split=["#x", "absent"]))
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokens(tokenizer, "b #x b")[1:-1] == ["b", "#x", "b"]
    assert tokenizer.decode(tokenizer.encode("#x"), skip_special_tokens=True) == "#x"
    put(folder, **named("Electra"))
    assert "#x" not in tokens(Tokenizer.from_pretrained(folder), "b #x b")


def test_lines_end_as_on_any_system(tmp_path):
    folder = with_words(tmp_path, BERT)
    vocabulary = Tokenizer.from_pretrained(folder).backend.get_vocab()
    (folder / "vocab.txt").write_bytes(" \r\n".join(BERT).encode())
    assert Tokenizer.from_pretrained(folder).backend.get_vocab() == vocabulary


# Characters: the Japanese vocab.txt


def test_characters(tmp_path):
    tokenizer = Tokenizer.from_pretrained(
        with_words(tmp_path, CHARACTERS, tokenizer_config=JAPANESE)
    )
    normalized = tokens(tokenizer, "あ い\n東京　ｶﾞ Ａ①.犬")
    assert normalized == ["[CLS]", *"あい東京ガA1.", "[UNK]", "[SEP]"]
    ids = tokenizer.encode("東京!")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "東 京 !"
    assert tokenizer.decode([*ids[1:2], len(CHARACTERS) - 1]) == "東い"
    assert tokenizer.encode("[MASK]あ")[1] == 4


def test_options_of_characters(tmp_path):
    folder = with_words(tmp_path, CHARACTERS)
    put(folder, tokenizer_config={**JAPANESE, "do_lower_case": True, "do_word_tokenize": False})
    assert tokens(Tokenizer.from_pretrained(folder), "A a")[1:-1] == ["a", "[UNK]", "a"]
    put(folder, tokenizer_config={"subword_tokenizer_type": "character"})
    assert tokens(Tokenizer.from_pretrained(folder), "A a")[1:-1] == ["A", "a"]


def test_words_of_a_dictionary_are_refused(tmp_path):
    folder = with_words(tmp_path, CHARACTERS, **named("BertJapanese"))
    with pytest.raises(ConfigError, match="is 'wordpiece', which needs a Japanese dictionary"):
        Tokenizer.from_pretrained(folder)


# Errors


def refused(folder: Path, match: str, error: type[Exception] = CheckpointError) -> None:
    with pytest.raises(error, match=match):
        Tokenizer.from_pretrained(folder)


def test_no_file_at_all(tmp_path):
    put(tmp_path, config={})
    refused(tmp_path, r"no tokenizer: it holds config.json; expected tokenizer.json, or vocab.json")
    refused(tmp_path, "or one of sentencepiece.bpe.model, .*AutoTokenizer.from_pretrained")


def test_a_class_whose_files_are_not_there(tmp_path):
    folder = with_bytes(tmp_path)
    (folder / "merges.txt").unlink()
    refused(folder, "holds vocab.json; expected vocab.json and merges.txt for RobertaTokenizer")
    put(folder, **named("XLMRoberta"))
    refused(folder, "expected sentencepiece.bpe.model or .* for XLMRobertaTokenizer")


def test_a_class_that_is_not_known(tmp_path):
    folder = with_bytes(tmp_path, **named("Whisper"))
    refused(folder, "the tokenizer_class WhisperTokenizer is not built from other files")
    refused(folder, "expected one of Roberta, .*, or else a tokenizer.json")


def test_ids_that_are_not_one_to_a_token(tmp_path):
    folder = with_bytes(tmp_path)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    put(folder, vocab={**vocabulary, "the": 0})
    refused(folder, "gives the id 0 to '<s>' and to 'the'")
    put(folder, vocab={**vocabulary, "new": 5000})
    refused(folder, r"no token for the ids \d+ while the largest is 5000")
    for wrong in ("5", -1, True, None, 2**40):
        put(folder, vocab={**vocabulary, "x": wrong})
        refused(folder, "has 'x' without an id; expected tokens and whole numbers")
    put(folder, vocab={})
    refused(folder, "has no token without an id")
    (folder / "vocab.json").write_text("[]")
    refused(folder, "expected a JSON object", ConfigError)


def test_added_tokens_at_wrong_places(tmp_path):
    size = byte_level().get_vocab_size()
    folder = with_bytes(tmp_path, added_tokens={"<x>": 3})
    refused(folder, f"'<x>' the id 3, which is that of '<unk>'; expected {size}, its place")
    put(folder, added_tokens={"<x>": size + 1})
    refused(folder, f"'<x>' the id {size + 1}, and others below it have no token; expected {size}")
    put(folder, added_tokens={"the": size})
    refused(folder, f"'the' the id {size}, .*its place in or after the vocabulary")
    put(folder, added_tokens={"<x>": size, "<y>": size})
    refused(folder, f"added_tokens.json gives '<x>' and '<y>' one id, {size}")
    put(folder, added_tokens={"<x>": "many"})
    refused(folder, "an added token has the id 'many'; expected 0 or more", ConfigError)
    put(folder, tokenizer_config={"added_tokens_decoder": {"5": {"special": True}}})
    refused(folder, "an added token is .*; expected an object with its content", ConfigError)


def test_merges_of_another_vocabulary(tmp_path):
    folder = with_bytes(tmp_path)
    path = folder / "merges.txt"
    first = path.read_text().splitlines()[1]
    path.write_text(f"#version: 0.2\n{first}\n\nt qqq\n")
    refused(folder, "line 4 of .* is 't qqq', and the vocabulary has no 'qqq', 'tqqq'")
    for line in ("t", "t h e"):
        path.write_text(line)
        refused(folder, f"line 1 of .* is '{line}', .*expected two of its tokens")
    path.write_bytes(b"\xff")
    refused(folder, "merges.txt is not UTF-8")


def test_words_that_make_no_vocabulary(tmp_path):
    folder = with_words(tmp_path, ["[UNK]", "a", "b", "a"])
    refused(folder, "vocab.txt has 'a' in several lines; expected each token once, or else")
    (folder / "vocab.txt").write_bytes(b"")
    refused(folder, "vocab.txt is empty")
    (folder / "vocab.txt").write_bytes("é".encode("latin-1"))
    refused(folder, "vocab.txt is not UTF-8")
    with_words(folder, ["a", "b"])
    refused(folder, r"vocab.txt has no '\[UNK\]'; expected the unk_token")


def test_values_that_no_pipeline_takes(tmp_path):
    folder = with_words(tmp_path, tokenizer_config={"do_lower_case": "yes"})
    refused(folder, "cannot be read as a tokenizer .*download it again")


@pytest.mark.parametrize("name", ["RoFormer", "GPTSw3"])
@pytest.mark.parametrize("by_type", [True, False])
def test_classes_that_are_not_built(tmp_path, name, by_type):
    """By their name or by the decoder's type: with another class the text would be misread."""
    types = {"RoFormer": "roformer", "GPTSw3": "gpt-sw3"}
    files = {"config": {"decoder": {"model_type": types[name]}}} if by_type else named(name)
    put_files = with_words if name == "RoFormer" else with_pieces
    refused(
        put_files(tmp_path, **files), f"tokenizer_class {name}Tokenizer is not built from other"
    )


def test_words_with_shapes_and_sounds(tmp_path):
    """RoCBERT's: BERT's but for the spaces before punctuation, which stay."""
    by_type = {"config": {"decoder": {"model_type": "roc_bert"}}}
    for files in (named("RoCBert"), by_type):
        tokenizer = Tokenizer.from_pretrained(with_words(tmp_path, BERT, **files))
        ids = [tokenizer.backend.token_to_id(word) for word in ["b", "##c", "."]]
        assert tokenizer.encode("bc.") == [2, *ids, 3]
        assert tokenizer.decode(ids) == "bc ."
        (tmp_path / "tokenizer_config.json").unlink(missing_ok=True)
