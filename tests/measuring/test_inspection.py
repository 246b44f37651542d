"""`inspect`: what a folder is, where its settings come from, whether it loads."""

import json
import shutil
import warnings

import pytest

from mlx_vedec import ImageProcessor, batch_generate, commands, convert, generate, load
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.errors import ImageError
from mlx_vedec.measuring.inspection import inspect
from mlx_vedec.reading.load import BUNDLED
from tests.support.tiny import tiny_model


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "model")
    return tmp_path / "model"


def change(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def setting(found, name):
    [one] = [s for s in found.settings if s.name == name]
    return one


def test_the_bundled_model():
    found = inspect(BUNDLED)
    model, processor = load()
    assert found.loads and not found.notes
    assert sum(found.parameters.values()) == sum(x.size for x in parameters(model).values())
    assert found.memory["parameters"] == sum(x.nbytes for x in parameters(model).values())
    features = model.encode(processor.pixels(["tests/data/lines/seen_000.png"]))
    cache = model.decoder.make_cache(model.memory(features))
    assert found.memory["an image"] == cache.memory_nbytes
    assert found.tokenizer["tokens"] == len(processor.tokenizer)
    assert json.loads(json.dumps(found.to_dict()))["loads"] is True


def test_a_quantized_model_has_as_many_parameters(tmp_path):
    convert(BUNDLED, tmp_path / "small", quantize=4)
    found = inspect(tmp_path / "small")
    assert found.loads and found.parameters == inspect(BUNDLED).parameters
    assert found.tensors["bytes"] < 0.5 * inspect(BUNDLED).tensors["bytes"]


def test_ids_that_disagree_are_said_with_their_places(folder):
    decoder = json.loads((folder / "config.json").read_text())["decoder"]
    change(folder / "config.json", decoder={**decoder, "decoder_start_token_id": 0})
    found = inspect(folder)
    start = setting(found, "decoder_start_token_id")
    assert (start.used, start.source, start.disputed) == (2, "generation_config.json", True)
    assert start.values["config.json, decoder"] == 0
    assert found.loads and "decoder_start_token_id is 2 by generation_config.json" in found.notes[0]


LINE = "tests/data/lines/seen_000.png"


@pytest.mark.slow
def test_an_image_tells_which_ids_the_model_means(folder, capsys):
    """A start that ends the text at once, and an end after which the text goes on."""
    text = generate(*load(folder), LINE).text
    change(folder / "config.json", decoder_start_token_id=0, eos_token_id=7)
    found = inspect(folder, image=LINE)
    first, other, *rest = found.readings
    assert (first.text, first.meant, first.places[0]) == (text, True, "generation_config.json")
    assert first.ids["decoder_start_token_id"] == 2 and first.finish_reason == "stop"
    assert (other.ids["decoder_start_token_id"], other.ids["eos_token_id"]) == (0, 7)
    assert other.places == ("config.json",) and not other.meant and other.mean_logprob < 0
    assert json.loads(json.dumps(found.to_dict()))["readings"][0]["meant"] is True
    change(folder / "generation_config.json", decoder_start_token_id=0, eos_token_id=7)
    change(folder / "config.json", decoder_start_token_id=2, eos_token_id=2)
    assert [r.text for r in inspect(folder, image=LINE).readings if r.meant] == [text]
    assert commands.main(["inspect", str(folder), "--image", LINE]) == 0
    out = capsys.readouterr().out
    assert f"{text!r}" in out and out.count("the model means these") == 1


def test_an_image_under_ids_that_agree(folder, capsys):
    [reading] = inspect(folder, image=LINE).readings
    assert not reading.meant and reading.finish_reason == "stop"
    with pytest.raises(ImageError, match="nowhere.png"):
        inspect(folder, image="nowhere.png")
    change(folder / "config.json", pad_token_id=3)
    assert commands.main(["inspect", str(folder), "--image", LINE]) == 0
    assert "all of these ids read the image alike" in capsys.readouterr().out


@pytest.mark.slow
def test_reading_says_once_that_ids_disagree(folder, capsys):
    model, processor = load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(model, processor, LINE)
    change(folder / "config.json", decoder_start_token_id=0, pad_token_id=5)
    match = "decoder_start_token_id is 2, but 0 by config.json; pad_token_id is 1, but 5 by"
    for read in (
        generate,
        lambda model, processor, line: [*batch_generate(model, processor, [line] * 3)],
        lambda model, processor, line: model.generate(processor.pixels([line])),
    ):
        model, processor = load(folder)
        with pytest.warns(UserWarning, match=match) as said:
            read(model, processor, LINE)
            read(model, processor, LINE)
        assert len(said) == 1
    model = load(folder)[0]
    model.generation_config.pad_token_id = 4  # one's own choice is not doubted
    with pytest.warns(UserWarning, match="differ: decoder_start_token_id is 2.*json; the first"):
        model.generate(processor.pixels([LINE]))
    assert commands.main(["generate", "--model", str(folder), "--image", LINE]) == 0
    assert capsys.readouterr().err.count("decoder_start_token_id is 2") == 1


def test_ids_that_only_a_class_has(folder):
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    names = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
    for part in (config, config["decoder"]):
        for name in names:
            part.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config))
    found = inspect(folder)
    start = setting(found, "decoder_start_token_id")
    assert (start.used, start.source) == (2, "default of TrOCRConfig") and not start.disputed


def test_a_start_that_no_place_names(folder):
    change(folder / "generation_config.json", decoder_start_token_id=None)
    config = json.loads((folder / "config.json").read_text())
    config.pop("decoder_start_token_id", None)
    (folder / "config.json").write_text(json.dumps(config))
    start = setting(inspect(folder), "decoder_start_token_id")
    assert start.used == 0 and start.source.startswith("bos_token_id")


def test_all_that_is_wrong_is_found_at_once(folder, capsys):
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    found = inspect(folder)
    assert not found.loads and len(found.problems) == 3 and "trocr" in found.parts["decoder"]
    assert commands.main(["inspect", str(folder)]) == 1
    out = capsys.readouterr()
    assert "does not load" in out.out and out.err.count("error: ") == 3


@pytest.mark.parametrize("content", ["{oops", "[]"])
def test_a_problem_is_told_once(folder, capsys, content):
    """Though several parts read the file."""
    (folder / "config.json").write_text(content)
    assert len(inspect(folder).problems) == 1
    assert commands.main(["inspect", str(folder)]) == 1
    assert capsys.readouterr().err.count("config.json") == 1


def test_options_that_cannot_be_in_force(folder):
    change(folder / "generation_config.json", num_beams="x")
    [problem] = inspect(folder).problems
    assert "num_beams is 'x' in the generation_config" in problem


def test_a_vocabulary_of_another_size(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    shutil.copy(BUNDLED / "tokenizer.json", tmp_path)
    ImageProcessor(size=16).save_pretrained(tmp_path)
    [note] = inspect(tmp_path).notes
    assert "the tokenizer has 278 tokens, the embedding 37 rows" in note
    tiny_model(decoder={"vocab_size": 300}).save_pretrained(tmp_path)
    [note] = inspect(tmp_path).notes
    assert "the embedding has 300 rows, the tokenizer 278 tokens" in note


def test_another_kind_of_model(folder):
    change(folder / "config.json", model_type="llama")
    [problem] = inspect(folder).problems
    assert "model_type is 'llama'; expected 'vision-encoder-decoder'" in problem


def test_the_command(folder, capsys):
    assert commands.main(["inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    assert ": loads" in out and "3,999,872" in out and "eos_token_id = 2" in out
    assert commands.main(["inspect", str(folder), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["settings"]["eos_token_id"]["from"] == "generation_config.json"
    assert commands.main(["inspect", str(folder / "nothing")]) == 1
    assert "neither a folder nor a Hub id" in capsys.readouterr().err
