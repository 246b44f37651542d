"""Vocabularies learned from texts, and those shrunk to what texts need."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer as Backend,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

from mlx_vedec.errors import DataError, OptionError, TokenError
from mlx_vedec.reading.load import BUNDLED
from mlx_vedec.text.shrinking import shrink_vocabulary
from mlx_vedec.text.tokenizer import Tokenizer
from mlx_vedec.text.vocabularies import learn_vocabulary
from tests.text.test_tokenizer import CORPUS, byte_level, word_pieces

WORDS = ["the", "quick", "brown", "fox", "naïve", "café", "is", "it", "don't", "東京", "'re", "?"]
TEXTS = [" ".join(np.random.default_rng(seed).choice(WORDS, 6)) for seed in range(20)]
HARD = [
    "  two  spaces ",
    "tab\tand\nline",
    "e\u0301 and é",  # one letter in both normal forms
    "क्षि नमस्ते",  # letters of several code points
    "שָׁלוֹם abc مرحبا",  # right to left, with marks
    "👩‍👩‍👧 flags 🇪🇺",
    "##a ▁b Ġ <unk> </w>",
]


def reader(backend: Backend, **config) -> Tokenizer:
    return Tokenizer(backend.to_str().encode(), config)


def gpt2() -> Tokenizer:
    """Bytes, and one special token for all roles, which is the last."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens(["<|end|>"])
    return reader(backend, **dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|end|>"))


def bert() -> Tokenizer:
    """Word pieces, whose special tokens lie between others, as BERT's do."""
    trained = json.loads(word_pieces().to_str())["model"]["vocab"]
    others = [token for token in trained if not token.startswith("[")]
    vocabulary = ["[PAD]", *others[:9], "[UNK]", "[CLS]", "[SEP]", *others[9:]]
    ids = {token: id for id, token in enumerate(vocabulary)}
    backend = Backend(models.WordPiece(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece("##")
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, ids[t]) for t in ("[CLS]", "[SEP]")]
    )
    return reader(backend, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")


def clip() -> Tokenizer:
    """BPE that marks the end of a word, as CLIP has it."""
    backend = Backend(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder("</w>")
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=140,
            special_tokens=["<unk>"],
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    return reader(backend)


def prefixed() -> Tokenizer:
    """BPE that marks what goes on with a word, as WordPiece does."""
    backend = Backend(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=140,
            special_tokens=["<unk>"],
            continuing_subword_prefix="##",
            show_progress=False,
        ),
    )
    return reader(backend)


def llama() -> Tokenizer:
    """BPE of characters, with bytes for those that are unknown."""
    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    all_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    backend.train_from_iterator(
        [text for text in CORPUS if text.isascii()],
        trainers.BpeTrainer(
            vocab_size=340, special_tokens=["<unk>", *all_bytes], show_progress=False
        ),
    )
    pipeline = json.loads(backend.to_str())
    pipeline["added_tokens"] = pipeline["added_tokens"][:1]  # bytes are no added tokens
    return Tokenizer(json.dumps(pipeline).encode(), {})


def pieces() -> Tokenizer:
    """SentencePiece's unigrams, trained, with a word that is added and not special."""
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=90,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    backend.add_tokens([AddedToken("<s_a>", normalized=False)])
    return reader(backend)


def words() -> Tokenizer:
    """A token for each letter, unknown ones as one token."""
    vocabulary = {token: id for id, token in enumerate(["<unk>", "</s>", *"abcdefghij "])}
    backend = Backend(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<unk>", "</s>"])
    return reader(backend)


def roberta() -> Tokenizer:
    return reader(byte_level())


KINDS = [roberta, gpt2, bert, clip, prefixed, llama, pieces, words]


# learned


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 130])
def test_what_is_encoded_decodes_to_itself(kind, size):
    """Whatever the characters are: nothing is normalized, cut off or joined."""
    texts = [*TEXTS, *HARD[:-1]]
    with pytest.warns(UserWarning, match="write é in two ways"):
        learned = learn_vocabulary(kind(), texts, size=size).tokenizer
    for text in texts:
        assert learned.decode(learned.encode(text), skip_special_tokens=True) == text
    assert size is None or len(learned) == size
    longest = max(map(len, learned.backend.get_vocab().keys() - {"<0x00>"}))
    assert size is None or longest > 2
    alone = learned.encode(TEXTS[0], add_special_tokens=False)
    assert (len(alone) == len(TEXTS[0])) is (size is None)


def test_marks_of_a_tokenizer_are_text_in_a_text():
    learned = learn_vocabulary(bert(), HARD[-1:]).tokenizer
    assert learned.decode(learned.encode("##a ▁b Ġ"), skip_special_tokens=True) == "##a ▁b Ġ"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (roberta, {" ": "Ġ", "t": "t", "é": "Ã©", "ü": None}),  # of ü there are only bytes
        (bert, {"t": "##t", "q": "q", " ": None, "é": "##é"}),
        (clip, {"t": "t", "?": "?", " ": None}),
        (pieces, {" ": "▁", "t": "t"}),
        (words, {" ": " ", "a": "a", "z": None}),
    ],
)
def test_tokens_that_exist_are_known_by_their_text(kind, expected):
    """Of a letter within a word and one that begins one, the first counts."""
    old = kind()
    learned = learn_vocabulary(old, [*CORPUS, "azü"])
    for piece, token in expected.items():
        source = learned.sources[learned.tokenizer.backend.token_to_id(piece)]
        assert source == (None if token is None else old.backend.token_to_id(token)), piece
    assert learned.new == learned.sources.count(None)


def test_marks_that_a_tokenizer_does_not_have_are_text():
    """Two hashes in SentencePiece's vocabulary are no mark of a word that goes on."""
    scored = [("<unk>", 0.0), ("a", -1.0), ("##a", -2.0), ("▁a", -3.0), ("a</w>", -4.0)]
    learned = learn_vocabulary(reader(Backend(models.Unigram(scored, unk_id=0))), ["a a"], size=9)
    ids = learned.tokenizer.backend.get_vocab()
    assert {token: learned.sources[id] for token, id in ids.items()} == {
        " ": None,
        "a": 1,
        " a": 3,
        "<unk>": 0,
    }


def test_longer_tokens_that_exist_are_known_too():
    old = gpt2()
    learned = learn_vocabulary(old, CORPUS, size=300)
    shared = {" quick": "Ġquick", "the": "the"}
    for piece, token in shared.items():
        id = learned.tokenizer.backend.token_to_id(piece)
        assert old.backend.token_to_id(token) == learned.sources[id] is not None


def test_special_tokens_keep_their_ids():
    """BERT's, with the tokens of texts around them; and the frame of a text is as it was."""
    old, learned = bert(), learn_vocabulary(bert(), TEXTS).tokenizer
    for role in ("pad_token_id", "unk_token_id", "cls_token_id", "sep_token_id"):
        assert getattr(learned, role) == getattr(old, role)
    assert learned.encode("x")[0] == 11 and learned.encode("x")[-1] == 12
    assert sorted(learned.backend.get_vocab().values()) == [*range(len(learned))]


def test_special_tokens_beyond_the_end_move_to_it():
    learned = learn_vocabulary(gpt2(), ["ab"])
    assert learned.tokenizer.backend.get_vocab() == {"a": 0, "b": 1, "<|end|>": 2, "<unk>": 3}
    assert learned.sources[2] == gpt2().eos_token_id
    assert learned.tokenizer.eos_token_id == 2 and learned.tokenizer.bos_token == "<|end|>"


def test_the_frame_of_a_text_moves_with_its_tokens():
    pipeline = json.loads(gpt2().content)
    end = gpt2().eos_token_id
    frame = processors.RobertaProcessing(("<|end|>", end), ("<|end|>", end))
    backend = Backend.from_str(json.dumps(pipeline))
    backend.post_processor = processors.Sequence([processors.ByteLevel(), frame])
    for make in (learn_vocabulary, shrink_vocabulary):
        made = make(reader(backend), ["ab"]).tokenizer
        row, end = made.encode("ab"), made.backend.token_to_id("<|end|>")
        assert (row[0], row[-1]) == (end, end) and made.decode(row) == "<|end|>ab<|end|>"


def test_a_token_that_ends_no_word_is_the_letter():
    ids = {"<unk>": 0, "a</w>": 1, "a": 2, "b</w>": 3}
    model = models.BPE(ids, [], unk_token="<unk>", end_of_word_suffix="</w>")
    learned = learn_vocabulary(reader(Backend(model)), ["ab"])
    assert learned.sources == (0, 2, 3)


def test_a_token_for_unknown_text_is_for_nothing_else():
    """GPT-2's ends a text: learned as a label it would end it in the middle."""
    learned = learn_vocabulary(gpt2(), ["ab"]).tokenizer
    assert learned.encode("axb") == [0, learned.unk_token_id, 1] == [0, 3, 1]
    assert learn_vocabulary(bert(), ["ab"]).tokenizer.unk_token == "[UNK]"


def test_added_tokens_stay_whole_and_are_not_learned_from():
    learned = learn_vocabulary(pieces(), ["x<s_a>y"]).tokenizer
    assert learned.backend.encode("x<s_a>y").tokens == ["x", "<s_a>", "y"]
    assert {"<", "_", "a"}.isdisjoint(learned.backend.get_vocab())


def test_a_named_id_is_kept_and_one_without_a_token_refused():
    old = words()
    named = old.backend.token_to_id("j")
    learned = learn_vocabulary(old, ["ab"], named={named})
    assert learned.sources[learned.tokenizer.backend.token_to_id("j")] == named
    for make in (learn_vocabulary, shrink_vocabulary):
        with pytest.raises(TokenError, match=r"would be lost: .* name the id 99, .* 13 tokens"):
            make(old, ["ab"], named={99})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "there are 0 texts and no characters in them"),
        (["", "  "], "there are 2 texts and no characters in them"),
        ("abc", "the texts are 'abc'; expected a list of texts"),
        (5, "the texts are 5; expected a list"),
        (["a", "b\udc80"], r"text 1 is 'b\\udc80'; expected characters, and no half of one"),
        (["a", None], "text 1 is None"),
    ],
)
def test_texts_that_nothing_can_be_learned_from(texts, message):
    for make in (learn_vocabulary, shrink_vocabulary):
        with pytest.raises(DataError, match=message):
            make(roberta(), texts)


def test_a_size_below_what_the_texts_need():
    message = "vocabulary_size is 6; expected 7 or more: the texts have 3 characters, and 4 tokens"
    with pytest.raises(OptionError, match=message):
        learn_vocabulary(roberta(), ["abc"], size=6)
    assert len(learn_vocabulary(roberta(), ["abc"], size=7).tokenizer) == 7
    assert len(learn_vocabulary(roberta(), ["abc"], size=10**30).tokenizer) < 12


def test_other_vocabularies_are_saved_whole(tmp_path):
    """With roles that a class or a caller gave, and the ids of added tokens that a config lists."""
    old = Tokenizer.from_pretrained(BUNDLED)
    old.config |= {"added_tokens_decoder": {"3": {"content": "<unk>"}}, "tokenizer_class": "Other"}
    old.sep_token = "</s>"
    for number, made in enumerate((learn_vocabulary(old, ["ab"]), shrink_vocabulary(old, ["ab"]))):
        made.tokenizer.save_pretrained(tmp_path / str(number))
        again = Tokenizer.from_pretrained(tmp_path / str(number))
        assert again.content == made.tokenizer.content
        assert again.sep_token_id == 2 and again.encode("ab") == made.tokenizer.encode("ab")
        assert sorted(again.config["added_tokens_decoder"]) == ["0", "1", "2", "3"]
        assert again.config["tokenizer_class"] == "PreTrainedTokenizerFast"


# shrunk


@pytest.mark.parametrize("kind", KINDS)
def test_texts_become_the_same_tokens(kind):
    """And are read back as the same texts, whether the tokenizer knows their characters or not."""
    old, texts = kind(), [*TEXTS[:3], *HARD]
    shrunk = shrink_vocabulary(old, texts)
    new = shrunk.tokenizer
    assert len(new) == len(shrunk.sources) < len(old)
    for text in texts:
        before, after = old.encode(text), new.encode(text)
        assert [shrunk.sources[id] for id in after] == before
        assert new.decode(after) == old.decode(before)
        both = (
            reader.decode(reader.encode(text), skip_special_tokens=True) for reader in (old, new)
        )
        assert len({*both}) == 1
    assert new.unk_token == old.unk_token and new.eos_token == old.eos_token


@pytest.mark.parametrize("kind", [roberta, bert, llama, pieces])
def test_other_texts_are_spelled_with_the_letters_that_are_left(kind):
    new = shrink_vocabulary(kind(), ["the fox don't stop"]).tokenizer
    assert new.decode(new.encode("foe hot"), skip_special_tokens=True).strip() == "foe hot"


def test_bytes_spell_every_text():
    new = shrink_vocabulary(roberta(), ["the"]).tokenizer
    assert new.decode(new.encode("東京 fox"), skip_special_tokens=True) == "東京 fox"
    assert len(new) == 4 + 256 + 2  # special ones, bytes, "th" and "the"


def test_a_word_that_was_unknown_still_is():
    """Its first letters fit a token; without that, shorter ones would fit all of it."""
    vocabulary = ["[UNK]", "ab", "a", "##b", "##bc", "##d", "x"]
    ids = {token: id for id, token in enumerate(vocabulary)}
    backend = Backend(models.WordPiece(ids, unk_token="[UNK]"))
    old = reader(backend)
    assert old.backend.encode("abc").tokens == ["[UNK]"]
    new = shrink_vocabulary(old, ["abc", "xbc"]).tokenizer.backend
    assert new.encode("abc").tokens == ["[UNK]"] and "##d" not in new.get_vocab()


def test_unknown_characters_score_as_before():
    """By the lowest score there is: higher, and the word would be cut beside it."""
    scored = [("<unk>", 0.0), ("ab", -9.0), ("b", -1.0), ("c", -1.0), ("zz", -50.0)]
    old = reader(Backend(models.Unigram(scored, unk_id=0)))
    shrunk = shrink_vocabulary(old, ["ab", "c"])
    assert shrunk.tokenizer.backend.encode("ab").tokens == ["ab"]
    assert shrunk.tokenizer.backend.token_to_id("zz") is not None


def test_a_tokenizer_that_cuts_at_random_is_refused():
    pipeline = json.loads(byte_level().to_str())
    pipeline["model"]["dropout"] = 0.5
    with pytest.raises(TokenError, match="would be cut in another way; expected a tokenizer with"):
        shrink_vocabulary(Tokenizer(json.dumps(pipeline).encode()), CORPUS * 9)


def test_merges_of_older_files_are_one_text_each():
    pipeline = json.loads(byte_level().to_str())
    pipeline["model"]["merges"] = [" ".join(merge) for merge in pipeline["model"]["merges"]]
    old = Tokenizer(json.dumps(pipeline).encode())
    new = shrink_vocabulary(old, ["the quick"]).tokenizer
    assert new.backend.encode("the quick").tokens == old.backend.encode("the quick").tokens


PUBLISHED = ["bert-base-uncased", "trocr-small", "manga-ocr"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tokenizers(shared, tmp_path, name):
    source = shutil.copytree(shared / "tokenizers" / name, tmp_path / name)
    old, texts = Tokenizer.from_pretrained(source), [*TEXTS, *HARD[:-1]]
    shrunk = shrink_vocabulary(old, texts)
    assert len(shrunk.tokenizer) < 450
    for text in texts:
        assert [shrunk.sources[id] for id in shrunk.tokenizer.encode(text)] == old.encode(text)
    with pytest.warns(UserWarning, match="in two ways"):
        learned = learn_vocabulary(old, texts).tokenizer
    assert len(learned) < 150
    for text in texts:
        assert learned.decode(learned.encode(text), skip_special_tokens=True) == text
