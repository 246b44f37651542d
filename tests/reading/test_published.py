"""Published checkpoints give the values that transformers' own tests expect of them.

`pytest -m network tests/reading/test_published.py` downloads some 5 GB and runs these; nothing else
does.
"""

import os

import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.network
CATS = "http://images.cocodataset.org/val2017/000000039769.jpg"
LINES = "https://fki.tic.heia-fr.ch/static/img/"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.delitem(os.environ, "HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def first_logits(model, processor, image, token, count=10):
    pixels = processor(image).pixel_values
    return np.array(model(pixels, mx.array([[token]])).logits[0, 0, :count])


def test_vit_gpt2():
    from mlx_vedec import generate, load

    model, processor = load("ydshieh/vit-gpt2-coco-en")
    expected = [-38.705807, -30.639929, -31.41903, -39.012012, -38.38696]
    expected += [-34.887207, -33.290855, -35.68447, -38.508484, -36.124645]
    found = first_logits(model, processor, CATS, model.config.decoder_start_token_id)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    result = generate(model, processor, CATS, num_beams=4, max_length=16)
    assert result.text == "a cat laying on top of a couch next to another cat"
    assert abs(result.score - -0.5956343) < 1e-4


def test_trocr_large_handwritten():
    from mlx_vedec import load

    model, processor = load("microsoft/trocr-large-handwritten")
    expected = [-2.6437, -1.3129, -2.2596, -5.3455, 6.3539, 1.7604, 5.4991, 1.4702, 5.6113, 2.0170]
    found = first_logits(model, processor, LINES + "a01-122-02-00.jpg", 2)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_trocr_base_handwritten():
    from mlx_vedec import generate, load

    model, processor = load("microsoft/trocr-base-handwritten")
    result = generate(model, processor, LINES + "a01-122-02.jpg")
    assert result.text == 'industry, " Mr. Brown commented icily. " Let us have a'


def test_nougat():
    from huggingface_hub import hf_hub_download

    from mlx_vedec import load

    page = hf_hub_download(
        "hf-internal-testing/fixtures_docvqa", "nougat_pdf.png", repo_type="dataset"
    )
    model, processor = load("facebook/nougat-base")
    expected = [0.7833, -5.6850, 6.3481, -2.6374, -3.7133, -3.5301, -3.0477, -3.7152, -3.9122]
    np.testing.assert_allclose(
        first_logits(model, processor, page, 0, 9), expected, atol=2e-1
    )  # transformers' figures are of another resizing, by up to one grey level
