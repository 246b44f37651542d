"""The image processor and the tokenizer as one."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer as Backend, models, pre_tokenizers, processors

from mlx_vedec.errors import CheckpointError, ConfigError, ImageError, OptionError, TokenError
from mlx_vedec.images.image_processors import DonutImageProcessor, ImageProcessor, ViTImageProcessor
from mlx_vedec.images.loading import load_image
from mlx_vedec.reading.processor import DonutProcessor, NougatProcessor, Processor, TrOCRProcessor
from mlx_vedec.text.tokenizer import Tokenizer

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
WORDS = ["<pad>", "</s>", "<unk>", "a", "line", "of", "text"]


@pytest.fixture
def processor(request) -> Processor:
    vocabulary = {word: id for id, word in enumerate(WORDS)}
    backend = Backend(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(WORDS[:3])
    if getattr(request, "param", None):  # as labels of TrOCR end
        backend.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    tokenizer = Tokenizer(backend.to_str().encode(), {"pad_token": "<pad>"})
    return Processor(ImageProcessor(size={"height": 8, "width": 16}), tokenizer)


# what comes out


def test_images_alone(processor):
    batch = processor(images=PICTURE)
    assert batch.pixel_values.shape == (1, 8, 16, 3)
    assert batch.pixel_values.dtype == mx.float32
    assert np.array_equal(np.array(batch.pixel_values), processor.image_processor([PICTURE]))
    assert (batch.labels, batch.input_ids) == (None, None)


def test_text_alone(processor):
    batch = processor(text=["a line", "a line of text"])
    assert batch.input_ids.dtype == mx.int32
    assert batch.input_ids.tolist() == [[3, 4, 0, 0], [3, 4, 5, 6]]
    assert (batch.labels, batch.pixel_values) == (None, None)
    assert processor(text="a").input_ids.tolist() == [[3]]


def test_images_with_text_have_labels(processor):
    batch = processor([PICTURE, PICTURE], ["a", "a line"])
    assert batch.labels.tolist() == [[3, 0], [3, 4]]
    assert batch.labels.dtype == mx.int32
    assert batch.pixel_values.shape[0] == 2
    assert batch.input_ids is None


ENDING = pytest.mark.parametrize("processor", [True], indirect=True)


@ENDING
def test_only_donut_leaves_special_tokens_out_of_labels(processor):
    parts = processor.image_processor, processor.tokenizer
    for kind in (Processor, TrOCRProcessor, NougatProcessor):
        assert kind(*parts)(PICTURE, "a").labels.tolist() == [[3, 1]]
    donut = DonutProcessor(image_processor=parts[0], tokenizer=parts[1])
    assert donut(PICTURE, "a").labels.tolist() == [[3]]
    assert donut(PICTURE, "a", add_special_tokens=True).labels.tolist() == [[3, 1]]
    assert donut(text="a").input_ids.tolist() == [[3, 1]]


@ENDING
def test_text_that_is_already_ids(processor):
    for row in ([3, 4], (3, 4), np.array([3, 4]), mx.array([3, 4])):
        assert processor(text=row).input_ids.tolist() == [[3, 4]]
    rows = [[3, 4, 5], mx.array([6])]
    assert processor([PICTURE] * 2, rows).labels.tolist() == [[3, 4, 5], [6, 0, 0]]
    assert processor(text=mx.array([[3], [4]])).input_ids.tolist() == [[3], [4]]
    longer = processor(text=rows, padding="max_length", max_length=4)
    assert longer.input_ids.tolist() == [[3, 4, 5, 0], [6, 0, 0, 0]]
    cut = processor(text=rows, truncation=True, max_length=2)
    assert cut.input_ids.tolist() == [[3, 4], [6, 0]]
    processor.tokenizer.config["padding_side"] = "left"
    assert processor(text=rows).input_ids.tolist() == [[3, 4, 5], [0, 0, 6]]
    with pytest.raises(OptionError, match="lengths"):
        processor(text=rows, padding="do_not_pad")
    with pytest.raises(OptionError, match="give max_length too"):
        processor(text=rows, truncation=True)
    processor.tokenizer.pad_token = None
    with pytest.raises(TokenError, match="rows of several lengths need padding.*pad_token"):
        processor(text=rows)


@ENDING
def test_text_that_is_already_words(processor):
    words = {"is_split_into_words": True}
    assert processor(text=["a", "line"], **words).input_ids.tolist() == [[3, 4, 1]]
    rows = processor(text=[["a", "line"], ["of"]], **words, add_special_tokens=False)
    assert rows.input_ids.tolist() == [[3, 4], [5, 0]]
    cut = processor(text=[["a", "line", "of"]], **words, truncation=True, max_length=2)
    assert cut.input_ids.tolist() == [[3, 1]]
    assert processor(text=[], **words).input_ids.tolist() == [[1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ([["a", "line"]], False),
        ([3, 4], True),
        (["a", 4], False),
        ([["a"], "line"], True),
        ([[3], 4], False),
        (3, False),
    ],
)
def test_text_of_other_kinds(processor, text, words):
    with pytest.raises(OptionError, match="text holds .*expected strings, rows of token ids"):
        processor(text=text, is_split_into_words=words)
    with pytest.raises(TokenError, match="are no ids of tokens"):
        processor(text=[3, -100])


def test_a_batch_is_a_mapping_of_what_is_set(processor):
    batch = processor(PICTURE, "a")
    assert dict(**batch).keys() == {"pixel_values", "labels"}
    assert batch["labels"] is batch.labels
    assert (len(batch), "labels" in batch, "input_ids" in batch) == (2, True, False)
    with pytest.raises(
        KeyError, match="input_ids is not in the batch; it has pixel_values, labels"
    ):
        batch["input_ids"]


def test_images_of_every_kind(processor, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    values = np.asarray(PICTURE)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), PICTURE, values, mx.array(values)]
    expected = processor.image_processor([PICTURE])[0]
    for images in (sources, tuple(sources)):
        assert (np.array(processor(images=images).pixel_values) == expected).all()
    for source in sources:
        assert (np.array(processor(images=source).pixel_values) == expected).all()


def test_overrides_reach_their_part(processor):
    batch = processor(PICTURE, "a line", size=4, padding="max_length", max_length=3)
    assert batch.pixel_values.shape == (1, 4, 4, 3)
    assert batch.labels.tolist() == [[3, 4, 0]]
    cut = processor(text="a line of text", truncation=True, max_length=2)
    assert cut.input_ids.tolist() == [[3, 4]]
    plain = processor(PICTURE, do_resize=False, do_rescale=False, do_normalize=False)
    assert np.array_equal(np.array(plain.pixel_values)[0], np.asarray(PICTURE))
    page = DonutProcessor(DonutImageProcessor())(PICTURE, size=[6, 8], do_align_long_axis=True)
    assert page.pixel_values.shape == (1, 8, 6, 3)


def test_decoding(processor):
    assert processor.decode([3, 4, 1], skip_special_tokens=True) == "a line"
    assert processor.decode([3, 1]) == "a </s>"
    assert processor.batch_decode(mx.array([[3, 1], [4, 0]]), skip_special_tokens=True) == [
        "a",
        "line",
    ]


def test_a_prompt_has_no_special_tokens_and_may_be_nothing(processor):
    assert processor.prompt_ids("a line") == processor.tokenizer.encode("a line", False)
    assert processor.prompt_ids("") is processor.prompt_ids(None) is None


def test_the_line_aspect_is_passed_on(processor):
    assert processor.line_aspect_ratio is None
    processor.image_processor.line_aspect_ratio = 12
    assert processor.line_aspect_ratio == 12


# what is refused


def test_nothing_at_all(processor):
    with pytest.raises(OptionError, match="nothing to process; give images, text or both"):
        processor()


def test_unknown_options(processor):
    with pytest.raises(ValueError, match="max_lenght is no option.*did you mean max_length"):
        processor(text="a", max_lenght=3)
    with pytest.raises(ValueError, match="return_tensors is 'tf'; expected 'mx' or 'np'"):
        processor(images=PICTURE, return_tensors="tf")
    with pytest.raises(ValueError, match="do_thumbnail is no option"):
        processor(images=PICTURE, do_thumbnail=False)
    with pytest.raises(ValueError, match="size is no option"):
        Processor(tokenizer=processor.tokenizer)(text="a", size=3)


def test_images_and_texts_that_do_not_match(processor):
    with pytest.raises(OptionError, match="2 images and 1 texts; expected as many"):
        processor([PICTURE, PICTURE], ["a"])


def test_rows_of_several_lengths(processor):
    with pytest.raises(OptionError, match=r"lengths \[1, 2\].*padding=True"):
        processor(text=["a", "a line"], padding=False)
    with pytest.raises(OptionError, match=r"lengths \[\].*give one text"):
        processor(text=[])


def test_unreadable_images(processor):
    with pytest.raises(ImageError, match="none.png does not exist"):
        processor(images=[PICTURE, "none.png"])
    with pytest.raises(ImageError, match="give one image"):
        processor(images=[])


def test_absent_parts(processor):
    with pytest.raises(ConfigError, match="no image processor; give one"):
        Processor(tokenizer=processor.tokenizer)(images=PICTURE)
    silent = Processor(processor.image_processor)
    for use in (
        lambda: silent(text="a"),
        lambda: silent.decode([3]),
        lambda: silent.batch_decode([]),
    ):
        with pytest.raises(ConfigError, match="no tokenizer; give one"):
            use()


# folders


def test_saving_and_loading(processor, tmp_path):
    folder = tmp_path / "new"
    processor.save_pretrained(folder)
    names = {"preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == names
    again = Processor.from_pretrained(folder)
    assert again.image_processor == processor.image_processor
    assert again.tokenizer.content == processor.tokenizer.content
    assert again.tokenizer.pad_token_id == 0
    processor.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == names


def test_a_failed_write_leaves_the_old_file(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    before = (tmp_path / "preprocessor_config.json").read_bytes()
    processor.image_processor.extra["callback"] = print
    with pytest.raises(TypeError):
        processor.save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_folders(processor, tmp_path):
    Processor(processor.image_processor).save_pretrained(tmp_path / "encoder")
    Processor(tokenizer=processor.tokenizer).save_pretrained(tmp_path / "decoder")
    encoder, decoder = tmp_path / "encoder", str(tmp_path / "decoder")
    both = Processor.from_pretrained(encoder=encoder, decoder=decoder)
    assert both(PICTURE, "a line").labels.tolist() == [[3, 4]]
    assert Processor.from_pretrained(encoder=encoder).tokenizer is None
    assert Processor.from_pretrained(decoder=decoder).image_processor is None


@pytest.mark.parametrize("kind", [TrOCRProcessor, DonutProcessor, NougatProcessor])
def test_a_class_is_saved_by_its_name(processor, tmp_path, kind):
    made = kind(processor.image_processor, processor.tokenizer)
    made.save_pretrained(tmp_path)
    assert type(Processor.from_pretrained(tmp_path)) is kind
    assert type(TrOCRProcessor.from_pretrained(tmp_path)) is TrOCRProcessor
    assert processor.image_processor.extra == {}
    halves = Processor.from_pretrained(encoder=tmp_path, decoder=tmp_path)
    assert type(halves) is Processor


def test_classes_are_named_in_any_of_the_files(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    assert type(Processor.from_pretrained(tmp_path)) is Processor
    names = ["tokenizer_config.json", "preprocessor_config.json", "processor_config.json"]
    kinds = [DonutProcessor, Processor, NougatProcessor]
    for name, kind in zip(names, kinds, strict=True):  # each before those above it
        path = tmp_path / name
        values = json.loads(path.read_text()) if path.exists() else {}
        named = "CLIPProcessor" if kind is Processor else kind.__name__
        path.write_text(json.dumps({**values, "processor_class": named}))
        assert type(Processor.from_pretrained(tmp_path)) is kind


def test_parts_from_two_places(processor, tmp_path):
    Processor(processor.image_processor).save_pretrained(tmp_path / "seen")
    Processor(tokenizer=processor.tokenizer).save_pretrained(tmp_path / "read")
    both = TrOCRProcessor(
        ViTImageProcessor.from_pretrained(tmp_path / "seen" / "preprocessor_config.json"),
        Tokenizer.from_pretrained(tmp_path / "read"),
    )
    assert both(PICTURE, "a line").labels.tolist() == [[3, 4]]
    same = TrOCRProcessor.from_pretrained(
        encoder=tmp_path / "seen" / "preprocessor_config.json", decoder=tmp_path / "read"
    )
    assert same.image_processor == both.image_processor
    assert isinstance(same, TrOCRProcessor)


def test_folders_that_contradict_or_lack(processor, tmp_path):
    for folders in ({}, {"encoder": tmp_path, "path_or_hf_repo": tmp_path}):
        with pytest.raises(OptionError, match="expected a checkpoint's folder or Hub id"):
            Processor.from_pretrained(**folders)
    Processor(tokenizer=processor.tokenizer).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="has no preprocessor_config.json"):
        Processor.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a Hub id"):
        Processor.from_pretrained(tmp_path / "not" / "there")


def test_reference_pixels(shared):
    folder = shared / "checkpoints" / "tiny-ocr"
    processor = Processor.from_pretrained(folder)
    images = json.loads((folder / "reference_outputs.json").read_text())["images"]
    sizes = set()
    for image in images:
        picture = load_image(folder / "val" / image["file"])
        sizes.add(picture.size)
        expected = image["pixel_values"]
        values = np.array(processor(images=picture).pixel_values)
        assert [1, *values.shape[1:3]] == [1, *expected["shape"][2:]]
        assert values[0, 16, :8, 0].tolist() == expected["first8"]  # of the row in the middle
        assert abs(values.mean() - expected["mean"]) < 1e-6
        assert abs(values.std(ddof=1) - expected["std"]) < 1e-6
        assert (
            processor.decode(image["beam4"]["ids"], skip_special_tokens=True)
            == image["beam4"]["text"]
        )
    assert len(images) == 50
    assert len(sizes) > 1
