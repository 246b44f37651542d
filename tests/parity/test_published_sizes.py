"""Full-size models of published configs have transformers' parameters; nothing is allocated."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import mlx.core as mx  # noqa: E402

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel  # noqa: E402
from mlx_vedec.checkpoints.weights import parameters  # noqa: E402
from tests.conftest import SHARED  # noqa: E402

FOLDERS = sorted(path.name for path in (SHARED / "configs").glob("*/"))
UNUSED = ("pooler", "mask_token")  # stored by some files, computed with by none
MILLIONS = {  # as the sizes of the published files have them
    "microsoft__trocr-base-handwritten": 333.3,
    "microsoft__trocr-base-stage1": 384.3,
    "microsoft__trocr-large-handwritten": 557.2,
    "microsoft__trocr-large-printed": 608.1,
    "microsoft__trocr-small-printed": 61.4,
    "naver-clova-ix__donut-base": 201.9,
    "facebook__nougat-base": 348.7,
    "kha-white__manga-ocr-base": 110.4,
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_parameters(shared, folder):
    path = shared / "configs" / folder
    before = mx.get_active_memory()
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_pretrained(path))
    ours = sum(x.size for x in parameters(model).values())
    assert mx.get_active_memory() - before < 1e8  # tables that are computed are small
    config = transformers.VisionEncoderDecoderConfig.from_pretrained(path)
    with torch.device("meta"):
        theirs = transformers.VisionEncoderDecoderModel(config)
    sizes = [
        p.numel()
        for name, p in theirs.named_parameters()
        if not any(part in name for part in UNUSED)
    ]
    assert ours == sum(sizes)
    if folder in MILLIONS:
        assert abs(ours / 1e6 - MILLIONS[folder]) < 0.1
