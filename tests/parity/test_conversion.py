"""What is converted opens in transformers: as it was, and when it has been quantized and back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import mlx.core as mx  # noqa: E402

from mlx_vedec import VisionEncoderDecoderModel, convert  # noqa: E402
from mlx_vedec.checkpoints.quantizing import dequantize, quantize  # noqa: E402
from mlx_vedec.layers.quantization_config import POSSIBLE, QuantizationConfig  # noqa: E402
from mlx_vedec.reading.load import BUNDLED  # noqa: E402
from tests.parity.reference import close, image, pair  # noqa: E402

IDS = np.array([[2, 8, 9, 10, 11], [2, 7, 6, 5, 4]])
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}
DECODERS = [
    ("TrOCR", {"d_model": 64}),
    ("TrOCR", {"d_model": 64, "tie_word_embeddings": False}),
    ("Bert", {"hidden_size": 64}),
    ("GPT2", {"n_embd": 64}),
]


def read_by_transformers(folder):
    model, info = transformers.VisionEncoderDecoderModel.from_pretrained(
        folder, output_loading_info=True
    )
    missing = [name for name in info["missing_keys"] if "pooler" not in name]  # not computed with
    assert not missing and not info["unexpected_keys"], info
    return model.eval()


def noise(model):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *model.config.encoder.image_size, generator=generator)


def logits(model, x):
    with torch.no_grad():
        return model(pixel_values=x, decoder_input_ids=torch.from_numpy(IDS)).logits


@pytest.mark.parametrize("shards", [5 * 10**9, 20_000])
def test_unquantized(tmp_path, shards):
    folder = convert(BUNDLED, tmp_path / "out", dtype="float32", max_shard_size=shards)
    theirs, bundled = (read_by_transformers(path) for path in (folder, BUNDLED))
    x = noise(bundled)
    expected = logits(bundled.float(), x)
    assert torch.equal(logits(theirs, x), expected)
    ours = VisionEncoderDecoderModel.from_pretrained(folder)
    close(ours(mx.array(x.numpy()).transpose(0, 2, 3, 1), mx.array(IDS)).logits, expected)


def test_shards_written_over_shards(tmp_path):
    """Under the same names, all at once: none of the old ones is left."""
    model = VisionEncoderDecoderModel.from_pretrained(BUNDLED)
    model.save_pretrained(tmp_path, max_shard_size=10**6)
    before = {path.name for path in tmp_path.glob("*.safetensors")}
    model.apply(lambda x: x * 1.25)
    model.save_pretrained(tmp_path, max_shard_size=10**6)
    after = {path.name for path in tmp_path.glob("*.safetensors")}
    assert after == before and len(after) > 5
    x = noise(model)
    expected = logits(read_by_transformers(tmp_path), x)
    close(model(mx.array(x.numpy()).transpose(0, 2, 3, 1), mx.array(IDS)).logits, expected)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda row: row[0])
def test_quantized_and_back(tmp_path, decoder):
    """transformers computes with the floats what we compute with the packed weights."""
    source, packed, floats = (tmp_path / name for name in ("source", "packed", "floats"))
    source.mkdir()
    theirs, ours = pair(source, ("ViT", WIDE), decoder)
    x, y = image(theirs)
    for mode in POSSIBLE:
        quantize(ours, QuantizationConfig(mode=mode, recipe="uniform"))
        ours.save_pretrained(packed)
        ours = VisionEncoderDecoderModel.from_pretrained(packed)
        expected = np.array(ours(y, mx.array(IDS)).logits)
        dequantize(ours)
        ours.save_pretrained(floats)
        again = logits(read_by_transformers(floats), x)
        close(ours(y, mx.array(IDS)).logits, again)
        np.testing.assert_allclose(again.numpy(), expected, atol=1e-3 * expected.std())
