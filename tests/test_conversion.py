"""Converting: what is written, what is refused, and that a failure leaves nothing half done."""

import json
import os
import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel, commands, conversion, convert, generate, load
from mlx_vedec.errors import CheckpointError, ConfigError, OptionError
from mlx_vedec.pipeline import BUNDLED
from mlx_vedec.quantization import QuantizationConfig
from mlx_vedec.quantize import bits_per_weight, block
from mlx_vedec.weights import parameters
from tests.conftest import DATA
from tests.torch_files import save as save_pickle

LINE = DATA / "lines" / "seen_006.png"
FILES = {
    *("config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The bundled model at 4 bits, by the default recipe."""
    return convert(BUNDLED, tmp_path_factory.mktemp("converted") / "packed", quantize=4)


def test_quantized(packed):
    assert {path.name for path in packed.iterdir()} == FILES
    model, processor = load(packed)
    assert generate(model, processor, LINE).text == "wheel 206,3"
    other = VisionEncoderDecoderModel.from_pretrained(BUNDLED, dtype="float16", quantize=4)
    stored = VisionEncoderDecoderModel.from_pretrained(packed, dtype="float16")
    assert all(mx.array_equal(x, parameters(stored)[n]) for n, x in parameters(other).items())
    config = json.loads((packed / "config.json").read_text())
    assert config["quantization"] == block(model) and config["dtype"] == "float16"
    size = (packed / "model.safetensors").stat().st_size
    assert size < 0.42 * (BUNDLED / "model.safetensors").stat().st_size
    _, metadata = mx.load(str(packed / "model.safetensors"), return_metadata=True)
    assert metadata == {"format": "mlx"}


def test_of_what_is_converted_already(packed, tmp_path):
    """As it is, it is the same to the bit; quantizing what is quantized is refused."""
    assert contents(convert(packed, tmp_path / "again")) == contents(packed)
    with pytest.raises(OptionError, match="is quantized already; dequantize it first"):
        convert(packed, tmp_path / "twice", quantize=8)
    assert not (tmp_path / "twice").exists()


def test_dequantized(packed, tmp_path):
    folder = convert(packed, tmp_path / "floats", dequantize=True, dtype="float32")
    assert {path.name for path in folder.iterdir()} == FILES
    names = mx.load(str(BUNDLED / "model.safetensors"))
    tensors, metadata = mx.load(str(folder / "model.safetensors"), return_metadata=True)
    assert {n: x.shape for n, x in tensors.items()} == {n: x.shape for n, x in names.items()}
    assert {x.dtype for x in tensors.values()} == {mx.float32} and metadata == {"format": "pt"}
    model, processor = load(folder)
    x = processor(LINE).pixel_values
    ids = mx.array([[2, 90, 75]])
    expected = np.array(load(packed)[0](x, ids).logits)
    np.testing.assert_allclose(np.array(model(x, ids).logits), expected, atol=2e-2)
    with pytest.raises(OptionError, match="not quantized; there is nothing to dequantize"):
        convert(folder, tmp_path / "again", dequantize=True)
    with pytest.raises(OptionError, match="both given; expected one"):
        convert(packed, tmp_path / "again", dequantize=True, quantize=4)


def test_of_a_pickle_without_tokenizer_json_kept_in_shards(packed, tmp_path):
    """What comes of torch's file is what comes of the other; a tokenizer.json is always written."""
    source = tmp_path / "pickled"
    shutil.copytree(BUNDLED, source)
    tensors = mx.load(str(source / "model.safetensors"))
    save_pickle(source / "pytorch_model.bin", {n: np.array(x) for n, x in tensors.items()})
    (source / "model.safetensors").unlink()
    folder = convert(source, tmp_path / "out", quantize=4, max_shard_size=400_000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 5 and all(path.stat().st_size < 450_000 for path in shards)
    joined = {name: x for path in shards for name, x in mx.load(str(path)).items()}
    expected = mx.load(str(packed / "model.safetensors"))
    assert joined.keys() == expected.keys()
    assert all(mx.array_equal(x, expected[name]) for name, x in joined.items())
    assert (folder / "tokenizer.json").is_file()


def test_what_is_said(tmp_path):
    lines = []
    settings = QuantizationConfig(8, 128, overrides={"encoder.encoder.layer.0": False})
    convert(BUNDLED, tmp_path / "out", quantize=settings, say=lines.append, dry_run=True)
    assert not list(tmp_path.iterdir())
    assert any("layers: affine, 8 bits in groups of 128" in line for line in lines)
    assert any("in smaller groups than asked for" in line for line in lines)
    assert any("6 left as floats (as asked): encoder.encoder.layer.0.a" in line for line in lines)
    assert lines[-1].endswith("8.0 MB before") and "bits per weight" in lines[-1]


# targets


def test_targets_that_are_refused(tmp_path):
    source = shutil.copytree(BUNDLED, tmp_path / "source")
    before = contents(source)
    for overwrite in (False, True):
        for target in (source, source / "inside", tmp_path, source / ".." / "source"):
            with pytest.raises(CheckpointError):
                convert(source, target, overwrite=overwrite)
    with pytest.raises(CheckpointError, match="are one folder or one inside the other; give ano"):
        convert(source, source, overwrite=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text").write_text("mine")
    with pytest.raises(CheckpointError, match="is no model's folder to overwrite"):
        convert(source, tmp_path / "notes", overwrite=True)
    with pytest.raises(OptionError, match="max_shard_size is 0; expected bytes, 1 or more"):
        convert(source, tmp_path / "out", max_shard_size=0)
    assert contents(source) == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "notes"}


def test_overwriting(tmp_path):
    target = convert(BUNDLED, tmp_path / "out")
    (target / "leftover.txt").write_text("of before")
    convert(BUNDLED, target, dtype="float32", overwrite=True)
    assert {path.name for path in target.iterdir()} == FILES
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fail_at(monkeypatch, where, count, kind):
    """Let a function of a module fail at its n-th call, from 0."""
    module, name = where
    real, calls = getattr(module, name), []

    def call(*arguments, **keywords):
        calls.append(1)
        if len(calls) > count:
            raise kind("no space left")
        return real(*arguments, **keywords)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("where", "count", "kind"),
    [
        ((mx, "save_safetensors"), 0, RuntimeError),
        ((mx, "save_safetensors"), 2, RuntimeError),
        ((mx, "save_safetensors"), 1, KeyboardInterrupt),
        ((conversion.Processor, "save_pretrained"), 0, OSError),
        ((os, "replace"), 0, OSError),
        ((os, "replace"), 7, OSError),
    ],
)
def test_a_failure_leaves_nothing_or_the_old(tmp_path, monkeypatch, there, where, count, kind):
    target = tmp_path / "out"
    if there:
        convert(BUNDLED, target, dtype="float32")
        before = contents(target)
    with monkeypatch.context() as patched:
        fail_at(patched, where, count, kind)
        error = OSError if kind is RuntimeError else kind
        with pytest.raises(error, match="no space left"):
            convert(BUNDLED, target, quantize=4, max_shard_size=10**6, overwrite=there)
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if there else [])
    assert not there or contents(target) == before
    assert convert(BUNDLED, target, quantize=4, overwrite=there).is_dir()


def test_a_failure_between_the_renames_puts_the_old_back(tmp_path, monkeypatch):
    target = convert(BUNDLED, tmp_path / "out", dtype="float32")
    before, real = contents(target), os.replace

    def refuse_new(source, place):
        if os.path.basename(source) == "new":
            raise OSError("no space left")
        return real(source, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse_new)
        with pytest.raises(OSError, match="no space left"):
            convert(BUNDLED, target, overwrite=True)
    assert contents(target) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


# the command line


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = commands.main(["convert", "--model", str(BUNDLED), *map(str, argv)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_command(run, tmp_path):
    target = tmp_path / "out"
    flags = ("-q", "--q-bits", 4, "--q-group-size", 32, "--q-encoder-bits", "none")
    flags += ("--q-decoder-bits", 5, "--quant-predicate", "uniform", "--max-shard-size", "2MB")
    code, out, err = run("--mlx-path", target, *flags)
    assert (code, out) == (0, f"{target}\n")
    assert "21 layers: affine, 5 bits in groups of 32" in err and "MB before" in err
    assert len(list(target.glob("*.safetensors"))) > 1
    model = VisionEncoderDecoderModel.from_pretrained(target)
    assert block(model)["bits"] == 5 and not block(model)["encoder.encoder.layer.0.output.dense"]
    assert bits_per_weight(model) > 8
    code, out, err = run("--mlx-path", target, "-q", "--q-mode", "mxfp8", "--overwrite")
    assert code == 0 and block(VisionEncoderDecoderModel.from_pretrained(target))["mode"] == "mxfp8"
    code, out, err = run("--mlx-path", tmp_path / "none", "-q", "--dry-run")
    assert code == 0 and "bits per weight" in err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--q-bits", 4), "flags of quantization are given without -q; add it"),
        (("-q", "--q-bits", 7), "impossible; possible are affine with bits 2, 3, 4, 5, 6, 8 and"),
        (("-q", "--q-mode", "gguf"), "mode is 'gguf'; possible are affine with"),
        (("-q", "--quant-predicate", "best"), "recipe 'best' is unknown; known are uniform, head"),
        (("-q", "-d"), "quantize and dequantize are both given"),
        (("-d",), "the model is not quantized"),
    ],
)
def test_command_refuses(run, tmp_path, flags, message):
    code, out, err = run("--mlx-path", tmp_path / "out", *flags)
    assert code == 1 and not out and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["5 lots", "-1MB", ""])
def test_sizes_that_are_none(run, tmp_path, size, capsys):
    with pytest.raises(SystemExit):
        run("--mlx-path", tmp_path / "out", "--max-shard-size", size)


def test_a_dtype_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="dtype is int4"):
        convert(BUNDLED, tmp_path / "out", dtype="int4")
