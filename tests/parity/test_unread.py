"""What we save has every tensor that transformers has: it reports none as newly initialized."""

import pytest

transformers = pytest.importorskip("transformers")

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel  # noqa: E402
from mlx_vedec.encoders import ENCODERS  # noqa: E402
from tests.parity.reference import HIERA  # noqa: E402
from tests.support.tiny import TROCR, VIT  # noqa: E402

SWIN = {"image_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
INDEX = "relative_position_index"  # which transformers computes, and stores in Donut's alone


def saved(encoder, folder):
    config = ENCODERS[encoder].config_class
    known, sizes = vars(config()), {**VIT, "hidden_size": 48, **SWIN} if "swin" in encoder else VIT
    sizes = HIERA if encoder == "hiera" else {**sizes, "hidden_size": 48}
    decoder = {"model_type": "trocr", **TROCR}
    own = {name: value for name, value in sizes.items() if name in known}
    config = VisionEncoderDecoderConfig(encoder=config(**own), decoder=decoder)
    VisionEncoderDecoderModel(config).save_pretrained(folder)
    return VisionEncoderDecoderModel.from_pretrained(folder)


def lacking(folder):
    transformers.logging.set_verbosity_error()
    _, found = transformers.VisionEncoderDecoderModel.from_pretrained(
        folder, output_loading_info=True
    )
    assert not found["unexpected_keys"] and not found["mismatched_keys"]
    return {name for name in found["missing_keys"] if not name.endswith(INDEX)}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nothing_is_newly_initialized(tmp_path, encoder):
    """Of a new model, and of what is read and saved again."""
    again = saved(encoder, tmp_path / "a")
    assert not lacking(tmp_path / "a")
    again.save_pretrained(tmp_path / "b")
    assert not lacking(tmp_path / "b")
