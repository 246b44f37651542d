"""Files whose table of sines is not the one that is computed, as transformers reads them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel
from mlx_vedec.errors import WeightsError
from tests.parity import decoder_checks as checks
from tests.parity.reference import close, generate_both, image, reference, torch, transformers

USED = {
    "Pegasus": {},
    "Marian": {},
    "RoFormer": {},
    "RoFormer, values": {"rotary_value": True},
}
UNUSED = {"TrOCR": "model.decoder.embed_positions.weights", "XGLM": "model.embed_positions.weights"}


def changed(folder, row, name: str):
    """Both libraries' models of a folder, a table of which is random; and the table."""
    theirs = reference(checks.VIT, row)
    theirs.save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = mx.load(str(path))
    stored = next((key for key in tensors if key.endswith("embed_positions.weight")), None)
    key = stored if name == "embed_positions.weight" else f"decoder.{name}"
    shape = tensors[stored].shape if stored else (40, 32)
    tensors[key] = mx.random.normal(shape, key=mx.random.key(3))
    mx.save_safetensors(str(path), tensors, metadata={"format": "pt"})
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(folder).eval()
    return theirs, VisionEncoderDecoderModel.from_pretrained(folder), (key, tensors[key])


def same(theirs, ours) -> mx.array:
    """Assert that logits and texts are the same; the logits."""
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS)).logits
    found = ours(y, decoder_input_ids=mx.array(checks.IDS)).logits
    close(found, expected)
    out, wanted = generate_both((theirs, ours), max_length=9, eos_token_id=None, pad_token_id=0)
    assert out.sequences.tolist() == wanted.sequences.tolist()
    return found


@pytest.mark.parametrize("stem", USED)
def test_a_table_that_is_used(tmp_path, stem):
    """It is written back, also where the decoder is saved alone or in another model."""
    row = (stem.split(",")[0], USED[stem])
    theirs, ours, (key, table) = changed(tmp_path / "stored", row, "embed_positions.weight")
    logits = same(theirs, ours)
    ours._carried, ours.decoder._stored_sines = {}, {}
    ours.save_pretrained(tmp_path / "computed")
    computed = VisionEncoderDecoderModel.from_pretrained(tmp_path / "computed")
    _, y = image(theirs)
    other = computed(y, decoder_input_ids=mx.array(checks.IDS)).logits
    assert np.abs(np.array(other - logits)).max() > 1e-3

    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path / "stored")
    ours.save_pretrained(tmp_path / "again")
    ours.decoder.save_pretrained(tmp_path / "decoder")
    VisionEncoderDecoderModel(encoder=ours.encoder, decoder=ours.decoder).save_pretrained(
        tmp_path / "parts"
    )
    for folder, prefix in (("again", "decoder."), ("parts", "decoder."), ("decoder", "")):
        saved = mx.load(str(tmp_path / folder / "model.safetensors"))
        assert mx.array_equal(saved[prefix + key.removeprefix("decoder.")], table)
        assert sum("embed_positions" in name for name in saved) == 1


@pytest.mark.parametrize("stem", UNUSED)
def test_a_table_that_is_not(tmp_path, stem):
    """Computed whatever the file has: transformers has no parameter there.

    What 5.24 loads of TrOCR's with sines cannot be run, so its model is the one that was saved.
    """
    sines = {"use_learned_position_embeddings": False} if stem == "TrOCR" else {}
    _, ours, _ = changed(tmp_path, (stem, sines), UNUSED[stem])
    same(reference(checks.VIT, (stem, sines)), ours)


def test_a_table_of_another_shape(tmp_path):
    theirs = reference(checks.VIT, ("Pegasus", {}))
    theirs.save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    tensors = mx.load(path)
    key = next(key for key in tensors if key.endswith("embed_positions.weight"))
    tensors[key] = mx.zeros((3, 32))
    mx.save_safetensors(path, tensors, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"embed_positions.weight is \(3, 32\); expected"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)
