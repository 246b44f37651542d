"""Weights that other libraries quantized: one method is undone, the others are named."""

import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders.gpt2 import GPT2Config
from mlx_vedec.errors import WeightsError
from tests.support.tiny import VIT, pixels, tiny_model
from tests.support.torch_files import save

GPT2 = {"vocab_size": 37, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 20}
BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}


def captioner():
    """GPT-2 keeps its linear layers as (in, out); some here are square."""
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**VIT), GPT2Config(**GPT2)
    )
    model = VisionEncoderDecoderModel(config)
    model.apply(lambda x: mx.random.normal(x.shape, scale=0.2))
    return model


def rounded(weight):
    """A matrix (out, in) as bitsandbytes has it: int8, and the largest of each row."""
    scale = np.abs(weight).max(1)
    return np.round(weight * (127 / scale[:, None])).astype(np.int8), scale


def quantize(folder, *, pickled=False, layout=None):
    """Rewrite a saved folder as bitsandbytes does, which leaves embeddings and heads alone."""
    path = folder / "model.safetensors"
    arrays = {name: np.array(x) for name, x in mx.load(str(path)).items()}
    quantized = {}
    for name, x in arrays.items():
        layer = name.removesuffix(".weight")
        kept = any(part in name for part in ("embed", "pooler", "wte.weight", "wpe.weight"))
        if x.ndim != 2 or kept:
            continue
        turned = ".h." in name
        quantized[name], quantized[f"{layer}.SCB"] = rounded(x.T if turned else x)
        if layout is not None:
            quantized[f"{layer}.weight_format"] = np.array(layout, np.uint8)
    arrays |= quantized
    if pickled:
        path.unlink()
        save(folder / "pytorch_model.bin", arrays)
    else:
        mx.save_safetensors(str(path), {name: mx.array(x) for name, x in arrays.items()})
    configure(folder, quantization_config=BITSANDBYTES)


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("layout", [None, 0])
@pytest.mark.parametrize("make", [tiny_model, captioner])
def test_int8_of_bitsandbytes(tmp_path, make, layout, pickled):
    """Every weight is its own to half a step of its row; what is saved says nothing of int8."""
    model = make()
    model.save_pretrained(tmp_path)
    quantize(tmp_path, pickled=pickled, layout=layout)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    before, after = parameters(model), parameters(again)
    assert before.keys() == after.keys()
    changed = 0
    for name, x in before.items():
        step = np.abs(x).max() / 127
        error = np.abs(np.array(x) - np.array(after[name])).max()
        assert error <= 0.51 * step, name
        changed += error > 0
    assert changed >= 20
    again.save_pretrained(tmp_path / "floats")
    assert "quantization_config" not in json.loads((tmp_path / "floats/config.json").read_text())


def test_rows_have_their_own_scale(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    quantize(tmp_path)
    tensors = mx.load(str(tmp_path / "model.safetensors"))
    name = "decoder.model.decoder.layers.0.fc1"
    expected = np.array(tensors[f"{name}.weight"]) * np.array(tensors[f"{name}.SCB"])[:, None] / 127
    got = parameters(VisionEncoderDecoderModel.from_pretrained(tmp_path))
    np.testing.assert_allclose(np.array(got["decoder.layers.0.mlp.fc1.weight"]), expected, 1e-6)


@pytest.mark.parametrize(("key", "value"), [("dtype", "bfloat16"), ("torch_dtype", "float16")])
def test_floats_are_of_the_configs_type(tmp_path, key, value):
    tiny_model().save_pretrained(tmp_path)
    quantize(tmp_path)
    configure(tmp_path, **{"dtype": None, key: value})
    model = VisionEncoderDecoderModel.from_folder(tmp_path)
    assert str(model.decoder.layers[0].mlp.fc1.weight.dtype) == f"mlx.core.{value}"


def test_int8_in_a_gpus_order(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    quantize(tmp_path, layout=2)
    with pytest.raises(WeightsError, match="in the order of one kind of GPU; expected rows"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": None},
        {"weight": mx.zeros((40, 24))},
        {"SCB": mx.zeros((39,))},
        {"SCB": mx.zeros(())},
        {"weight": mx.array(3, mx.int8), "SCB": mx.zeros(())},
    ],
)
def test_scales_that_do_not_fit(tmp_path, changes):
    tiny_model().save_pretrained(tmp_path)
    quantize(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = dict(mx.load(str(path)))
    mx.eval(tensors)
    layer = "encoder.encoder.layer.0.intermediate.dense"
    tensors |= {f"{layer}.{name}": value for name, value in changes.items()}
    mx.save_safetensors(str(path), {name: x for name, x in tensors.items() if x is not None})
    with pytest.raises(WeightsError, match=f"{layer}.SCB of .* expected a scale for each row"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


LAYER = "decoder.model.decoder.layers.0.fc1"


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (["weight.absmax", "weight.quant_state.bitsandbytes__nf4"], "bitsandbytes nf4"),
        (["weight.absmax", "weight.quant_state.bitsandbytes__fp4"], "bitsandbytes fp4"),
        (["weight.absmax", "weight.nested_absmax"], "bitsandbytes 4-bit"),
        (["qweight", "qzeros", "scales", "g_idx"], "gptq"),
        (["qweight", "qzeros", "scales"], "gptq or awq"),
        (["codes", "codebooks", "scales"], "aqlm"),
        (["W_q", "scale", "zero"], "hqq"),
        (["weight_packed", "weight_scale"], "compressed-tensors"),
        (["weight_scale_inv"], "fp8"),
        (["weight_scale"], "fp8 or compressed-tensors"),
        (["weight._data", "weight._scale"], "quanto"),
    ],
)
def test_methods_by_their_tensors(tmp_path, names, method):
    tiny_model().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = dict(mx.load(str(path)))
    mx.eval(tensors)
    tensors |= {f"{LAYER}.{name}": mx.zeros((2,), mx.uint8) for name in names}
    mx.save_safetensors(str(path), tensors)
    with pytest.raises(WeightsError, match=f"are quantized with {method}; expected floats, or"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("method", ["gptq", "awq", "torchao", "fp8", "a" * 100, 7])
def test_methods_by_the_config(tmp_path, method):
    tiny_model().save_pretrained(tmp_path)
    configure(tmp_path, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(WeightsError, match=f"quantized with {str(method)[:40]}; expected floats"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("given", [BITSANDBYTES, {"bits": 4, "group_size": 64}, None, "none"])
def test_floats_are_floats_whatever_the_config_says(tmp_path, given):
    """bitsandbytes quantizes what it loads; and MLX's own config names no method."""
    tiny_model().save_pretrained(tmp_path)
    configure(tmp_path, quantization_config=given)
    model = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert mx.array_equal(model.encode(pixels()), tiny_model().encode(pixels()))
