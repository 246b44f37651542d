"""Models with another vocabulary, opened by transformers: the same logits, tokens and texts."""

from __future__ import annotations

import shutil

import mlx.core as mx
import pytest

from mlx_vedec import Processor
from mlx_vedec.reading.vocabularies import new_vocabulary, shrink_vocabulary
from mlx_vedec.text.shrinking import shrink_vocabulary as shrunk
from mlx_vedec.text.tokenizer import Tokenizer
from mlx_vedec.text.vocabularies import learn_vocabulary
from tests.parity.reference import close, image, one_thread, pair, torch, transformers
from tests.text.test_vocabularies import HARD, KINDS, TEXTS, bert, gpt2, pieces, roberta

PLAIN = [*TEXTS[:4], *HARD[:2], *HARD[3:-1]]  # each letter in one normal form
UNTIED = {"tie_word_embeddings": False}
DECODERS = {
    "trocr": ("TrOCR", {}, roberta),
    "trocr, untied": ("TrOCR", UNTIED, pieces),
    "bart": ("Bart", {}, roberta),  # whose other half has a bias of the logits
    "marian": ("Marian", {}, pieces),
    "mbart": ("MBart", {"scale_embedding": True}, pieces),
    "bert": ("Bert", {}, bert),
    "roberta, untied": ("Roberta", UNTIED, roberta),
    "rembert": ("RemBert", {}, pieces),
    "gpt2": ("GPT2", {}, gpt2),
}


def opened(folder, model, processor):
    """What was saved, as transformers reads it."""
    model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(folder).eval()
    return theirs, transformers.AutoTokenizer.from_pretrained(folder)


def logits_of(theirs, ids):
    x, _ = image(theirs, 1)
    with torch.no_grad():
        return theirs(pixel_values=x, decoder_input_ids=torch.tensor([ids])).logits


def made(folder, name):
    """Their model, and ours with a tokenizer that has as many tokens."""
    stem, changes, kind = DECODERS[name]
    processor = Processor(tokenizer=kind())
    size = len(processor.tokenizer)
    ids = {"pad_token_id": size - 1, "decoder_start_token_id": size - 1} if name == "marian" else {}
    if name == "gpt2":
        ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), size - 1)
    return *pair(folder, decoder=(stem, {**changes, **ids, "vocab_size": size})), processor


@pytest.mark.parametrize("name", DECODERS)
def test_shrunk(tmp_path, name):
    """Of the tokens that are left, logits are what transformers gave before."""
    theirs, ours, processor = made(tmp_path / "base", name)
    old = processor.tokenizer
    vocabulary = shrink_vocabulary(ours, processor, PLAIN[:1])
    after, tokenizer = opened(tmp_path / "new", ours, processor)
    before = old.encode(PLAIN[0], add_special_tokens=False)[:8]
    ids = tokenizer.encode(PLAIN[0], add_special_tokens=False)[:8]
    assert ids == processor.tokenizer.encode(PLAIN[0], add_special_tokens=False)[:8] != before
    assert after.config.decoder.vocab_size == len(vocabulary.sources) < len(old)
    left = list(vocabulary.sources)
    close(mx.array(logits_of(after, ids).numpy()), logits_of(theirs, before)[..., left])


@pytest.mark.parametrize("name", DECODERS)
def test_learned(tmp_path, name):
    _, ours, processor = made(tmp_path / "base", name)
    vocabulary = new_vocabulary(ours, processor, PLAIN)
    assert vocabulary.new > 10
    theirs, tokenizer = opened(tmp_path / "new", ours, processor)
    x, y = image(theirs, 1)
    ids = tokenizer.encode(PLAIN[0], add_special_tokens=False)[:8]
    close(ours(y, mx.array([ids])).logits, logits_of(theirs, ids))
    with torch.no_grad(), one_thread():
        expected = theirs.generate(x, max_length=12, do_sample=False)
    tokens = ours.generate(y, max_length=12)
    assert tokens.tolist() == expected.tolist()
    assert processor.batch_decode(tokens) == tokenizer.batch_decode(expected)


def same_texts(ours: Tokenizer, theirs, texts) -> None:
    for text in texts:
        ids = ours.encode(text)
        assert theirs(text).input_ids == ids
        for skip in (True, False):
            assert theirs.decode(ids, skip) == ours.decode(ids, skip)
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(theirs, f"{role}_token_id") == getattr(ours, f"{role}_token_id"), role


def check_tokenizer(old: Tokenizer, folder) -> None:
    """As it is saved, transformers cuts and joins texts as ours does."""
    for make in (learn_vocabulary, shrunk):
        new = make(old, PLAIN).tokenizer
        new.save_pretrained(folder / make.__name__)
        theirs = transformers.AutoTokenizer.from_pretrained(folder / make.__name__)
        same_texts(new, theirs, PLAIN)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers(tmp_path, kind):
    check_tokenizer(kind(), tmp_path)


@pytest.mark.parametrize("name", ["bert-base-uncased", "manga-ocr", "nougat", "trocr-small"])
def test_published_tokenizers(shared, tmp_path, name):
    """Nougat's and BERT's roles are those that their classes give."""
    source = shutil.copytree(shared / "tokenizers" / name, tmp_path / "source")
    check_tokenizer(Tokenizer.from_pretrained(source), tmp_path)
