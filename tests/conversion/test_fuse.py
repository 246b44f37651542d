"""Adapters merged into weights, in memory and as checkpoints: what is kept, rounded, written."""

import json
import shutil

import mlx.core as mx
import pytest

from mlx_vedec import VisionEncoderDecoderModel, commands, generate, load
from mlx_vedec.adapters.wrapping import LoraConfig, add_adapters, fuse, load_adapters, save_adapters
from mlx_vedec.checkpoints.quantizing import quantization_block, quantize
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.conversion.convert import convert
from mlx_vedec.conversion.fuse import fuse_checkpoint
from mlx_vedec.errors import OptionError
from mlx_vedec.layers.lora import adapted_layers
from mlx_vedec.layers.packed import is_quantized
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.reading.load import BUNDLED
from tests.adapters.test_adapters import FORMATS, add, logits, same, stirred, trainable
from tests.checkpoints.test_quantizing import family_model, small_model
from tests.conftest import DATA
from tests.support.tiny import tiny_model

LINE = str(DATA / "lines" / "seen_006.png")


def relative(ours, theirs):
    return (mx.linalg.norm(ours - theirs) / mx.linalg.norm(theirs)).item()


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("decoder", ["trocr", "gpt2", "bert"])
def test_fused_floats_give_what_adapters_gave(kind, decoder):
    model = stirred(add(family_model(decoder), LoraConfig(kind, embeddings=True)))
    names, expected = {*parameters(family_model(decoder))}, logits(model)
    report = fuse(model)
    assert relative(logits(model), expected) < 1e-5
    assert {*parameters(model)} == names == {*trainable(model)} and not adapted_layers(model)
    assert all(layer.change > 0.01 and layer.rounding is None for layer in report)
    assert len(report) == len({layer.name for layer in report})


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_types_stay(dtype):
    model = stirred(add(tiny_model().astype(dtype), LoraConfig(embeddings=True)), 0.02)
    expected = logits(model)
    fuse(model)
    assert {x.dtype for x in parameters(model).values()} == {dtype}
    assert relative(logits(model), expected) < 20 * mx.finfo(dtype).eps


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize(("mode", "bits"), FORMATS)
def test_quantized_layers_are_merged_as_floats_or_rounded_as_reported(mode, bits, kind):
    def adapted():
        model = small_model()
        quantize(model, QuantizationConfig(bits, mode=mode, recipe="uniform"))
        return stirred(add(model, LoraConfig(kind, rank=4, embeddings=True)))

    model = adapted()
    expected, before = logits(model), quantization_block(model)
    merged = {path: layer.merged() for path, layer in adapted_layers(model).items()}
    report = fuse(model, dequantize=True)
    assert not is_quantized(model) and relative(logits(model), expected) < 1e-4
    assert all(layer.rounding is None for layer in report)
    again = adapted()
    report = fuse(again)
    assert quantization_block(again) == before
    modules = dict(again.named_modules())
    for (path, whole), layer in zip(merged.items(), report, strict=True):
        own = modules[path]
        form = {"group_size": own.group_size, "bits": own.bits, "mode": own.mode}
        rounded = mx.dequantize(own.weight, own.scales, own.get("biases"), **form)
        assert relative(rounded, whole) == pytest.approx(layer.rounding, rel=1e-3)
        assert layer.lost == pytest.approx(layer.rounding / layer.change)
        assert 0.001 < layer.rounding < {2: 0.5, 3: 0.25, 4: 0.15}.get(bits, 0.08)
    assert {*trainable(again)}.isdisjoint({n for n in parameters(again) if "scales" in n})


def test_nothing_to_fuse():
    with pytest.raises(OptionError, match="no adapters to fuse"):
        fuse(tiny_model())
    with pytest.raises(OptionError, match="nothing to dequantize"):
        fuse(add(tiny_model()), dequantize=True)


# checkpoints


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """A folder of adapters of the bundled model, which change what it reads."""
    folder = tmp_path_factory.mktemp("adapters")
    model, _ = load()
    save_adapters(stirred(add(model, LoraConfig(targets=("decoder", "mlp"))), 0.3), folder)
    return folder


@pytest.fixture
def run(capsys):
    def call(*argv):
        try:
            code = commands.main(["fuse", *map(str, argv)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def texts(*arguments, **options):
    model, processor = load(*arguments, **options)
    result = generate(model, processor, LINE)
    return result.text, result.score


def test_the_fused_folder_reads_as_base_and_adapters_do(run, adapters, tmp_path):
    out = tmp_path / "fused"
    code, stdout, stderr = run(
        *("--model", BUNDLED, "--adapter-path", adapters, "--save-path", out)
    )
    assert (code, stdout) == (0, f"{out}\n") and "4 layers changed, by " in stderr
    text, score = texts(adapter_path=adapters)
    fused = texts(out, dtype="float32")
    assert fused[0] == text != texts()[0] and abs(fused[1] - score) < 0.02
    base = mx.load(str(BUNDLED / "model.safetensors"))
    own = mx.load(str(out / "model.safetensors"))
    assert {n: (x.dtype, x.shape) for n, x in own.items() if "pooler" not in n} == {
        n: (x.dtype, x.shape) for n, x in base.items()
    }
    changed = {n for n in base if not mx.array_equal(base[n], own[n])}
    assert {n.rpartition(".")[2] for n in changed} == {"weight"} and len(changed) == 4
    assert (out / "tokenizer.json").is_file() and (out / "generation_config.json").is_file()


@pytest.mark.slow
def test_quantized_checkpoints(run, adapters, tmp_path):
    """Adapters trained on a quantized base: rounded again, or floats that transformers reads."""
    packed, own, out = tmp_path / "packed", tmp_path / "own", tmp_path / "fused"
    convert(BUNDLED, packed, quantize=4)
    model, _ = load(packed)
    save_adapters(stirred(add(model, LoraConfig(targets=("decoder", "mlp"))), 0.05), own)
    arguments = ("--model", packed, "--adapter-path", own, "--save-path", out)
    code, _, stderr = run(*arguments)
    assert code == 0 and "4 of them quantized again, which is off by " in stderr
    block = json.loads((packed / "config.json").read_text())["quantization"]
    assert json.loads((out / "config.json").read_text())["quantization"] == block
    assert run(*arguments)[::2] == (
        1,
        f"mlx_vedec fuse: error: {out} exists; give another path, or replace it (--overwrite, "
        "overwrite=True)\n",
    )
    code, _, stderr = run(*arguments, "--dequantize", "--overwrite")
    assert code == 0 and "quantized again" not in stderr
    assert "quantization" not in json.loads((out / "config.json").read_text())
    text, score = texts(packed, adapter_path=own)
    floats = texts(out)
    assert floats[0] == text and abs(floats[1] - score) < 0.02


def test_what_goes_wrong_writes_nothing(run, adapters, tmp_path):
    out = tmp_path / "fused"
    model = ("--model", BUNDLED, "--save-path", out)
    missing = run(*model, "--adapter-path", tmp_path / "none")
    assert missing[0] == 1 and "none" in missing[2] and missing[2].count("\n") == 1
    code, _, error = run(*model, "--adapter-path", adapters, "--dequantize")
    assert code == 1 and "the model is not quantized" in error
    shutil.copytree(adapters, tmp_path / "a")
    code, _, error = run(
        "--model", BUNDLED, "--adapter-path", tmp_path / "a", "--save-path", tmp_path / "a" / "b"
    )
    assert code == 1 and "one inside the other" in error
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_full_fine_tuning_is_written_as_a_checkpoint(tmp_path):
    """What was trained itself needs no fusing: it is in the model, and in the fused folder."""
    model, _ = load()
    add_adapters(model, LoraConfig("full", targets=("decoder", "cross")))
    save_adapters(stirred(model, 0.01), tmp_path / "full")
    fuse_checkpoint(BUNDLED, tmp_path / "full", tmp_path / "fused")
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "fused")
    other, _ = load()
    load_adapters(other, tmp_path / "full")
    assert same(parameters(again), parameters(other.astype("float16").astype("float32")))
