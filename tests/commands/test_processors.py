"""`--processor` and `--subfolder` at the commands that load a model, and what they say of sizes."""

import json
import shutil

import pytest

from mlx_vedec import ImageProcessor, Processor, load
from mlx_vedec.reading.load import BUNDLED
from tests.commands.test_commands import LINE, failed, run

__all__ = ["run"]  # a fixture
WIDE = {"height": 32, "width": 832}
SAID = "warning: the processor makes images of 32×832 (preprocessor_config.json) and the model"
COMMANDS = {
    "generate": ("--image", LINE, "--json", "--boxes"),
    "evaluate": ("--data", "DATA", "--bootstrap", 0),
    "benchmark": ("-n", 1, "-m", 2, "--image", LINE),
    "convert": ("--mlx-path", "OUT", "--dry-run"),
}


@pytest.fixture
def bare(tmp_path):
    """The bundled model without a processor."""
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        shutil.copy(BUNDLED / name, tmp_path / "bare")
    return tmp_path / "bare"


@pytest.fixture
def wide(tmp_path):
    """The bundled model's processor for wider lines."""
    Processor(ImageProcessor(size=WIDE), load()[1].tokenizer).save_pretrained(tmp_path / "wide")
    return tmp_path / "wide"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_processor_from_elsewhere(run, bare, wide, tmp_path, command):
    (tmp_path / "data").mkdir()
    shutil.copy(LINE, tmp_path / "data")
    (tmp_path / "data" / "labels.tsv").write_text("seen_006.png\twheel 206,3\n")
    places = {"DATA": tmp_path / "data", "OUT": tmp_path / "out"}
    flags = [places.get(flag, flag) for flag in COMMANDS[command]]
    if command != "convert":  # which converts without one
        failed(run(command, "--model", bare, *flags), "--processor")
    code, out, err = run(command, "--model", bare, "--processor", wide, *flags)
    assert code == 0 and err.count(SAID) == 1, err
    assert f"mlx_vedec {command}: {SAID}" in err
    if command == "generate":
        assert json.loads(out)["boxes"]
    elif command == "benchmark":
        assert "32×832 pixels" in out


def test_inspect_looks_at_that_processor(run, bare, wide):
    code, out, _ = run("inspect", bare, "--processor", wide)
    assert code == 0 and "images are 32×832 by preprocessor_config.json and 32×768" in out
    assert "images of 32×768" in out
    assert run("inspect", bare)[0] == 1


def test_a_model_in_a_subfolder(run, bare):
    shutil.copytree(BUNDLED, bare / "last", ignore=shutil.ignore_patterns("lines", "growth"))
    flags = ("--model", bare, "--image", LINE)
    assert run("generate", *flags, "--subfolder", "last") == (0, "wheel 206,3\n", "")
    failed(run("generate", *flags, "--subfolder", "first"), "has no subfolder first; it has last")
    failed(run("generate", *flags, "--subfolder", ".."), "expected a path inside")


@pytest.mark.parametrize("size", ["0x32", "33x384", "1000000x32", "32x", "x", "32x384x3"])
def test_image_sizes_that_convert_refuses(run, tmp_path, size):
    flags = ("--model", BUNDLED, "--mlx-path", tmp_path / "out", "--image-size", size)
    code, out, err = run("convert", *flags)
    assert code in (1, 2) and not out and err.count("\n") == 1 and "expected" in err, err
    assert not (tmp_path / "out").exists()
