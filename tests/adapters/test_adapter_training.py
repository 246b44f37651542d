"""The parts together: the bundled model, real lines, adapters, and what is left on disk."""

from __future__ import annotations

import json

import mlx.core as mx

import mlx_vedec
from mlx_vedec.adapters.wrapping import LoraConfig, add_adapters, load_adapters, save_adapters
from mlx_vedec.checkpoints.quantizing import quantize
from mlx_vedec.data.batches import Batches
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.training.trainer import train
from tests.conftest import DATA
from tests.support.training import Keeper, RandomBatches, fresh, quick

LINES = DATA / "lines"


def test_adapters_are_trained_gone_on_with_and_loaded(tmp_path):
    def begin():
        model, processor = mlx_vedec.load()
        mx.random.seed(0)
        add_adapters(model, LoraConfig(rank=4, dropout=0.1, targets=("decoder", "attention")))
        return model, processor

    model, processor = begin()
    found = json.loads((LINES / "reference.json").read_text(encoding="utf-8"))
    short = sorted(found, key=lambda line: len(line["ids"]))[:4]
    lines = [(LINES / line["file"], line["label"]) for line in short]
    batches = Batches(lines, model, processor, batch_size=2)
    frozen = mx.array(model.encoder.layers[0].attn.q_proj.weight)
    seen = Keeper()

    def go(model, folder, iters, **options):
        return train(
            model,
            batches,
            quick(iters=iters, save_every=1, steps_per_eval=1, generate=True),
            valid=Batches(lines[:1], model, processor, batch_size=1, shuffle=False),
            processor=processor,
            folder=folder,
            save=lambda path: save_adapters(model, path),
            callbacks=[seen],
            **options,
        )

    result = go(model, tmp_path / "whole", 2)
    assert result.best == min(info["cer"] for info in seen.val[1:])
    assert seen.saved == [1, 2]
    assert mx.array_equal(frozen, model.encoder.layers[0].attn.q_proj.weight)
    go(begin()[0], tmp_path / "parts", 1)
    resumed = begin()[0]
    go(resumed, tmp_path / "parts", 2, resume=True)
    loaded, _ = mlx_vedec.load()
    load_adapters(loaded, tmp_path / "parts")
    (batch,) = Batches(lines[:2], model, processor, batch_size=2).epoch(0)
    logits = [
        m(batch.pixel_values, decoder_input_ids=batch.decoder_input_ids).logits
        for m in (model, resumed, loaded)
    ]
    assert mx.array_equal(logits[0], logits[1])
    assert mx.array_equal(logits[0], logits[2])


def test_adapters_of_a_quantized_model_are_trained_beside_what_is_packed():
    model, seen = fresh(), Keeper()
    quantize(model, QuantizationConfig(8, group_size=32, encoder_bits=None, recipe="uniform"))
    add_adapters(model, LoraConfig(rank=2, targets=("decoder", "attention")))
    layer = model.decoder.layers[0].cross_attn.q_proj
    before = mx.array(layer.weight), mx.array(layer.scales)
    batches = RandomBatches(1)
    arguments = quick(epochs=4, learning_rate=1e-2, dtype="bfloat16")
    train(model, batches, arguments, callbacks=[seen])
    assert layer.weight.dtype == mx.uint32
    assert mx.array_equal(layer.weight, before[0])
    assert mx.array_equal(layer.scales, before[1].astype(layer.scales.dtype))
    assert model.trainable_parameters() and seen.losses[-1] != seen.losses[0]
