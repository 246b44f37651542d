"""The self-check's golden values are those of transformers, reading the same weights."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.checkpoints.quantizing import dequantize, quantize
from mlx_vedec.checkpoints.weights import read_file
from mlx_vedec.layers.quantization_config import QuantizationConfig
from mlx_vedec.measuring.selfcheck import GOLDEN, golden_name, sampled
from mlx_vedec.measuring.selfcheck_models import DECODERS, ENCODERS, given, small_model, tokens
from tests.parity.reference import torch, transformers

# which transformers lacks; tests/parity/test_distilbert.py compares it with its BERT
FAMILIES = [name for name in (*ENCODERS, *DECODERS) if name != "distilbert"]


def floats(family: str, bits: int | None):
    """The family's small model; where weights are quantized, what is left of them."""
    model = small_model(family)
    if bits is not None:
        quantize(model, QuantizationConfig(bits, recipe="uniform"))
        dequantize(model)
    return model


@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_golden_values_are_those_of_transformers(tmp_path, family, bits):
    reads = family in ENCODERS
    encoder = floats(family, bits) if reads else small_model("vit")
    decoder = small_model("trocr") if reads else floats(family, bits)
    VisionEncoderDecoderModel(None, encoder, decoder).save_pretrained(tmp_path)
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path).eval()
    x = np.array(given(family))
    with torch.no_grad():
        if reads:
            pixels = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
            values = theirs.encoder(pixels).last_hidden_state
        else:
            ids = torch.from_numpy(np.array(tokens(), np.int64))
            memory = torch.from_numpy(x)
            values = theirs.decoder(ids, encoder_hidden_states=memory, use_cache=False).logits
    expected = np.array(sampled(mx.array(values.numpy())))
    golden = np.array(read_file(GOLDEN)[golden_name(family, bits)])
    assert np.abs(golden - expected).max() <= 1e-5 * np.abs(expected).max()
