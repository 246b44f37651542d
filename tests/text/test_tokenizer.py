"""Tokens and text, with tokenizers made here and, where they are, real ones."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer as Backend, decoders, models, pre_tokenizers, processors, trainers

from mlx_vedec.errors import CheckpointError, OptionError, TokenError
from mlx_vedec.text.streaming import UNDECODED
from mlx_vedec.text.tokenizer import Tokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
CORPUS = ["the quick brown fox, isn't it?", "naïve café 東京 😀😀", "don't stop . it 's we 're"] * 4


def byte_level() -> Backend:
    """BPE over bytes, as RoBERTa and GPT-2 have it."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return backend


def word_pieces() -> Backend:
    """WordPiece, as BERT has it."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece("##", cleanup=True)
    backend.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=120,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
            show_progress=False,
        ),
    )
    return backend


def unigram() -> Backend:
    """SentencePiece's unigrams, as XLM-RoBERTa and Donut have them, with an added task token."""
    pieces = ["▁", "▁the", "fox", "▁don", "'", "t", "▁.", ".", "東", "😀", UNDECODED]
    vocabulary = [(piece, -float(rank)) for rank, piece in enumerate([*SPECIAL, *pieces])]
    backend = Backend(models.Unigram(vocabulary, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(SPECIAL)
    backend.add_tokens(["<s_answer>"])
    return backend


def byte_fallback() -> Backend:
    """Llama's way: unknown characters as one token per byte."""
    vocabulary = {"<unk>": 0, "▁a": 1, "b": 2, "▁": 3}
    vocabulary.update({f"<0x{byte:02X}>": 4 + byte for byte in range(256)})
    backend = Backend(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = None
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backend


def single_characters() -> Backend:
    """One token for every character that cleaning up looks at."""
    vocabulary = {character: id for id, character in enumerate(" 'ntsverm.?!,x")}
    backend = Backend(models.WordLevel(vocabulary, unk_token="x"))
    backend.decoder = decoders.Fuse()
    return backend


def made(backend: Backend, **config: object) -> Tokenizer:
    return Tokenizer(backend.to_str().encode(), config)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return made(byte_level())


# encoding


def test_text_survives_the_round_trip(tokenizer):
    for text in [*CORPUS, "", " \n\t", "\0"]:
        ids = tokenizer.encode(text)
        assert (ids[0], ids[-1]) == (0, 2)
        assert tokenizer.encode(text, add_special_tokens=False) == ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer.decode(ids) == f"<s>{text}</s>"


def test_several_texts(tokenizer):
    texts = ["fox", "the quick"]
    short, long = map(tokenizer.encode, texts)
    missing = len(long) - len(short)
    assert missing > 0
    plain = tokenizer(texts)
    assert plain.input_ids == [short, long]
    assert plain["attention_mask"] == [[1] * len(short), [1] * len(long)]
    for padding in (True, "longest"):
        padded = tokenizer(texts, padding=padding)
        assert padded.input_ids == [short + [1] * missing, long]
        assert padded.attention_mask[0] == [1] * len(short) + [0] * missing
    wide = tokenizer(texts, padding="max_length", max_length=len(long) + 2)
    assert wide.input_ids[1] == [*long, 1, 1]
    assert tokenizer([]).input_ids == []


def test_padding_on_the_left():
    left = made(byte_level(), padding_side="left")
    padded = left("a", padding="max_length", max_length=5)
    assert padded.input_ids == [1, 1, *left.encode("a")]
    assert padded.attention_mask == [0, 0, 1, 1, 1]


def test_truncation_keeps_the_special_tokens(tokenizer):
    ids = tokenizer.encode("xyzxyz")
    assert len(ids) == 8
    assert tokenizer("xyzxyz", truncation=True, max_length=5).input_ids == [*ids[:4], 2]
    cut = tokenizer("xyzxyz", truncation=True, max_length=5, add_special_tokens=False)
    assert cut.input_ids == ids[1:6]
    assert tokenizer("xyzxyz", max_length=5).input_ids == ids


def test_settings_inside_the_file_do_not_truncate_or_pad():
    backend = byte_level()
    backend.enable_truncation(3)
    backend.enable_padding(length=20)
    tokenizer = made(backend)
    assert len(tokenizer.encode("xyzxyz")) == 8
    assert tokenizer("xyzxyz", padding=True).input_ids == tokenizer.encode("xyzxyz")


def test_options_that_mean_nothing(tokenizer):
    with pytest.raises(OptionError, match="padding is 'left'; expected one of"):
        tokenizer("a", padding="left")
    for options in ({"truncation": True}, {"padding": "max_length"}):
        with pytest.raises(OptionError, match="give max_length"):
            tokenizer("a", **options)


def test_padding_without_a_token_for_it():
    tokenizer = made(byte_level(), pad_token=None)
    assert tokenizer(["fox", "fox"], padding=True).input_ids[0] == tokenizer.encode("fox")
    with pytest.raises(TokenError, match="tokenizer.pad_token = tokenizer.eos_token"):
        tokenizer(["fox", "the quick"], padding=True)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer(["fox", "the quick"], padding=True).input_ids[0][-1] == 2


# decoding


def test_ids_of_every_kind(tokenizer):
    ids = tokenizer.encode("fox")
    arrays = [np.array(ids), mx.array(ids)]
    for given in (ids, tuple(ids), *arrays, *map(list, arrays)):
        assert tokenizer.decode(given, skip_special_tokens=True) == "fox"
    [letter] = tokenizer.encode("x", add_special_tokens=False)
    assert tokenizer.decode(letter) == tokenizer.decode(np.int64(letter)) == "x"
    for rows in ([ids, ids[:1]], np.array([ids, ids]), mx.array([ids, ids]), [mx.array(ids)]):
        assert tokenizer.batch_decode(rows, skip_special_tokens=True)[0] == "fox"
    with_special = tokenizer.batch_decode([ids])
    assert with_special == ["<s>fox</s>"]


def test_ids_that_are_no_tokens_are_named(tokenizer):
    for bad in ([5, -100], np.array([5, 2**40])):
        with pytest.raises(TokenError, match=rf"{bad[-1]} are no ids of tokens.*replace -100"):
            tokenizer.decode(bad)


def test_ids_past_the_vocabulary_have_no_text(tokenizer):
    """A model's head may be wider than its tokenizer; transformers drops such ids too."""
    ids = tokenizer.encode("the fox", add_special_tokens=False)
    assert tokenizer.decode([*ids, len(tokenizer) + 3]) == tokenizer.decode(ids)


def test_ids_that_are_no_row_of_integers(tokenizer):
    for bad in ([[1, 2]], [1.5], "ab", mx.array([[1, 2]])):
        with pytest.raises(TokenError, match="expected one row of integers; several rows go to"):
            tokenizer.decode(bad)


def test_spaces_are_cleaned_up_only_where_asked():
    spaced = "a . ? ! , ' n't 'm 's 've 're"
    tight = "a.?!,'n't'm's've're"
    plain, cleaning = (
        made(single_characters(), clean_up_tokenization_spaces=flag) for flag in (False, True)
    )
    vocabulary = plain.backend.get_vocab()
    ids = [vocabulary[character] for character in spaced.replace("a", "x")]
    assert plain.decode(ids) == spaced.replace("a", "x")
    assert cleaning.decode(ids) == tight.replace("a", "x")
    assert plain.decode(ids, clean_up_tokenization_spaces=True) == cleaning.decode(ids)
    assert cleaning.decode(ids, clean_up_tokenization_spaces=False) == plain.decode(ids)


def test_spaces_of_bpe_models_are_never_cleaned_up():
    tokenizer = made(byte_level(), clean_up_tokenization_spaces=True)
    assert tokenizer.decode(tokenizer.encode("a . b 's"), True, True) == "a . b 's"


# special tokens


def test_special_tokens_come_from_the_config():
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None}
    tokenizer = made(byte_level(), **config, cls_token="[nowhere]")
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<s>", 0)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("</s>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (None, None)
    assert (tokenizer.cls_token, tokenizer.cls_token_id) == (None, None)
    assert tokenizer.all_special_ids == [0, 1, 2, 3]


def test_without_a_config_customary_names_are_used():
    tokenizer = made(byte_level())
    ids = [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id]
    assert [*ids, tokenizer.unk_token_id] == [0, 1, 2, 3]
    assert (tokenizer.sep_token, tokenizer.mask_token) == (None, None)
    assert made(word_pieces()).sep_token_id == 3
    assert made(single_characters()).pad_token is None


def test_named_tokens_become_special():
    backend = byte_level()
    plain = json.loads(backend.to_str())
    plain["added_tokens"] = []
    content = json.dumps(plain).encode()
    assert Tokenizer(content).all_special_ids == []
    named = Tokenizer(content, {"eos_token": "</s>", "additional_special_tokens": ["<pad>"]})
    assert named.all_special_ids == [1, 2]
    assert named.decode([1, 2], skip_special_tokens=True) == ""
    by_name = Tokenizer(content, {"extra_special_tokens": {"image_token": {"content": "<s>"}}})
    assert by_name.all_special_ids == [0]


def test_added_tokens_stay_as_they_are():
    """Donut's task tokens are named among the special ones, and yet decoded."""
    tokenizer = made(unigram(), additional_special_tokens=["<s_answer>"])
    ids = tokenizer.encode("<s_answer>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<s_answer>"
    assert set(tokenizer.all_special_ids) - set(tokenizer.skipped_ids) == set(ids)


def test_sizes_count_added_tokens_apart():
    tokenizer = made(unigram())
    assert len(tokenizer) == tokenizer.vocab_size + 1


# files


def save(folder, backend: Backend, **files: dict) -> None:
    (folder / "tokenizer.json").write_text(backend.to_str())
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))


def test_the_older_file_counts_where_the_config_has_no_added_tokens(tmp_path):
    older = {"eos_token": {"content": "<s>"}, "additional_special_tokens": [{"content": "the"}]}
    save(tmp_path, byte_level(), tokenizer_config={"eos_token": "</s>"}, special_tokens_map=older)
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.eos_token == "<s>"
    assert tokenizer.backend.token_to_id("the") in tokenizer.all_special_ids
    save(tmp_path, byte_level(), special_tokens_map={**older, "extra_special_tokens": {}})
    assert Tokenizer.from_pretrained(tmp_path).eos_token == "<s>"
    newer = {"eos_token": "</s>", "added_tokens_decoder": {}}
    save(tmp_path, byte_level(), tokenizer_config=newer)
    assert Tokenizer.from_pretrained(tmp_path).eos_token == "</s>"


def test_saving(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.mkdir()
    save(source, byte_level(), tokenizer_config={"model_max_length": 64, "pad_token": "<pad>"})
    tokenizer = Tokenizer.from_pretrained(source)
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(target)
    assert (target / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    written = json.loads((target / "tokenizer_config.json").read_text())
    assert written == {"model_max_length": 64, "pad_token": "</s>"}
    assert Tokenizer.from_pretrained(target).pad_token_id == 2
    assert len([*target.iterdir()]) == 2
    tokenizer.save_pretrained(source)
    assert Tokenizer.from_pretrained(source).pad_token_id == 2


def test_saving_without_a_config_writes_none(tmp_path):
    made(byte_level()).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer: it holds nothing; expected"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a Hub id"):
        Tokenizer.from_pretrained(tmp_path / "none")


def test_a_broken_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CheckpointError, match="cannot be read as.*download it again"):
        Tokenizer.from_pretrained(tmp_path)


# real files


def test_reference_texts(shared):
    folder = shared / "checkpoints" / "tiny-ocr"
    tokenizer = Tokenizer.from_pretrained(folder)
    images = json.loads((folder / "reference_outputs.json").read_text())["images"]
    assert len(images) == 50
    for image in images:
        ids, text = image["greedy"]["ids"], image["greedy"]["text"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer.encode(text, add_special_tokens=False) == ids[1:-1]
