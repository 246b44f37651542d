"""Pixels, tokens and text against transformers, through the folders each of us saves."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image  # noqa: E402
from transformers import (  # noqa: E402
    DeiTImageProcessorPil,
    PreTrainedTokenizerFast,
    TrOCRProcessor,
    ViTImageProcessorPil,
)

from mlx_vedec import Processor  # noqa: E402
from mlx_vedec.images import ImageProcessor, load_image  # noqa: E402
from mlx_vedec.text import Tokenizer  # noqa: E402
from tests import test_text  # noqa: E402
from tests.test_text import CORPUS, save  # noqa: E402

THEIRS = {"ViT": ViTImageProcessorPil, "DeiT": DeiTImageProcessorPil}
SIZES = [(2, 2), (3, 200), (200, 3), (31, 17), (64, 64), (97, 256), (300, 41), (383, 385)]
OTHER = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CHANGES = [
    {},
    {"size": {"height": 32, "width": 384}},
    {"size": {"height": 31, "width": 7}, **OTHER},
    {"size": {"shortest_edge": 20}, "rescale_factor": 1 / 127.5},
    {"do_resize": False},
    {"do_normalize": False},
    {"do_rescale": False},
    {"do_rescale": False, "do_normalize": False},
    {"do_center_crop": True, "crop_size": {"height": 15, "width": 40}, "do_resize": False, **OTHER},
    {"do_center_crop": True, "crop_size": {"height": 400, "width": 401}, "do_resize": False},
    {"do_center_crop": False, "size": {"height": 48, "width": 64}, "image_mean": 0.3},
    *({"resample": code, "size": {"height": 40, "width": 60}} for code in range(6)),
]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def same_pixels(ours: ImageProcessor, theirs, images: list[Image.Image]) -> None:
    for image in images:
        [expected] = theirs(image)["pixel_values"]
        result = ours([image])[0]
        assert result.dtype == np.float32
        assert np.array_equal(result, np.moveaxis(np.asarray(expected), 0, -1)), image.size


@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(changes) or "defaults")
def test_pixels_are_the_same_bits(tmp_path, kind, changes):
    theirs = THEIRS[kind](**changes)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = ImageProcessor.from_pretrained(tmp_path / "theirs")
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    same_pixels(ours, theirs, images)
    ours.save_pretrained(tmp_path / "ours")
    same_pixels(ours, THEIRS[kind].from_pretrained(tmp_path / "ours"), images[3:5])


@pytest.mark.parametrize("kind", THEIRS)
def test_overrides_are_the_same(kind):
    ours, theirs = ImageProcessor.from_dict({}, kind.lower()), THEIRS[kind]()
    image = noise(50, 70)
    crop = {"do_center_crop": True, "crop_size": {"height": 30, "width": 20}}
    for overrides in [{"size": {"height": 9, "width": 8}}, {"do_normalize": False}, crop]:
        [expected] = theirs(image, **overrides)["pixel_values"]
        assert np.array_equal(ours([image], **overrides)[0], np.moveaxis(expected, 0, -1))


def test_defaults_are_those_of_the_classes():
    for kind, theirs in THEIRS.items():
        saved = theirs().to_dict()
        ours = ImageProcessor.from_dict({"image_processor_type": f"{kind}ImageProcessorFast"})
        written = json.loads(json.dumps(ours.to_dict()))
        assert {name: written[name] for name in saved} == json.loads(json.dumps(saved))


def test_grey_models():
    theirs = ViTImageProcessorPil(image_mean=[0.4], image_std=[0.2], size=32)
    ours = ImageProcessor.from_dict(theirs.to_dict())
    same_pixels(ours, theirs, [noise(50, 20).convert("L")])


def test_transparency_is_composited_alike():
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    theirs = ViTImageProcessorPil(do_convert_rgb=True)
    images = [Image.fromarray(values), Image.fromarray(values).convert("LA")]
    same_pixels(ImageProcessor(), theirs, images)
    assert np.array_equal(ImageProcessor()([load_image(images[0])]), ImageProcessor()([images[0]]))


def test_real_files_are_read_alike(shared):
    read = 0
    for path in sorted((shared / "configs").glob("*/preprocessor_config.json")):
        values = json.loads(path.read_text())
        name = values.get("image_processor_type") or values["feature_extractor_type"]
        kind = name.split("Image")[0].split("Feature")[0]
        if kind in THEIRS:
            ours = ImageProcessor.from_pretrained(path.parent)
            same_pixels(ours, THEIRS[kind].from_pretrained(path.parent), [noise(500, 60)])
            read += 1
    assert read >= 9


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


def test_what_transformers_saves_as_one_file(shared, tmp_path):
    source = shared / "checkpoints" / "tiny-ocr"
    image_processor = ViTImageProcessorPil.from_pretrained(source)
    theirs = TrOCRProcessor(image_processor, PreTrainedTokenizerFast.from_pretrained(source))
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    same_batches(Processor.from_pretrained(tmp_path), theirs)


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


def same_batches(ours: Processor, theirs: TrOCRProcessor) -> None:
    images, texts = [noise(300, 25), noise(600, 50)], ["a line", "another, longer line"]
    result = ours(images, texts)
    expected = theirs(images, texts, padding=True, return_tensors="np")
    pixels = np.moveaxis(expected["pixel_values"], 1, -1)
    assert np.array_equal(np.array(result.pixel_values), pixels)
    assert result.labels.tolist() == expected["labels"].tolist()
    assert ours.batch_decode(result.labels, skip_special_tokens=True) == theirs.batch_decode(
        expected["labels"], skip_special_tokens=True
    )
    assert ours.batch_decode(result.labels, skip_special_tokens=True) == texts
