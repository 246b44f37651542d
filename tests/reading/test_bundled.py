"""The bundled checkpoint reads what its float32 source read under transformers."""

import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import batch_generate, convert, generate, load, load_image
from mlx_vedec.reading.load import BUNDLED
from tests.conftest import DATA

LINES = json.loads((DATA / "lines" / "reference.json").read_text())


@pytest.fixture(scope="module")
def reader():
    return load()


@pytest.mark.parametrize("rows", [LINES[::4], pytest.param(LINES, marks=pytest.mark.slow)])
def test_texts_and_tokens_of_the_source(reader, rows):
    """Sixteen lines, four of them resized: ids, texts and log-probabilities in float32."""
    model, processor = reader
    results = list(batch_generate(model, processor, [DATA / "lines" / r["file"] for r in rows]))
    for result, line in zip(results, rows, strict=True):
        assert (result.text, [2, *result.tokens]) == (line["text"], line["ids"])
        np.testing.assert_allclose(result.token_logprobs, line["token_logprobs"], atol=0.02)


def test_pixels_of_the_source(reader):
    for line in LINES:
        x = reader[1](images=load_image(DATA / "lines" / line["file"])).pixel_values
        values = np.array(x, np.float64)
        assert values.shape == (1, 32, 768, 3)
        assert abs(values.mean() - line["pixel_mean"]) < 1e-6
        assert abs(values.std(ddof=1) - line["pixel_std"]) < 1e-6


def test_it_is_small_and_half_precision():
    weights = mx.load(str(BUNDLED / "model.safetensors"))
    assert {x.dtype for x in weights.values()} == {mx.float16}
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 10e6


@pytest.mark.slow
def test_it_reads_in_half_precision():
    model, processor = load(dtype="float16")
    texts = [generate(model, processor, DATA / "lines" / r["file"]).text for r in LINES[:4]]
    assert texts == [r["text"] for r in LINES[:4]]


def test_it_is_what_this_library_converts(tmp_path):
    convert(BUNDLED, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        if path.suffix == ".safetensors":
            ours, bundled = mx.load(str(path)), mx.load(str(BUNDLED / path.name))
            pooler = {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}  # of zeros
            assert ours.keys() == bundled.keys() | pooler
            assert all(mx.array_equal(ours[name], x) for name, x in bundled.items())
        else:
            assert path.read_bytes() == (BUNDLED / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_all_reference_outputs_of_the_source(shared):
    """Fifty lines of the float32 source: ids, the first step's logits, the encoder's values."""
    folder = shared / "checkpoints" / "tiny-ocr"
    model, processor = load(folder)
    for row in json.loads((folder / "reference_outputs.json").read_text())["images"]:
        x = processor(images=folder / "val" / row["file"]).pixel_values
        assert model.generate(x).tolist() == [row["greedy"]["ids"]]
        features = np.array(model.encode(x))[0]
        expected = row["encoder_last_hidden_state"]
        np.testing.assert_allclose(features[0, :8], expected["first8"], atol=1e-4)
        np.testing.assert_allclose(features[1, :8], expected["row1_first8"], atol=1e-4)
        logits = np.array(model(x, decoder_input_ids=mx.array([[2]])).logits)[0, 0]
        top = row["first_step_top5"]
        np.testing.assert_allclose(logits[top["ids"]], top["logits"], atol=2e-3)
