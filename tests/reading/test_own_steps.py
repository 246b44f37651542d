"""Checkpoints that read formulas, by what their folder says or by `image_steps`."""

import json
import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import (
    ImageProcessor,
    NougatLatexImageProcessor,
    NougatProcessor,
    Processor,
    TexTellerImageProcessor,
    TrOCRProcessor,
    generate,
    load,
)
from mlx_vedec.commands import main
from mlx_vedec.conversion.convert import convert
from mlx_vedec.errors import CheckpointError, OptionError
from tests.support.tiny import tiny_model

GREY = {"image_size": 448, "patch_size": 64, "num_channels": 1}


@pytest.fixture(scope="module")
def texteller(tmp_path_factory):
    """A model of TexTeller's kind, whose folder has no image processor, as the published one."""
    path = tmp_path_factory.mktemp("texteller") / "model"
    tiny_model(encoder=GREY, decoder={"vocab_size": 278}).save_pretrained(path)
    TrOCRProcessor(None, load()[1].tokenizer).save_pretrained(path)
    return path


def formula() -> mx.array:
    values = np.full((40, 90, 3), 255, dtype=np.uint8)
    values[10:30, 20:70] = np.random.default_rng(0).integers(0, 200, (20, 50, 1))
    return mx.array(values)


def test_a_folder_without_a_processor_is_told_by_name(texteller, caplog):
    with pytest.raises(CheckpointError, match=r"image_steps=…, --image-steps"):
        load(texteller)
    model, processor = load(texteller, image_steps="texteller")
    assert processor.image_processor == TexTellerImageProcessor() and not caplog.records
    result = generate(model, processor, formula(), max_tokens=3)
    assert len(result.tokens) <= 3
    with pytest.raises(OptionError, match="expected one of texteller, nougat-latex, texify"):
        load(texteller, image_steps="TexTeller")


def test_texts_are_cleaned_by_the_same_name(monkeypatch):
    tokenizer = load()[1].tokenizer
    processor = Processor(TexTellerImageProcessor(), tokenizer)
    monkeypatch.setattr(processor, "decode", lambda tokens, **how: r"\mathbf{x} \, y")
    assert processor.read([], [1]).text == "x y"
    processor.image_processor = ImageProcessor()
    assert processor.read([], [1]).text == r"\mathbf{x} \, y"


def test_files_of_nougats_name_clean_no_markdown(tmp_path):
    """A folder may name Nougat's processor beside steps of nougat-latex's."""
    tokenizer = load()[1].tokenizer
    NougatProcessor(NougatLatexImageProcessor(), tokenizer).save_pretrained(tmp_path)
    named = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert named["processor_class"] == "NougatProcessor"
    found = Processor.from_pretrained(tmp_path)
    assert type(found) is Processor and found.own_steps == "nougat-latex"
    assert not found.stops_on_repetition
    unknown = found.required_tokenizer.unk_token_id
    expected = {} if unknown is None else {"bad_words_ids": [[unknown]]}
    assert found.task_options() == expected
    assert type(NougatProcessor.from_pretrained(tmp_path)) is NougatProcessor


def test_a_conversion_writes_them_down(texteller, tmp_path):
    for given in ({"image_steps": "texteller"}, {}):
        source = tmp_path / "first" if not given else texteller
        target = convert(source, tmp_path / ("first" if given else "second"), **given)
        model, processor = load(target)
        assert processor.image_processor == TexTellerImageProcessor()
        assert processor.own_steps == "texteller"


@pytest.mark.slow
def test_commands_take_the_name(texteller, tmp_path, capsys):
    data = tmp_path / "data"
    for split in ("train", "valid"):
        (data / split).mkdir(parents=True)
        shutil.copy(_png(tmp_path), data / split / "a.png")
        (data / split / "a.txt").write_text("x y")
    where = ["--model", str(texteller), "--image-steps", "texteller"]
    picture = str(tmp_path / "formula.png")
    assert main(["generate", *where, "--image", picture, "--max-tokens", "2"]) == 0
    assert main(["evaluate", *where, "--data", str(data / "train"), "--max-tokens", "2"]) == 0
    adapters = str(tmp_path / "adapters")
    tuned = ["--data", str(data), "--iters", "1", "--batch-size", "1", "--adapter-path", adapters]
    assert main(["lora", *where, "--train", *tuned]) == 0
    model, processor = load(texteller, adapter_path=adapters, image_steps="texteller")
    assert processor.own_steps == "texteller"
    whole = str(tmp_path / "whole")
    assert main(["fuse", *where, "--adapter-path", adapters, "--save-path", whole]) == 0
    assert load(whole)[1].image_processor == TexTellerImageProcessor()
    assert main(["benchmark", *where, "--image", picture, "--num-trials", "1", "-m", "2"]) == 0
    with pytest.raises(SystemExit):
        main(["generate", "--model", str(texteller), "--image-steps", "tex", "--image", picture])
    assert "'texteller'" in capsys.readouterr().err


def _png(folder):
    from PIL import Image

    path = folder / "formula.png"
    Image.fromarray(np.array(formula())).save(path)
    return path
