"""Tokens, text and both parts as one against transformers, through the folders each of us saves."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import transformers  # noqa: E402
from transformers import (  # noqa: E402
    DonutImageProcessorPil,
    NougatImageProcessorPil,
    PreTrainedTokenizerFast,
    TrOCRProcessor,
    ViTImageProcessorPil,
)

import mlx_vedec  # noqa: E402
from mlx_vedec import Processor  # noqa: E402
from mlx_vedec.text.tokenizer import Tokenizer  # noqa: E402
from tests.parity.test_image_processors import noise  # noqa: E402
from tests.text import test_tokenizer as test_text  # noqa: E402
from tests.text.test_tokenizer import CORPUS, save  # noqa: E402

# tokens


def both(folder) -> tuple[Tokenizer, PreTrainedTokenizerFast]:
    return Tokenizer.from_pretrained(folder), PreTrainedTokenizerFast.from_pretrained(folder)


# What builds a tokenizer, and two of its tokens. A token that is not in the vocabulary we do not
# have, while transformers appends it, beyond the end of the model's embedding.
BACKENDS = {
    "byte_level": ("</s>", "the"),
    "word_pieces": ("[SEP]", "the"),
    "unigram": ("</s>", "<s_answer>"),  # which is added, and not special
    "byte_fallback": ("b", "▁a"),
}
FILES = {
    "plain": lambda end, word: {},
    "named": lambda end, word: {"tokenizer_config": {"pad_token": end, "cls_token": word}},
    "cleaned": lambda end, word: {"tokenizer_config": {"clean_up_tokenization_spaces": True}},
    "extra": lambda end, word: {"tokenizer_config": {"extra_special_tokens": {"x_token": word}}},
    "older": lambda end, word: {
        "tokenizer_config": {"eos_token": word},
        "special_tokens_map": {
            "eos_token": {"content": end, "lstrip": False, "rstrip": False},
            "additional_special_tokens": [word],
        },
    },
}
OPTIONS = [
    {"add_special_tokens": special, "padding": padding, "truncation": cut, "max_length": 7}
    for special, padding, cut in itertools.product(
        (True, False), (False, True, "max_length"), (True, False)
    )
    if cut or padding == "max_length"
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("files", FILES)
def test_tokens_and_texts_are_the_same(tmp_path, backend, files):
    save(tmp_path, getattr(test_text, backend)(), **FILES[files](*BACKENDS[backend]))
    ours, theirs = both(tmp_path)
    assert (len(ours), ours.vocab_size) == (len(theirs), theirs.vocab_size)
    for role, token in theirs.special_tokens_map.items():
        assert not role.startswith(("pad", "eos", "cls")) or getattr(ours, role) == token
    assert set(theirs.all_special_ids) <= set(ours.all_special_ids)
    for text in [*CORPUS, "the fox</s> .", ""]:
        for special in (True, False):
            expected = theirs.encode(text, add_special_tokens=special)
            assert ours.encode(text, add_special_tokens=special) == expected
    numbers = random.Random(0)
    for _ in range(50):
        ids = [numbers.randrange(len(ours)) for _ in range(30)]
        for skip, clean in itertools.product((True, False), (True, False, None)):
            expected = theirs.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean
            )
            assert ours.decode(ids, skip, clean) == expected


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_padding_and_truncation_are_the_same(tmp_path, side, options):
    config = {"pad_token": "<pad>", "padding_side": side}
    save(tmp_path, test_text.byte_level(), tokenizer_config=config)
    ours, theirs = both(tmp_path)
    result, expected = (read(CORPUS[:3], **options) for read in (ours, theirs))
    assert result.input_ids == expected["input_ids"]
    assert result.attention_mask == expected["attention_mask"]


@pytest.mark.parametrize(
    "name", ["checkpoints/tiny-ocr", "tokenizers/manga-ocr", "tokenizers/nougat"]
)
def test_real_tokenizers_are_read_alike(shared, name):
    ours, theirs = both(shared / name)
    named = theirs.special_tokens_map
    assert {role: getattr(ours, role) for role in named} == named
    assert set(theirs.all_special_ids) <= set(ours.all_special_ids)
    numbers = random.Random(0)
    for _ in range(50):
        ids = [numbers.randrange(len(ours)) for _ in range(60)]
        text = theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids, skip_special_tokens=True) == text
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.encode(text) == theirs.encode(text)


# both

KINDS = {
    "TrOCRProcessor": lambda: ViTImageProcessorPil(size={"height": 32, "width": 384}),
    "DonutProcessor": lambda: DonutImageProcessorPil(size={"height": 96, "width": 64}),
    "NougatProcessor": lambda: NougatImageProcessorPil(size={"height": 96, "width": 64}),
}


def assembled(kind: str, source):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
    return getattr(transformers, kind)(KINDS[kind](), tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_saves_as_one_file(shared, tmp_path, kind):
    theirs = assembled(kind, shared / "checkpoints" / "tiny-ocr")
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    ours = Processor.from_pretrained(tmp_path)
    assert type(ours) is getattr(mlx_vedec, kind)
    same_batches(ours, theirs)
    other = getattr(mlx_vedec, kind)(
        mlx_vedec.ImageProcessor.from_pretrained(tmp_path), Tokenizer.from_pretrained(tmp_path)
    )
    same_batches(other, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_save_as_a_class(shared, tmp_path, kind):
    source = shared / "checkpoints" / "tiny-ocr"
    theirs = assembled(kind, source)
    ours = getattr(mlx_vedec, kind)(
        mlx_vedec.ImageProcessor.from_dict(theirs.image_processor.to_dict()),
        Tokenizer.from_pretrained(source),
    )
    ours.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert written["processor_class"] == kind
    same_batches(Processor.from_pretrained(tmp_path), theirs)
    read = getattr(transformers, kind).from_pretrained(tmp_path, backend="pil")
    same_batches(ours, read)


def test_what_we_save(shared, tmp_path):
    source = shared / "checkpoints" / "tiny-ocr"
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, tmp_path / name)
    ours = Processor.from_pretrained(tmp_path)
    ours.image_processor.line_aspect_ratio = 12.0
    ours.save_pretrained(tmp_path / "ours")
    theirs = TrOCRProcessor(
        ViTImageProcessorPil.from_pretrained(tmp_path / "ours"),
        PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours"),
    )
    same_batches(ours, theirs)


def same_batches(ours: Processor, theirs) -> None:
    images, texts = [noise(300, 25), noise(600, 50)], ["a line", "another, longer line"]
    for overrides in ({}, {"do_rescale": False}, {"size": {"height": 48, "width": 40}}):
        result = ours(images, texts, **overrides)
        expected = theirs(images, texts, padding=True, return_tensors="np", **overrides)
        pixels = np.moveaxis(expected["pixel_values"], 1, -1)
        assert np.array_equal(np.array(result.pixel_values), pixels)
        assert result.labels.tolist() == expected["labels"].tolist()
    for options in ({"add_special_tokens": False}, {"truncation": True, "max_length": 5}):
        assert (
            ours(images, texts, **options).labels.tolist()
            == np.array(theirs(images, texts, padding=True, **options)["labels"]).tolist()
        )
    expected = theirs(text=texts, padding=True)["input_ids"]
    assert ours(text=texts).input_ids.tolist() == expected
    for skip in (True, False):
        read = theirs.batch_decode(expected, skip_special_tokens=skip)
        assert ours.batch_decode(expected, skip_special_tokens=skip) == read
    assert ours.decode(expected[0]) == theirs.decode(expected[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("special", [True, False])
def test_words_give_the_same_ids(tmp_path, backend, special):
    save(
        tmp_path,
        getattr(test_text, backend)(),
        tokenizer_config={"pad_token": BACKENDS[backend][0]},
    )
    ours, theirs = both(tmp_path)
    ours, theirs = Processor(tokenizer=ours), TrOCRProcessor(ViTImageProcessorPil(), theirs)
    rows = [["the", "fox"], ["a"], ["the quick", "brown", "fox"]]
    options = {"is_split_into_words": True, "add_special_tokens": special}
    for cut in ({}, {"truncation": True, "max_length": 4}):
        expected = theirs(text=rows, padding=True, **options, **cut)["input_ids"]
        assert ours(text=rows, **options, **cut).input_ids.tolist() == expected
        expected = theirs(text=rows[0], **options, **cut)["input_ids"]
        assert ours(text=rows[0], **options, **cut).input_ids.tolist() == [expected]
