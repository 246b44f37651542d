"""Converting: what is written, what is refused, and that a failure leaves nothing half done."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel, commands, convert, generate, load
from mlx_vedec.checkpoints import folders, saving
from mlx_vedec.checkpoints.quantizing import dequantize, quantization_block, quantize
from mlx_vedec.checkpoints.weights import INDEX, parameters
from mlx_vedec.commands.common import bytes_done
from mlx_vedec.conversion import convert as conversion
from mlx_vedec.errors import CheckpointError, ConfigError, OptionError, WeightsError
from mlx_vedec.layers import packed as packed_layers, quantization_recipes as recipes
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.layers.quantization_config import POSSIBLE, QuantizationConfig
from mlx_vedec.reading.load import BUNDLED
from tests.checkpoints.test_quantizing import family_model
from tests.conftest import DATA
from tests.support.tiny import tiny_model
from tests.support.torch_files import save as save_pickle

LINE = DATA / "lines" / "seen_006.png"
FILES = {
    *("config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


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
    assert config["quantization"] == quantization_block(model) and config["dtype"] == "float16"
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
    shapes = {n: x.shape for n, x in tensors.items() if "pooler" not in n}
    assert shapes == {n: x.shape for n, x in names.items()}
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


@pytest.mark.parametrize("lacking", ["image processor", "tokenizer", "image processor, tokenizer"])
def test_without_a_processor_or_a_tokenizer(source, tmp_path, lacking):
    """What there is is kept, and what there is not is said."""
    gone = {"image processor": ("preprocessor",), "tokenizer": ("tokenizer", "vocab", "merges")}
    bare = shutil.copytree(source, tmp_path / "bare")
    for part in lacking.split(", "):
        for path in [p for p in bare.iterdir() if p.name.startswith(gone[part])]:
            path.unlink()
    said = []
    out = convert(bare, tmp_path / "out", say=said.append)
    for part in gone:
        told = any(line.startswith("warning: ") and f"has no {part}, " in line for line in said)
        assert told == (part in lacking)
    assert {p.name for p in out.iterdir()} == {p.name for p in bare.iterdir()}
    assert parameters(VisionEncoderDecoderModel.from_pretrained(out))


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
    with pytest.raises(
        OptionError, match="max_shard_size is 0; expected bytes, a whole number, 1 or more"
    ):
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
        ((saving, "stream_tensors"), 0, OSError),
        ((saving, "stream_tensors"), 2, RuntimeError),
        ((saving, "stream_tensors"), 1, KeyboardInterrupt),
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


def test_a_full_disk(tmp_path):
    """As a limit on the size of files has it: an error of the system's, and nothing is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            convert(BUNDLED, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from mlx_vedec import convert
real, calls = os.replace, []

def replace(source, place):
    calls.append(os.path.basename(source))
    if calls.count("new" if moment == "between" else "old") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, place)

def progress(done, total):
    if moment == "writing" and done > total / 2:
        os.kill(os.getpid(), signal.SIGKILL)

source, target, moment = sys.argv[1:]
os.replace = replace
convert(source, target, quantize=4, overwrite=True, progress=progress)
if moment == "after":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["writing", "between", "after"])
def test_a_kill_leaves_the_old_or_the_new(tmp_path, moment):
    """In its place, or, between the two renames, in a folder beside that the next one undoes."""
    target = convert(BUNDLED, tmp_path / "out", dtype="float32")
    before, new = contents(target), contents(convert(BUNDLED, tmp_path / "new", quantize=4))
    command = [sys.executable, "-c", KILLED, str(BUNDLED), str(target), moment]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    left = {
        "writing": {"out", ".out.unfinished"},
        "between": {".out.unfinished"},
        "after": {"out"},
    }
    assert {path.name for path in tmp_path.iterdir()} == {"new", *left[moment]}
    assert VisionEncoderDecoderModel.from_pretrained(target, lazy=True)  # a reader undoes it too
    with pytest.raises(CheckpointError, match="exists; give another path"):
        convert(BUNDLED, target)
    assert contents(target) == (new if moment == "after" else before)
    convert(BUNDLED, target, quantize=4, overwrite=True)
    assert contents(target) == new
    assert {path.name for path in tmp_path.iterdir()} == {"out", "new"}


def test_two_that_write_to_one_place(tmp_path):
    with folders.replacing(tmp_path / "out") as new:
        new.mkdir()
        with pytest.raises(CheckpointError, match="is being written by another process; wait"):
            convert(BUNDLED, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_target_that_comes_meanwhile(tmp_path):
    target = tmp_path / "out"

    def meddle(done, total):
        target.mkdir(exist_ok=True)

    with pytest.raises(CheckpointError, match="out exists; give another path"):
        convert(BUNDLED, target, progress=meddle)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not list(target.iterdir())


def touch(path):
    os.utime(path, ns=(0, 0))


def rewrite(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def cut(path):
    os.truncate(path, 100_000)


@pytest.mark.parametrize("change", [touch, rewrite, cut, os.unlink])
def test_a_source_that_changes_meanwhile(tmp_path, change):
    source, changed = shutil.copytree(BUNDLED, tmp_path / "source"), []

    def meddle(done, total):
        if done > total / 3 and not changed:
            changed.append(change(source / "model.safetensors"))

    with pytest.raises((CheckpointError, OSError), match="changed while it was read|No such file"):
        convert(source, tmp_path / "out", progress=meddle)
    assert changed and [path.name for path in tmp_path.iterdir()] == ["source"]


# types, and tensors one by one


def types(folder):
    return {x.dtype for x in mx.load(str(folder / "model.safetensors")).values()}


@pytest.fixture
def source(tmp_path):
    """A tiny float32 checkpoint with the bundled processor."""
    folder = tmp_path / "source"
    tiny_model(decoder={"vocab_size": 278}).save_pretrained(folder)
    load()[1].save_pretrained(folder)
    return folder


def test_float32_that_is_quantized_leaves_half_precision(source, tmp_path):
    lines = []
    folder = convert(source, tmp_path / "a", quantize=4, say=lines.append)
    assert types(folder) == {mx.uint32, mx.float16}
    assert lines[0] == "floats become float16, which holds all of them; dtype float32 keeps them"
    asked = convert(source, tmp_path / "b", quantize=4, dtype="float16")
    assert contents(folder) == contents(asked)
    kept = convert(source, tmp_path / "c", quantize=4, dtype="float32", say=lines.append)
    assert types(kept) == {mx.uint32, mx.float32}
    assert types(convert(source, tmp_path / "d")) == {mx.float32}
    brain = convert(source, tmp_path / "e", dtype="bfloat16")
    assert types(convert(brain, tmp_path / "f", quantize=4)) == {mx.uint32, mx.bfloat16}


@pytest.mark.parametrize("number", [70_000.0, float("inf"), float("nan")])
@pytest.mark.parametrize("pickled", [False, True])
def test_what_float16_does_not_hold_becomes_bfloat16(source, tmp_path, number, pickled):
    path = source / "model.safetensors"
    tensors = dict(mx.load(str(path)))
    mx.eval(tensors)
    tensors["encoder.layernorm.bias"][3] = number
    if pickled:
        arrays = {name: np.array(x) for name, x in tensors.items()}
        save_pickle(path.with_name("pytorch_model.bin"), arrays)
        path.unlink()
    else:
        mx.save_safetensors(str(path), tensors)
    lines = []
    folder = convert(source, tmp_path / "out", quantize=4, say=lines.append)
    assert types(folder) == {mx.uint32, mx.bfloat16} and "floats become bfloat16" in lines[0]


CHANGES = {
    "plain": {},
    "cast": {"dtype": "bfloat16"},
    **{mode: {"quantize": QuantizationConfig(mode=mode, group_size=None)} for mode in POSSIBLE},
    "mixed": {"quantize": QuantizationConfig(3, 32), "dtype": "float32"},
}


@pytest.mark.parametrize("decoder", ["untied trocr", "gpt2"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_written_is_the_model_changed_in_memory(tmp_path, decoder, name):
    """To the bit, there and back, though the converter never has the model in memory."""
    source, change = tmp_path / "source", CHANGES[name]
    model = family_model(decoder.removeprefix("untied "))
    if decoder.startswith("untied"):
        model.untie()
    model.save_pretrained(source)
    load()[1].save_pretrained(source)
    dtype, settings = change.get("dtype", "float16" if "quantize" in change else None), None
    if dtype:
        model.astype(dtype)
    if settings := change.get("quantize"):
        quantize(model, settings)
    written = [convert(source, tmp_path / "there", **change)]
    model.save_pretrained(tmp_path / "there in memory")
    if settings:
        dequantize(model)
        written.append(convert(written[0], tmp_path / "back", dequantize=True))
        model.save_pretrained(tmp_path / "back in memory")
    for folder in written:
        expected = folder.with_name(f"{folder.name} in memory")
        for file in ("model.safetensors", "config.json"):
            assert (folder / file).read_bytes() == (expected / file).read_bytes()


@pytest.mark.parametrize(
    "change", [{}, {"dtype": "float32"}, {"quantize": 8}, {"dequantize": True}]
)
def test_no_more_than_a_tensor_is_in_memory(packed, tmp_path, monkeypatch, change):
    """The largest twice: of 0.6 MB as float32, of 16 together; and what is unpacked at a time."""
    monkeypatch.setattr(packed_layers, "PIECE", 2048)
    source, before = packed if "dequantize" in change else BUNDLED, mx.get_active_memory()
    mx.reset_peak_memory()
    convert(source, tmp_path / "out", **change)
    assert 0.29e6 < mx.get_peak_memory() - before < 2 * 0.59e6


def test_finding_the_type_reads_one_tensor_after_another(tmp_path):
    """Whether float16 holds the numbers of a float32 source is known before anything is written."""
    source = convert(BUNDLED, tmp_path / "source", dtype="float32")
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    convert(source, tmp_path / "out", quantize=4, dry_run=True)
    assert 0.58e6 < mx.get_peak_memory() - before < 2 * 0.59e6


@pytest.mark.parametrize("change", [{}, {"quantize": 4}, {"dequantize": True}])
def test_the_layers_of_a_model_are_sought_twice_at_most(packed, tmp_path, monkeypatch, change):
    """To quantize them, as the file has it or as asked for, and to say so in the config."""
    source, seen, real = packed if "dequantize" in change else BUNDLED, [], recipes._may_be
    count = len(VisionEncoderDecoderModel.from_folder(source).modules())
    monkeypatch.setattr(recipes, "_may_be", lambda *a: seen.append(a) or real(*a))
    convert(source, tmp_path / "out", **change)
    assert count <= len(seen) <= 2 * count


def test_progress(source, tmp_path):
    seen = []
    progress = lambda *counts: seen.append(counts)  # noqa: E731
    folder = convert(source, tmp_path / "out", max_shard_size=30_000, progress=progress)
    size = json.loads((folder / INDEX).read_text())["metadata"]["total_size"]
    assert seen == sorted(seen) and len(seen) > 20 and {total for _, total in seen} == {size}
    assert seen[-1] == (size, size)


# the config


def test_config_values_that_fit(source, tmp_path):
    config = json.loads((source / "config.json").read_text())
    config["decoder"]["vocab_size"], config["decoder"]["max_position_embeddings"] = 250, 31
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError) as caught:
        convert(source, tmp_path / "out")
    flags = str(caught.value).partition("mlx_vedec convert ")[2].split()
    values = dict(flag.split("=") for flag in flags if flag != "--config")
    assert values == {"decoder.vocab_size": "278", "decoder.max_position_embeddings": "20"}
    assert not (tmp_path / "out").exists()
    fields = {"decoder.vocab_size": 278, "decoder.max_position_embeddings": 20}
    folder = convert(source, tmp_path / "out", config={**fields, "eos_token_id": [2, 3]})
    written = json.loads((folder / "config.json").read_text())
    assert written["decoder"]["vocab_size"] == 278 and written["eos_token_id"] == [2, 3]
    assert VisionEncoderDecoderModel.from_pretrained(folder).config.decoder.vocab_size == 278


def test_no_value_is_known_for_another_width(source, tmp_path):
    with pytest.raises(WeightsError) as caught:
        convert(source, tmp_path / "out", config={"decoder.decoder_ffn_dim": 40})
    assert "misshapen" in str(caught.value) and "would fit" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("decoder.vocab_sise", 3, "trocr config: vocab_sise is 3; it is no field; did you mean"),
        ("zzz", 3, "zzz is 3; it is no field; known are "),
        ("extra", 3, "extra is 3; it is no field"),
        ("pad_token_id.x", 3, "pad_token_id.x is 3; expected pad_token_id without a point"),
        ("decoder.vocab_size", "many", "vocab_size is 'many'; expected int"),
        ("decoder", 3, "decoder is 3"),
    ],
)
def test_config_values_that_are_none(tmp_path, name, value, message):
    with pytest.raises(ConfigError) as caught:
        convert(BUNDLED, tmp_path / "out", config={name: value})
    assert message in str(caught.value) and not list(tmp_path.iterdir())


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
    block = quantization_block(model)
    assert block["bits"] == 5 and block["encoder.encoder.layer.0.output.dense"] is False
    assert bits_per_weight(model) > 8
    code, out, err = run("--mlx-path", target, "-q", "--q-mode", "mxfp8", "--overwrite")
    model = VisionEncoderDecoderModel.from_pretrained(target)
    assert code == 0 and quantization_block(model)["mode"] == "mxfp8"
    code, out, err = run("--mlx-path", target, "--overwrite", "--config", "decoder.dropout=0.5")
    config = json.loads((target / "config.json").read_text())
    assert code == 0 and config["decoder"]["dropout"] == 0.5 and err.endswith(" MB written\n")
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
        (("-q", "--q-group-size", 16), "affine with bits 4 and group size 16 is impossible"),
        (("-q", "--q-mode", "mxfp4", "--q-bits", 8), "mxfp4 with bits 4 and group size 32;"),
        (("-q", "--q-mode", "nvfp4", "--q-group-size", 64), "nvfp4 with bits 4 and group size 16;"),
        (("-q", "--q-decoder-bits", 9), "impossible; possible are"),
        (("--config", "vocab_size"), "--config 'vocab_size'; expected KEY=VALUE"),
        (("--config", "decoder.vocab_size=3"), "decoder.vocab_size=278 in the config would fit"),
    ],
)
def test_command_refuses(run, tmp_path, flags, message):
    code, out, err = run("--mlx-path", tmp_path / "out", *flags)
    assert code == 1 and not out and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["5 lots", "-1MB", "", "9" * 5000])
def test_sizes_that_are_none(run, tmp_path, size, capsys):
    with pytest.raises(SystemExit):
        run("--mlx-path", tmp_path / "out", "--max-shard-size", size)


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for done in (1000, 2000):
        bytes_done(done, 2000)
    assert capsys.readouterr().err == "\r\033[K50 % of 0.0 MB written\r\033[K0.0 MB written\n"


def test_a_dtype_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="dtype is int4"):
        convert(BUNDLED, tmp_path / "out", dtype="int4")
