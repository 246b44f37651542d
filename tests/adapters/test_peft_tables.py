"""Adapters of PEFT whose base had a larger vocabulary, at `load` and on the command line."""

import json

import mlx.core as mx
import pytest

from mlx_vedec import load
from mlx_vedec.commands import main
from mlx_vedec.errors import ConfigError
from mlx_vedec.layers.lora import adapted_layers
from mlx_vedec.reading.load import BUNDLED
from tests.support import training_parts as parts

TABLE = "base_model.model.decoder.model.decoder.embed_tokens"


def peft_folder(folder, tensors, **values):
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **values}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def table():
    """The bundled model's rows, and four more."""
    own = load()[0].decoder.embed_tokens.weight
    return mx.concatenate([own, mx.full((4, own.shape[1]), 0.5)])


def test_a_table_that_was_saved_whole(tmp_path, table):
    folder = peft_folder(
        tmp_path / "peft", {f"{TABLE}.weight": table}, modules_to_save=["embed_tokens"]
    )
    model, _ = load(adapter_path=folder)
    assert (
        model.config.decoder.vocab_size
        == len(table)
        == len(load()[0].decoder.embed_tokens.weight) + 4
    )
    assert mx.array_equal(model.decoder.embed_tokens.weight, table)
    with pytest.raises(ConfigError, match="embedding is quantized; dequantize"):
        load(adapter_path=folder, quantize=8)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_adapters_of_a_compiled_model(tmp_path, wrapper):
    layer = "decoder.model.decoder.layers.0.fc1"
    own = mx.random.normal((4, 256)), mx.random.normal((512, 4))
    names = [f"base_model.model.{wrapper}{layer}.lora_{end}.weight" for end in "AB"]
    model, _ = load(adapter_path=peft_folder(tmp_path / "peft", dict(zip(names, own, strict=True))))
    found = adapted_layers(model)
    assert len(found) == 1 and mx.array_equal(next(iter(found.values())).lora_b, own[1].T)


def test_rows_that_were_trained_alone_on_the_command_line(tmp_path, table, caplog):
    before = len(table) - 4
    rows = {f"{TABLE}.token_adapter.trainable_tokens_delta": table[-4:]}
    folder = peft_folder(
        tmp_path / "peft", rows, trainable_token_indices=[before + i for i in range(4)]
    )
    model, _ = load(adapter_path=folder)
    assert mx.array_equal(model.decoder.embed_tokens.weight[before:], table[-4:])
    picture = tmp_path / "line.png"
    parts.picture().save(picture)
    flags = ["--model", str(BUNDLED), "--adapter-path", str(folder), "--image", str(picture)]
    caplog.clear()
    assert main(["generate", *flags, "--max-tokens", "2"]) == 0
    assert f"grows from {before} to {len(table)}" in caplog.text
