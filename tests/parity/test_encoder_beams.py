"""Beams over the features of encoders of later date: the same texts, scores and rows."""

import pytest

from tests.parity.reference import (
    ENCODER_SIZES,
    generate_both,
    lively_pair,
    one_thread,
    same_sequences,
)

BEFORE = {  # with which the tests of beams themselves were made
    *("ViT", "DeiT", "ViTMSN", "Beit", "Data2VecVision", "Swin", "DonutSwin", "Swinv2", "Dinov2"),
    *("Dinov2WithRegisters", "DINOv3ViT", "CLIPVision", "SiglipVision"),
}


@pytest.mark.parametrize("stem", [stem for stem in ENCODER_SIZES if stem not in BEFORE])
def test_beams(tmp_path, stem):
    options = {"num_beams": 3, "max_length": 10, "num_return_sequences": 2}
    with one_thread():
        models = lively_pair(tmp_path, (stem, {}))
        same_sequences(*generate_both(models, **options))
