"""Weights by columns are the same weights, in the same memory, where OpenBLAS multiplies them."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.layers import cpu_layout
from tests.support.tiny import pixels, tiny_model


def are_columns(weight):
    return np.array(weight, copy=False).T.flags.c_contiguous


@pytest.fixture
def openblas(monkeypatch):
    monkeypatch.setattr(cpu_layout, "has_openblas", lambda: True)
    monkeypatch.setattr(cpu_layout, "SMALL", 16)


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 700), (64, 256), (65, 257), (300, 5)])
def test_a_weight_by_columns_is_the_weight(rows, columns):
    weight = mx.random.normal((rows, columns), key=mx.random.key(0))
    found = cpu_layout.by_columns(weight)
    assert are_columns(found) and found.nbytes == weight.nbytes
    assert mx.array_equal(found, weight)
    assert cpu_layout.by_columns(found) is found


def test_linear_layers_and_heads_are_laid_out_once(openblas):
    """An array that two layers share stays one; tables, norms and half types stay as they were."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(6, 5), nn.Embedding(7, 6), nn.LayerNorm(6))
    first, second, table, _ = model.layers
    second.weight = first.weight
    half = nn.Linear(4, 3)
    half.set_dtype(mx.float16)
    model.layers.append(half)
    cpu_layout.lay_out(model, None)
    assert first.weight is second.weight and are_columns(first.weight)
    assert not are_columns(table.weight) and not are_columns(half.weight)
    cpu_layout.lay_out(model, table)
    assert are_columns(table.weight)
    cpu_layout.lay_out_by_rows(model)
    assert first.weight is second.weight
    assert not any(are_columns(layer.weight) for layer in (first, table))


@pytest.mark.parametrize("why", ["gpu", "another BLAS"])
def test_nothing_is_laid_out_elsewhere(monkeypatch, why):
    monkeypatch.setattr(cpu_layout, "on_cpu", lambda: why != "gpu")
    monkeypatch.setattr(cpu_layout, "has_openblas", lambda: why == "gpu")
    layer = nn.Linear(6, 5)
    cpu_layout.lay_out(layer, None)
    assert not are_columns(layer.weight)


def test_a_loaded_model_is_laid_out_and_saved_as_it_was(openblas, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "rows")
    loaded = VisionEncoderDecoderModel.from_pretrained(tmp_path / "rows")
    assert are_columns(loaded.encoder.layers[0].mlp.fc1.weight)
    assert are_columns(loaded.get_output_embeddings().weight)
    images = pixels(2)
    assert mx.allclose(loaded.encode(images), model.encode(images), atol=1e-5)
    loaded.save_pretrained(tmp_path / "columns")
    name = "model.safetensors"
    assert (tmp_path / "rows" / name).read_bytes() == (tmp_path / "columns" / name).read_bytes()
    lazy = VisionEncoderDecoderModel.from_pretrained(tmp_path / "rows", lazy=True)
    assert not are_columns(lazy.encoder.layers[0].mlp.fc1.weight)


def test_a_model_that_trains_has_rows_again(openblas, tmp_path):
    """So that training gives the same bits after a pause, and before."""
    tiny_model().save_pretrained(tmp_path)
    model = VisionEncoderDecoderModel.from_pretrained(tmp_path)
    assert model.eval() is model and are_columns(model.encoder.layers[0].mlp.fc1.weight)
    model.train()
    assert model.training and not are_columns(model.encoder.layers[0].mlp.fc1.weight)
    head = model.get_output_embeddings()
    assert not are_columns(head.weight)
    assert model.encoder.eval().layers[0].mlp.training is False
