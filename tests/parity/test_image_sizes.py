"""Encoders whose image size was changed for good, saved, and read by transformers."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import ConfigError
from tests.parity.reference import (
    ENCODER_SIZES,
    VisionEncoderDecoderModel,
    close,
    pair,
    torch,
    transformers,
)

SIZES = {  # a new (height, width) by (class stem, changes to a tiny config)
    ("ViT", ()): (20, 32),
    ("DeiT", ()): (20, 32),
    ("ViTMSN", ()): (8, 24),
    ("Beit", (("use_relative_position_bias", True),)): (20, 20),
    ("Beit", (("use_shared_relative_position_bias", True),)): (8, 8),
    ("Beit", (("use_absolute_position_embeddings", True),)): (32, 32),
    ("CLIPVision", ()): (32, 32),
    ("SiglipVision", ()): (8, 8),
    ("Dinov2", ()): (32, 32),
    ("Dinov2WithRegisters", ()): (32, 32),
    ("DINOv3ViT", ()): (8, 32),
    ("Aimv2Vision", ()): (32, 32),
    ("ChineseCLIPVision", ()): (32, 32),
    ("DPT", ()): (32, 32),
    ("Hiera", ()): (64, 32),
    ("IJepa", ()): (20, 32),
    ("InternVLVision", ()): (32, 32),
    ("MLCDVision", ()): (32, 32),
    ("Pixio", ()): (32, 32),
    ("Tipsv2Vision", ()): (32, 32),
    ("Yolos", (("use_mid_position_embeddings", True),)): (20, 32),
    ("Swin", (("use_absolute_embeddings", True),)): (24, 48),
    ("Swinv2", (("window_size", 4),)): (24, 48),
}


@pytest.mark.parametrize("row", SIZES, ids=lambda row: "-".join([row[0], *(k for k, _ in row[1])]))
def test_transformers_reads_the_new_size_without_a_flag(tmp_path, row):
    stem, changes, size = row[0], dict(row[1]), SIZES[row]
    _, ours = pair(tmp_path / "old", (stem, changes))
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    before = ours.encode(mx.array(images), interpolate_pos_encoding=True)
    ours.encoder.resize_images(size)
    after = ours.encode(mx.array(images))
    if stem != "Swinv2":  # whose windows are as wide as the config's image allows
        np.testing.assert_allclose(np.array(after), np.array(before), rtol=1e-5, atol=1e-5)
    ours.save_pretrained(tmp_path / "new")
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path / "new")
    with torch.no_grad():
        expected = theirs.encoder(torch.tensor(images.transpose(0, 3, 1, 2))).last_hidden_state
    close(after, expected)
    again = VisionEncoderDecoderModel.from_pretrained(tmp_path / "new")
    close(again.encode(mx.array(images)), expected)


@pytest.mark.parametrize("stem", ["CLIPVision", "SiglipVision", "Dinov2"])
def test_sizes_that_transformers_cannot_read(tmp_path, stem):
    _, ours = pair(tmp_path, (stem, {}))
    with pytest.raises(ConfigError, match="expected a square"):
        ours.encoder.resize_images((16, 32))


def test_every_family_has_a_row():
    assert ENCODER_SIZES.keys() - {row[0] for row in SIZES} == {"DonutSwin", "Data2VecVision"}
