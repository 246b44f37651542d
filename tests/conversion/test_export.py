"""Exported functions against the model that they were made of, in Python and in C++."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import LoraConfig, VisionEncoderDecoderModel, add_adapters, commands, generate, load
from mlx_vedec.conversion import export as module
from mlx_vedec.conversion.export import export
from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.patches import pair
from mlx_vedec.errors import CheckpointError, ConfigError, OptionError, WeightsError
from mlx_vedec.measuring.selfcheck_models import small_model
from tests.conftest import DATA

LINES = sorted((DATA / "lines").glob("*.png"))
COMMON = ("bert", "roformer", "swin", "hiera")  # of every kind of position one; the rest is slow
SOURCE = Path(__file__).parents[2] / "examples" / "cpp" / "read_line.cpp"
INSTALLED = Path(mx.__file__).parent


def folder_of(where, **options):
    """The bundled model, exported, and what it was exported from."""
    model, processor = load(**options)
    return export(model, processor, where / "out", samples=LINES[:20]), model, processor


@pytest.fixture(
    scope="module", params=[None, pytest.param(4, marks=pytest.mark.slow)], ids=["floats", "4 bits"]
)
def exported(request, tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("export"), quantize=request.param)


def read(folder, pixels, most=None):
    """Greedy ids of one image, by the exported functions and what the folder says alone."""
    arrays, said = mx.load(str(folder / "model.safetensors"), return_metadata=True)

    def function(name):
        imported = mx.import_function(str(folder / f"{name}.mlxfn"))
        weights = {key: arrays[key] for key in said[f"{name}.weights"].split()}
        return lambda *inputs: imported(*inputs, **weights)

    prompt = [int(id) for id in said["prompt"].split()]
    memory = function("encoder")(pixels)
    logits, *buffers = function("prefill")(mx.array([prompt]), *memory)
    found, step = [], function("step")
    for position in range(len(prompt), int(said["capacity"]) + 1):
        found.append(mx.argmax(logits[0]).item())
        if str(found[-1]) in said["eos_token_id"].split() or len(found) == most:
            break
        place = mx.array([position])
        logits, *buffers = step(mx.array([found[-1]]), place, *buffers, *memory)
    return found


@pytest.mark.parametrize(
    "family",
    [
        *COMMON,
        *(
            pytest.param(f, marks=pytest.mark.slow)
            for f in (*DECODERS, *ENCODERS)
            if f not in COMMON
        ),
    ],
)
def test_every_family_computes_what_the_model_does(family, tmp_path):
    encoder = small_model(family if family in ENCODERS else "vit")
    decoder = small_model(family if family in DECODERS else "trocr")
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    functions = module._Exported(model, 2, [3, 5], 8)
    size = pair(getattr(encoder.config, "image_size", None) or 32)
    shapes = functions.write(tmp_path, size)  # which compares each with the model
    assert shapes["prefill"].outputs[0] == shapes["step"].outputs[0] == (2, 320)
    assert all(path.stat().st_size < 300_000 for path in tmp_path.iterdir())  # no weights in them


def test_the_folder_reads_as_the_model_does(exported):
    folder, model, processor = exported
    for line in LINES[:4]:
        expected = [*generate(model, processor, str(line)).tokens]
        pixels = mx.array(np.load(folder / "samples" / f"{line.stem}.npy"))
        assert pixels.shape == (1, 32, 768, 3)
        assert read(folder, pixels) == expected
    said = json.loads((folder / "model.json").read_text())
    assert said["functions"]["encoder"]["inputs"] == [[1, 32, 768, 3]]
    assert said["image_processor"]["image_mean"] == [*processor.image_processor.image_mean]
    assert said["decoding"]["rules_not_followed"] == ""
    assert f"`capacity`: {said['decoding']['capacity']}" in (folder / "README.md").read_text()


def test_weights_are_there_once(exported):
    folder, model, _ = exported
    stored = sum(x.nbytes for x in mx.load(str(folder / "model.safetensors")).values())
    held = sum(x.nbytes for x in module.Weights(model).arrays())
    assert stored == held
    assert sum(path.stat().st_size for path in folder.glob("*.mlxfn")) < 300_000


def test_a_step_past_its_capacity_gives_no_number(tmp_path):
    model, processor = load()
    folder = export(model, processor, tmp_path / "out", max_new_tokens=3)
    step = mx.import_function(str(folder / "step.mlxfn"))
    arrays, said = mx.load(str(folder / "model.safetensors"), return_metadata=True)
    weights = {key: arrays[key] for key in said["step.weights"].split()}
    shapes = json.loads((folder / "model.json").read_text())["functions"]["step"]["inputs"]
    held = [mx.zeros(shape) for shape in shapes[2:]]
    assert said["capacity"] == "3"
    for position, finite in ((2, True), (3, False), (1000, False)):
        logits = step(mx.array([5]), mx.array([position]), *held, **weights)[0]
        assert bool(mx.isfinite(logits).all()) is finite


def test_what_differs_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    model, processor = load()

    def wrong(self, tokens, *memory):
        logits, *buffers = right(self, tokens, *memory)
        return [logits + 1e-2 * mx.abs(logits).max(), *buffers]

    right = module._Exported.prefill
    monkeypatch.setattr(module._Exported, "prefill", wrong)
    with pytest.raises(WeightsError, match=r"prefill.mlxfn, read back, is off by 0\.01"):
        export(model, processor, tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_rules_that_readers_do_not_follow_are_told(tmp_path):
    model, processor = load()
    model.generation_config.num_beams = 4
    model.generation_config.no_repeat_ngram_size = 3
    model.generation_config.suppress_tokens = [7, 9]
    folder = export(model, processor, tmp_path / "out", max_new_tokens=2, prompt="ab")
    said = mx.load(str(folder / "model.safetensors"), return_metadata=True)[1]
    assert "num_beams=4" in said["rules_not_followed"]
    assert "no_repeat_ngram_size=3" in said["rules_not_followed"]
    assert said["suppress_tokens"] == "7 9"
    ids = processor.prompt_ids("ab")
    assert [*map(int, said["prompt"].split())] == [model.config.decoder_start_token_id, *ids]
    assert said["max_new_tokens"] == "2" and said["capacity"] == str(len(ids) + 2)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"batch_size": 0}, OptionError, "batch_size is 0; expected a whole number, at least 1"),
        ({"batch_size": True}, OptionError, "batch_size is True"),
        ({"batch_size": 1025}, OptionError, "batch_size is 1025; expected at most 1024"),
        ({"samples": "a.png"}, OptionError, "samples is 'a.png'; expected a list of paths"),
        ({"max_new_tokens": 0}, OptionError, "max_new_tokens is 0"),
        ({"prompt": 7}, OptionError, "prompt is 7"),
        ({"samples": ["nowhere.png"]}, ValueError, "nowhere.png"),
        ({"samples": [LINES[0], LINES[0]]}, OptionError, "would be written as samples/"),
    ],
)
def test_what_is_refused(options, error, said, tmp_path):
    with pytest.raises(error, match=re.escape(said)):
        export(*load(), tmp_path / "out", **options)
    assert not [*tmp_path.iterdir()]


def test_models_and_folders_that_are_refused(tmp_path):
    model, processor = load()
    (tmp_path / "there").mkdir()
    for overwrite, said in ((False, "there exists"), (True, "no model's folder to overwrite")):
        with pytest.raises(CheckpointError, match=said):
            export(model, processor, tmp_path / "there", overwrite=overwrite)
    sizes = processor.image_processor
    processor.image_processor = None
    with pytest.raises(ConfigError, match="no image processor"):
        export(model, processor, tmp_path / "out")
    processor.image_processor = sizes
    add_adapters(model, LoraConfig())
    with pytest.raises(OptionError, match="adapters; fuse them"):
        export(model, processor, tmp_path / "out")
    assert [*tmp_path.iterdir()] == [tmp_path / "there"]


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["export", "--path", str(out), "-q", "--q-bits", "8", "-m", "4", "--batch", "2"]
    assert commands.main([*flags, "--image-size", "32x192", "--sample", str(LINES[0])]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    said = json.loads((out / "model.json").read_text())
    assert said["functions"]["encoder"]["inputs"] == [[2, 32, 192, 3]]
    assert np.load(out / "samples" / f"{LINES[0].stem}.npy").shape == (1, 32, 192, 3)
    assert commands.main(flags) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert commands.main([*flags, "--overwrite"]) == 0
    assert not (out / "samples").exists()
    capsys.readouterr()
    for wrong, message in ((["--image-size", "0"], "image_size"), (["--batch-size", "0"], "is 0")):
        assert commands.main(["export", "--path", str(tmp_path / "not"), *wrong]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "not").exists()


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The example in C++, compiled."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not (INSTALLED / "include").is_dir():
        pytest.skip("no C++ compiler here, or no headers of MLX")
    program = tmp_path_factory.mktemp("cpp") / "read_line"
    library = INSTALLED / "lib"
    flags = ["-std=c++20", f"-I{INSTALLED / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}"]
    subprocess.run([compiler, *flags, SOURCE, "-lmlx", "-o", program], check=True)
    return program


@pytest.mark.slow
def test_cpp_reads_what_python_does(exported, reader):
    folder, model, processor = exported
    images = LINES[:20]
    pixels = [folder / "samples" / f"{line.stem}.npy" for line in images]
    found = subprocess.run([reader, folder, *pixels], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert found.stderr == "" and len(lines) == 2 * len(images)
    for line, ids, text in zip(images, lines[::2], lines[1::2], strict=True):
        result = generate(model, processor, str(line))
        assert [*map(int, ids.split())] == [*result.tokens]
        assert text == result.text


@pytest.mark.slow
def test_cpp_says_what_it_does_not_do(reader, tmp_path):
    model, processor = load()
    model.generation_config.num_beams = 3
    folder = export(model, processor, tmp_path / "out", max_new_tokens=2, samples=LINES[1:2])
    pixels = tmp_path / "pixels.npy"
    next((folder / "samples").iterdir()).rename(pixels)

    def run(*words):
        return subprocess.run([reader, folder, *words], capture_output=True, text=True)

    found = run(pixels)
    assert found.returncode == 0 and "not followed: num_beams=3" in found.stderr
    assert len(found.stdout.splitlines()[0].split()) == 2
    found = run(pixels, "--max-tokens", "4")
    assert found.returncode == 1 and "position 2 is past the caches, of 2" in found.stderr
    for words, said in (
        (("--max-tokens", "many"), "--max-tokens is 'many'; expected a whole number"),
        (("--max-tokens", "0"), "--max-tokens is '0'"),
        (("--max-tokens",), "--max-tokens is ''"),
        (("--fast",), "--fast is no flag"),
    ):
        found = run(pixels, *words)
        assert found.returncode == 1 and said in found.stderr and not found.stdout
    array = np.load(pixels)
    for wrong, said in (
        (array[:, :, :200], "not of the shape 1 32 768 3 in float32"),
        (array.astype(np.float16), "not of the shape 1 32 768 3 in float32"),
        (array * np.nan, "the logits are no numbers"),
    ):
        np.save(tmp_path / "wrong.npy", wrong)
        found = run(tmp_path / "wrong.npy")
        assert found.returncode == 1 and said in found.stderr and len(found.stderr) < 300
    export(model, processor, folder, max_new_tokens=2, batch_size=2, overwrite=True)
    found = run(pixels)
    assert found.returncode == 1 and "take 2 images at once" in found.stderr
    for words, said in (((), "expected: read_line"), ((tmp_path / "no.npy",), "read_line: ")):
        found = run(*words)
        assert found.returncode == 1 and said in found.stderr and not found.stdout
